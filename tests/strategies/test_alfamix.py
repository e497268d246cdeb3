from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strategies import Candidates, Head
from strategies.alfamix import AlfaMix, mixed_leads
from strategies.base import Doubles, Selection
from strategies.kmeans import one_for_each_cluster


def select(
    pool: Candidates, batch_size: int, strategy: AlfaMix | None = None, seed: int = 0
) -> Selection:
    return (strategy or AlfaMix()).select(pool, batch_size, np.random.default_rng(seed))


def random_pool(
    num: int, width: int = 6, classes: int = 4, num_labelled: int = 9, seed: int = 0
) -> Candidates:
    rng = np.random.default_rng(seed)
    return Candidates(
        ids=np.arange(num),
        embeddings=rng.standard_normal((num, width)).astype(np.float32),
        labelled_embeddings=(3 * rng.standard_normal((num_labelled, width))).astype(np.float32),
        labelled_labels=rng.integers(0, classes, num_labelled),
        head=Head(
            weight=(0.3 * rng.standard_normal((classes, width))).astype(np.float32),
            bias=(0.1 * rng.standard_normal(classes)).astype(np.float32),
        ),
    )


def softmax(logits: Doubles) -> Doubles:
    shares = np.exp(logits - logits.max())
    result: Doubles = shares / shares.sum()
    return result


def flips_for_any_anchor(pool: Candidates, epsilon: float) -> list[bool]:
    """The law written down plainly: coefficients for each anchor, mixed coordinate by coordinate.

    Where a coordinate of anchor and embedding coincides, mixing cannot move it; then this twin
    differs from the limit that is taken, so its pools have none.
    """
    head = pool.head
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    assert pool.labelled_labels is not None
    assert head is not None
    weight, bias = head.weight.astype(np.float64), head.bias.astype(np.float64)
    labelled = pool.labelled_embeddings.astype(np.float64)
    anchors = [
        labelled[pool.labelled_labels == label].mean(axis=0)
        for label in sorted(set(pool.labelled_labels.tolist()))
    ]
    found = []
    for point in pool.embeddings.astype(np.float64):
        logits = weight @ point + bias
        predicted = int(logits.argmax())
        gradient = weight.T @ (softmax(logits) - np.eye(len(bias))[predicted])
        size = np.linalg.norm(gradient)
        flips = False
        for anchor in anchors if size > 1e-12 else []:
            gap = anchor - point
            mixing = epsilon / np.sqrt(len(point)) * np.linalg.norm(gap) * gradient / (size * gap)
            mixed = mixing * anchor + (1 - mixing) * point
            flips |= int((weight @ mixed + bias).argmax()) != predicted
        found.append(flips)
    return found


def flags_of(pool: Candidates, epsilon: float) -> list[bool]:
    assert pool.embeddings is not None
    assert pool.labelled_embeddings is not None
    assert pool.labelled_labels is not None
    assert pool.head is not None
    means = [
        pool.labelled_embeddings[pool.labelled_labels == label].mean(axis=0, dtype=float)
        for label in np.unique(pool.labelled_labels)
    ]
    step = epsilon / np.sqrt(pool.embeddings.shape[1])
    flags, leads = mixed_leads(pool.embeddings, pool.head, np.stack(means), step)
    assert ((leads > 0) <= flags).all()
    answer: list[bool] = flags.tolist()
    return answer


