"""Query by committee: four measures of disagreement."""

from __future__ import annotations

from itertools import permutations
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pools import log_softmax
from pydantic import ValidationError

from strategies import Candidates, StrategyError
from strategies.bald import BALD
from strategies.base import Doubles
from strategies.committee import Measure, QueryByCommittee

MEASURES: tuple[Measure, ...] = get_args(Measure)


def pool_of(members: Doubles) -> Candidates:
    """A pool of these class probabilities, (N, K, C)."""
    with np.errstate(divide="ignore"):
        return Candidates(ids=np.arange(len(members)), mc_log_probs=np.log(members))


def plain(measure: Measure, members: Doubles) -> list[float]:
    """The definitions, one sample and one class at a time."""

    def entropy(probs: Doubles) -> float:
        return -sum(float(p * np.log(p)) for p in probs if p > 0)

    def divergence(probs: Doubles, mean: Doubles) -> float:
        pairs = zip(probs, mean, strict=True)
        return sum(float(p * np.log(p / m)) for p, m in pairs if p > 0)

    scores = []
    for sample in members:
        mean = sample.mean(axis=0)
        if measure == "vote_entropy":
            counts = np.bincount(sample.argmax(axis=1), minlength=len(mean))
            scores.append(entropy(counts / len(sample)))
        elif measure == "consensus_entropy":
            scores.append(entropy(mean))
        else:
            away = [divergence(member, mean) for member in sample]
            scores.append(max(away) if measure == "kl_max" else float(np.mean(away)))
    return scores


A, B, C = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]


def test_votes_split_in_halves_are_worth_log_two() -> None:
    scores = QueryByCommittee().utilities(pool_of(np.array([[A, A, B, B], [A, A, A, A]])))
    assert scores.tolist() == [pytest.approx(np.log(2), rel=1e-15), 0.0]


def test_votes_split_alike_tie_whatever_the_classes() -> None:
    # One, two and three of six: their terms add up to other last bits in another order.
    splits = [[*permuted] for permuted in permutations([[A], [B] * 2, [C] * 3])]
    members = np.array([[row for party in split for row in party] for split in splits])
    renamed = [members[:, :, list(classes)] for classes in permutations(range(3))]
    pool = pool_of(np.concatenate(renamed))
    batch = QueryByCommittee().select(pool, len(pool), np.random.default_rng(0))
    assert batch.ids.tolist() == list(range(len(pool)))
    assert len(set(batch.scores.tolist())) == 1


def test_a_member_torn_between_classes_votes_for_the_lowest() -> None:
    torn = [0.4, 0.4, 0.2]
    pool = pool_of(np.array([[torn, A], [torn, B]]))
    assert QueryByCommittee().utilities(pool).tolist() == [0.0, pytest.approx(np.log(2))]


def test_one_member_against_three_is_farthest_from_the_mean() -> None:
    # The mean is (3/4, 1/4): log 4 for the one, log 4/3 for each of the three.
    one, other = [1.0, 0.0], [0.0, 1.0]
    pool = pool_of(np.array([[one, one, one, other]]))
    scores = [QueryByCommittee(measure=m).utilities(pool)[0] for m in ("kl_max", "kl_mean")]
    assert scores == pytest.approx([np.log(4), 0.75 * np.log(4 / 3) + 0.25 * np.log(4)])


def test_the_mean_divergence_is_bald(pool: Candidates) -> None:
    scores = QueryByCommittee(measure="kl_mean").utilities(pool)
    assert scores.tolist() == BALD().utilities(pool).tolist()


@pytest.mark.parametrize("measure", ["vote_entropy", "kl_mean", "kl_max"])
def test_members_that_agree_are_worth_exactly_nothing(measure: Measure) -> None:
    pool = pool_of(np.array([[A] * 7, [[0.3, 0.3, 0.4]] * 7]))
    assert not QueryByCommittee(measure=measure).utilities(pool).any()


@pytest.mark.parametrize("measure", MEASURES)
def test_equals_the_definition(measure: Measure, pool: Candidates) -> None:
    assert pool.mc_log_probs is not None
    members = np.exp(pool.mc_log_probs.astype(np.float64))
    scores = QueryByCommittee(measure=measure).utilities(pool)
    np.testing.assert_allclose(scores, plain(measure, members), atol=2e-7)
    assert (scores >= 0).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_orders_random_pools_as_the_definition_does(measure: Measure) -> None:
    logits = 2 * np.random.default_rng(5).standard_normal((80 * 5, 4))
    members = np.exp(log_softmax(logits)).reshape(80, 5, 4)
    strategy = QueryByCommittee(measure=measure)
    batch = strategy.select(pool_of(members), 80, np.random.default_rng(0))
    rounded = np.round(plain(measure, members), 12)
    assert batch.ids.tolist() == np.argsort(-rounded, kind="stable").tolist()


@pytest.mark.parametrize("measure", MEASURES)
def test_a_committee_of_one_is_refused(measure: Measure) -> None:
    with pytest.raises(StrategyError, match="qbc compares draws"):
        QueryByCommittee(measure=measure).select(
            pool_of(np.array([[A], [B]])), 1, np.random.default_rng(0)
        )


def test_an_unknown_measure_is_refused() -> None:
    with pytest.raises(ValidationError, match="kl_mean"):
        QueryByCommittee.model_validate({"measure": "kl"})


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(2, 5), st.integers(1, 4)),
        elements=st.sampled_from([-700.0, -30.0, -1.0, 0.0, 0.5, 2.0, 30.0]),
    ),
    st.sampled_from(MEASURES),
)
def test_the_order_of_members_does_not_matter(logits: Doubles, measure: Measure) -> None:
    members = np.exp(log_softmax(logits.reshape(-1, logits.shape[2]))).reshape(logits.shape)
    strategy = QueryByCommittee(measure=measure)
    scores = strategy.utilities(pool_of(members))
    np.testing.assert_allclose(scores, strategy.utilities(pool_of(members[:, ::-1])), atol=1e-12)
    np.testing.assert_allclose(scores, plain(measure, members), atol=1e-9)
