"""GALAXY looks for where classes begin by labels, and asks there."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import POOLS, build_pool, log_softmax
from pydantic import ValidationError

from strategies import Candidates, MarginSampling, StrategyError
from strategies.base import Doubles, Rows
from strategies.galaxy import GALAXY
from strategies.scores import LogProbs, behind_best, log_odds


def pool_of(log_probs: LogProbs, labelled: LogProbs, labels: list[int]) -> Candidates:
    return Candidates(
        ids=np.arange(len(log_probs)),
        log_probs=log_probs.astype(np.float32),
        labelled_log_probs=labelled.astype(np.float32),
        labelled_labels=np.array(labels, np.int64),
    )


def ask(pool: Candidates, size: int) -> list[int]:
    return [int(i) for i in GALAXY().select(pool, size, np.random.default_rng(0)).ids]


def plain_lines(log_probs: LogProbs, labels: Rows) -> list[list[int]]:
    """Items of each class by p_k - max p, then p_k, then other labels, candidates, labels k."""
    behind, odds = behind_best(log_probs), log_odds(log_probs)
    num = len(log_probs) - len(labels)
    lines = []
    for k in range(log_probs.shape[1]):
        kinds = [1] * num + [2 * int(label == k) for label in labels]
        keys = zip(behind[:, k], odds[:, k], kinds, range(len(log_probs)), strict=True)
        lines.append([item for *_, item in sorted(keys)])
    return lines


def options_on(
    line: list[int], called: dict[int, int], k: int
) -> tuple[list[tuple[int, int]], ...]:
    """Stretches to halve as (length, -low place), and open places as (way, -place)."""
    known = [place for place, item in enumerate(line) if item in called]
    ours = [place for place in known if called[line[place]] == k]
    others = [place for place in known if called[line[place]] != k]
    stretches = [
        (high - low - 1, -low)
        for low, high in pairwise(known)
        if (low in ours) != (high in ours) and high - low > 1
    ]
    ways = []
    if ours and others:
        for place in set(range(len(line))) - {*known}:
            way = max(min(abs(place - p) for p in ours), min(abs(place - p) for p in others))
            ways.append((way, -place))
    return stretches, ways


def plain(pool: Candidates, count: int) -> tuple[list[int], list[int]]:
    """The law, looking at every place of every line before each pick."""
    assert pool.log_probs is not None
    assert pool.labelled_log_probs is not None
    assert pool.labelled_labels is not None
    log_probs = np.concatenate([pool.log_probs, pool.labelled_log_probs])
    labels, num = pool.labelled_labels, len(pool)
    lines = plain_lines(log_probs, labels)
    called = {num + m: int(label) for m, label in enumerate(labels)}
    by_margin = ask_by_margin(pool)
    rows: list[int] = []
    reaches: list[int] = []
    for _ in range(count):
        best = None
        looked = [options_on(line, called, k) for k, line in enumerate(lines)]
        counts = [list(called.values()).count(k) for k in range(len(lines))]
        for rule in (0, 1):
            options = [
                (length, counts[k], k, minus)
                for k, found in enumerate(looked)
                for length, minus in found[rule]
            ]
            if options and best is None:
                length, _, k, minus = min(options)
                place = -minus + length // 2 + 1 if rule == 0 else -minus
                best = lines[k][place], length // 2 + 1 if rule == 0 else length
        if best is None:
            best = next(row for row in by_margin if row not in called), len(log_probs)
        rows.append(best[0])
        reaches.append(best[1])
        called[best[0]] = int(log_probs[best[0]].argmax())
    return rows, reaches


def ask_by_margin(pool: Candidates) -> list[int]:
    strategy, rng = MarginSampling(), np.random.default_rng(0)
    return [int(i) for i in strategy.choose(pool, len(pool), rng).rows]


def threshold_pool(num: int) -> tuple[Doubles, Doubles]:
    """Two classes on a line; the learner sees class 1 above 0.5."""
    positions = np.linspace(0, 1, num)
    logits = np.stack([np.zeros(num), 12 * (positions - 0.5)], axis=1)
    return positions, log_softmax(logits)


def play(log_probs: Doubles, truth: Rows, known: list[int], turns: int) -> list[int]:
    """Asks one at a time, sees each label, and keeps the learner's scores frozen."""
    asked: list[int] = []
    for _ in range(turns):
        seen = known + asked
        left = np.setdiff1d(np.arange(len(log_probs)), seen)
        pool = pool_of(log_probs[left], log_probs[seen], truth[seen].tolist())
        asked.append(int(left[ask(pool, 1)[0]]))
    return asked