def test_a_step_across_the_middle_between_two_classes() -> None:
    # Classes 0 and 1 meet at x = 0; the gradient points towards the other class.
    head = Head(weight=np.array([[1, 0], [-1, 0]], np.float32), bias=np.zeros(2, np.float32))
    embeddings = np.array([[0.9, 0], [1.1, 0], [-0.9, 7]], np.float32)
    anchors = np.array([[0.9, 10.0], [-2.0, 7.0]])
    # A tenth of the way to the farthest anchor: some 1.0, 1.0 and 0.35.
    flags, leads = mixed_leads(embeddings, head, anchors, 0.1)
    assert flags.tolist() == [True, False, False]
    np.testing.assert_allclose(leads[0], 2 * (0.1 * 10 - 0.9), atol=1e-6)
    np.testing.assert_allclose(leads[1], 2 * (0.1 * np.hypot(0.2, 10) - 1.1), atol=1e-6)
    np.testing.assert_allclose(leads[2], 2 * (0.1 * np.hypot(1.8, 3) - 0.9), atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("seed", range(3))
def test_the_farthest_anchor_speaks_for_all(seed: int, epsilon: float) -> None:
    pool = random_pool(400, seed=seed)
    expected = flips_for_any_anchor(pool, epsilon)
    assert 0 < sum(expected) < 400
    assert flags_of(pool, epsilon) == expected


def test_equals_the_plain_law_on_pools_that_may_go_wrong(pool: Candidates) -> None:
    if pool.num_labelled:
        assert flags_of(pool, 0.5) == flips_for_any_anchor(pool, 0.5)


@pytest.mark.parametrize("batch_size", [10, 100, 250])
def test_picks_are_one_for_each_cluster_of_those_that_flip(batch_size: int) -> None:
    pool = random_pool(300, seed=4)
    wanted = np.flatnonzero(flips_for_any_anchor(pool, 0.2))
    assert 100 < len(wanted) < 250
    batch = select(pool, batch_size, seed=1)
    rng = np.random.default_rng(1)
    assert pool.embeddings is not None
    expected = one_for_each_cluster(pool.embeddings, wanted, batch_size, rng)
    assert batch.ids.tolist() == expected.tolist()
    assert batch.notes == {"wanted": len(wanted)}
    num_sure = min(len(wanted), batch_size)
    assert (batch.scores[:num_sure] > 0).all()
    assert (batch.scores[num_sure:] < 0).all()


def test_without_a_gradient_nothing_flips() -> None:
    # Both classes have the same weights, so no direction changes the loss.
    head = Head(weight=np.ones((2, 3), np.float32), bias=np.array([0, 1e-3], np.float32))
    embeddings = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    flags, leads = mixed_leads(embeddings, head, 1e6 * np.ones((1, 3)), 1.0)
    assert not flags.any()
    np.testing.assert_allclose(leads, -1e-3, atol=1e-6)


def test_an_anchor_on_the_sample_moves_nothing() -> None:
    pool = random_pool(30)
    assert pool.embeddings is not None
    assert pool.head is not None
    flags, _ = mixed_leads(pool.embeddings[:1], pool.head, pool.embeddings[:1].astype(float), 9.0)
    assert not flags.any()


def test_a_coordinate_shared_with_the_anchor_moves_like_any_other() -> None:
    head = Head(weight=np.array([[1, 0], [-1, 0]], np.float32), bias=np.zeros(2, np.float32))
    # The anchor differs in y alone, and the gradient in x alone: 0/0 times 0 written out.
    flags, _ = mixed_leads(
        np.array([[0.5, 0]], np.float32), head, np.array([[0.5, 10.0]]), step=0.1
    )
    assert flags.tolist() == [True]


def test_classes_without_labels_have_no_anchor() -> None:
    pool = random_pool(200, seed=5)
    assert pool.labelled_labels is not None
    gaps = replace(pool, labelled_labels=np.where(pool.labelled_labels == 0, 1, 3))
    other = replace(pool, labelled_labels=np.where(pool.labelled_labels == 0, 0, 1))
    assert select(gaps, 40).ids.tolist() == select(other, 40).ids.tolist()
    assert flags_of(gaps, 0.2) == flips_for_any_anchor(gaps, 0.2)


def test_saturated_samples_have_a_direction_still() -> None:
    head = Head(weight=np.array([[1], [-1]], np.float32), bias=np.zeros(2, np.float32))
    embeddings = np.array([[100.0], [120.0]], np.float32)  # e^-200 is no float32
    flags, _ = mixed_leads(embeddings, head, np.array([[-1000.0]]), 0.1)
    assert flags.tolist() == [True, False]


def test_with_a_single_class_the_batch_is_drawn() -> None:
    pool = random_pool(30, classes=1)
    firsts = {int(select(pool, 1, seed=seed).ids[0]) for seed in range(150)}
    assert len(firsts) > 20
    assert select(pool, 30).scores.tolist() == [0.0] * 30


def test_twins_flip_together() -> None:
    pool = random_pool(300, width=64, seed=6)
    assert pool.embeddings is not None
    assert pool.head is not None
    twins = pool.embeddings[np.arange(1500) % 300]
    flags, leads = mixed_leads(twins, pool.head, np.ones((2, 64)), 0.05)
    assert (leads.reshape(5, 300) == leads[:300]).all()
    assert (flags.reshape(5, 300) == flags[:300]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 4), st.floats(1e-3, 50), st.integers(0, 2**32 - 1))
def test_longer_steps_never_want_fewer_samples(
    num: int, classes: int, epsilon: float, seed: int
) -> None:
    pool = random_pool(num, 3, classes, 4, seed)
    shorter, longer = flags_of(pool, epsilon), flags_of(pool, 2 * epsilon)
    assert all(more for more, less in zip(longer, shorter, strict=True) if less)
    batch = select(pool, num, AlfaMix(epsilon=epsilon), seed)
    assert sorted(batch.ids.tolist()) == list(range(num))