@pytest.mark.parametrize("threshold", [0.07, 0.31, 0.5, 0.9])
def test_a_threshold_is_found_in_about_log2_n_queries(threshold: float) -> None:
    positions, log_probs = threshold_pool(1000)
    truth = (positions > threshold).astype(np.int64)
    asked = play(log_probs, truth, [0, 999], 11)
    above = int(np.flatnonzero(truth)[0])
    assert {above - 1, above} <= {0, 999, *asked}


def test_then_both_sides_of_the_threshold_are_asked_for() -> None:
    positions, log_probs = threshold_pool(200)
    truth = (positions > 0.3).astype(np.int64)
    above = int(np.flatnonzero(truth)[0])
    asked = play(log_probs, truth, [0, above - 1, above, 199], 6)
    assert sorted(asked) == [above + step for step in (-4, -3, -2, 1, 2, 3)]
    assert {*asked[:2]} == {above - 2, above + 1}


def test_a_rare_class_the_learner_never_predicts_is_found_on_its_own_line() -> None:
    rng = np.random.default_rng(0)
    log_probs = log_softmax(rng.standard_normal((300, 3)) + np.array([0, 0, -5]))
    truth = log_probs.argmax(axis=1)
    assert {*truth.tolist()} == {0, 1}
    rare = np.argsort(behind_best(log_probs)[:, 2])[-5:]
    truth[rare] = 2
    known = [int(np.flatnonzero(truth == k)[0]) for k in range(3)]
    # Five of 300 would take most of the pool to be found by chance.
    assert {*rare.tolist()} <= {*known, *play(log_probs, truth, known, 25)}


def test_a_batch_is_what_an_annotator_who_agrees_with_the_learner_is_asked_for() -> None:
    rng = np.random.default_rng(2)
    log_probs = log_softmax(2 * rng.standard_normal((60, 3)))
    predicted = log_probs.argmax(axis=1)
    known = [0, 1, 2, 3]
    truth = predicted.copy()
    truth[known] = [0, 1, 2, 0]
    left = np.arange(4, 60)
    at_once = ask(pool_of(log_probs[left], log_probs[known], truth[known].tolist()), 30)
    assert play(log_probs, truth, known, 30) == left[at_once].tolist()


@pytest.mark.parametrize("seed", range(4))
def test_equals_looking_at_every_place_on_random_pools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool = pool_of(
        log_softmax(2 * rng.standard_normal((70, 4))),
        log_softmax(2 * rng.standard_normal((9, 4))),
        rng.integers(0, 3, 9).tolist(),
    )
    batch = GALAXY().select(pool, 70, np.random.default_rng(0))
    rows, reaches = plain(pool, 70)
    assert batch.ids.tolist() == rows
    assert batch.scores.tolist() == reaches


@pytest.mark.parametrize("kind", [kind for kind in POOLS if kind != "nothing_labelled"])
def test_equals_looking_at_every_place(kind: str) -> None:
    pool = build_pool(kind)
    size = len(pool)
    batch = GALAXY().select(pool, size, np.random.default_rng(0))
    rows, reaches = plain(pool, size)
    assert batch.ids.tolist() == pool.ids[rows].tolist()
    assert batch.scores.tolist() == reaches


def test_of_equal_stretches_the_class_with_fewest_labels_goes_first() -> None:
    # Candidate 0 lies between 2 and not 2, candidate 1 between 0 and not 0, one place each.
    probs = np.array([[0.1, 0.5, 0.4], [0.4, 0.5, 0.1]])
    labelled = np.array(
        [[0.0, 0.3, 0.7], [0.15, 0.65, 0.2], [0.7, 0.3, 0.0], [0.2, 0.65, 0.15], [0.9, 0.1, 0.0]]
    )
    with np.errstate(divide="ignore"):
        pool = pool_of(np.log(probs), np.log(labelled), [2, 1, 0, 1, 0])
    assert ask(pool, 2) == [0, 1]


def test_where_one_class_is_known_it_is_asked_for_by_margin() -> None:
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((20, 3)) + np.array([6, 0, 0])
    pool = pool_of(log_softmax(logits), log_softmax(logits[:2]), [0, 0])
    batch = GALAXY().select(pool, 20, rng)
    assert batch.ids.tolist() == ask_by_margin(pool)
    assert batch.notes == {"halved": 0, "beside_cuts": 0, "by_margin": 20}
    assert batch.scores.tolist() == [22] * 20


def test_the_notes_say_which_rule_applied_how_often(pool: Candidates) -> None:
    if pool.num_labelled:
        batch = GALAXY().select(pool, len(pool), np.random.default_rng(0))
        assert sum(v for v in batch.notes.values() if isinstance(v, int)) == len(pool)


@pytest.mark.parametrize("kind", ["spread", "duplicates", "all_equal", "saturated"])
def test_the_order_of_the_labelled_samples_does_not_matter(kind: str) -> None:
    log_probs, labels = build_pool(kind).log_probs, [0, 1, 1, 0, 3, 1]
    assert log_probs is not None
    # Each labelled sample stands where some candidates do.
    straight = pool_of(log_probs, log_probs[:6], labels)
    turned = pool_of(log_probs, log_probs[5::-1], labels[::-1])
    assert ask(turned, 60) == ask(straight, 60)


def test_saturated_rows_stand_by_what_is_left_to_the_others() -> None:
    # Every p of class 0 reads 1.0 in float32, and rows stand in the order 1, 3, 2, 0 on its line.
    def rows(*left: float) -> Doubles:
        return np.stack([np.zeros(len(left)), np.array(left)], axis=1)

    pool = pool_of(rows(-40, -70, -50, -60), rows(-30, -90), [1, 0])
    # Two are in the middle: the one nearer class 0, then, on class 1's line, the other.
    assert {*ask(pool, 1)} < {3, 2}
    assert {*ask(pool_of(rows(-40, -70, -50), rows(-30, -90), [1, 0]), 1)} == {2}


def test_the_controller_is_told_how_many_to_ask_for_at_a_time() -> None:
    assert GALAXY().group_size(500) == 1
    assert GALAXY(group=20).group_size(500) == 20
    assert GALAXY(group=20).group_size(7) == 7
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        GALAXY(group=0)


def test_nothing_labelled_is_refused_with_the_way_out() -> None:
    with pytest.raises(StrategyError, match=r"galaxy needs 1 labelled samples or more.*warm_up"):
        ask(build_pool("nothing_labelled"), 1)


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.integers(1, 4)),
        elements=st.sampled_from([-300.0, -2.0, 0.0, 1.0, 5.0]),
    ),
    st.data(),
)
def test_equals_looking_at_every_place_on_lattices(logits: Doubles, data: st.DataObject) -> None:
    num_labelled = data.draw(st.integers(1, len(logits)))
    label = st.integers(0, logits.shape[1] - 1)
    labels = data.draw(st.lists(label, min_size=num_labelled, max_size=num_labelled))
    log_probs = log_softmax(logits)
    pool = pool_of(log_probs, log_probs[:num_labelled], labels)
    batch = GALAXY().select(pool, len(logits), np.random.default_rng(0))
    rows, reaches = plain(pool, len(logits))
    assert batch.ids.tolist() == rows
    assert batch.scores.tolist() == reaches
