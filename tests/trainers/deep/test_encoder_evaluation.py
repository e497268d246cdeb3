"""Neighbours against plain twins; who chooses, and what a probe leaves alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from trainers import (
    Encoder,
    EncoderEvaluation,
    EvaluationTask,
    Examples,
    Images,
    PublishedProbe,
    TrainingError,
    evaluate_encoder,
)
from trainers.deep.neighbours import neighbour_log_probs

pytestmark = pytest.mark.torch

NARROW = Encoder.model_validate({"name": "resnet10_narrow", "width": 4})
NOBODY = Examples(np.empty(0, np.int64), np.empty(0, np.int64))


def slow_votes(
    labelled: np.ndarray, classes: np.ndarray, asked: np.ndarray, k: int, temperature: float
) -> np.ndarray:
    """One image at a time, straight from the definition; no ties."""
    votes = np.zeros((len(asked), classes.max() + 1))
    for row, vector in enumerate(asked):
        cosines = np.array(
            [v @ vector / np.linalg.norm(v) / np.linalg.norm(vector) for v in labelled]
        )
        for near in np.argsort(-cosines)[:k]:
            votes[row, classes[near]] += np.exp(cosines[near] / temperature)
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def test_votes_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    labelled = rng.normal(size=(90, 6)).astype(np.float32)
    asked = rng.normal(size=(30, 6)).astype(np.float32)
    classes = rng.integers(0, 4, 90)
    found = neighbour_log_probs(
        labelled, classes, asked, num_classes=4, neighbours=(1, 7, 500), temperature=0.2
    )
    for k, log_probs in found.items():
        np.testing.assert_allclose(
            np.exp(log_probs), slow_votes(labelled, classes, asked, k, 0.2), atol=2e-6
        )


def test_equally_near_neighbours_share_what_is_left() -> None:
    # One neighbour straight ahead, three alike to the side: of k = 2 votes, one is shared by three.
    labelled = np.array([[1, 0], [1, 1], [1, -1], [1, 1]], np.float32)
    classes = np.array([0, 1, 2, 2])
    asked = np.array([[5, 0]], np.float32)
    side = np.exp((np.sqrt(0.5) - 1) / 0.5) / 3
    expected = np.array([1, side, 2 * side]) / (1 + 3 * side)
    for order in (np.arange(4), np.array([3, 1, 0, 2])):
        found = neighbour_log_probs(
            labelled[order], classes[order], asked, num_classes=3, neighbours=(2,), temperature=0.5
        )
        np.testing.assert_allclose(np.exp(found[2][0]), expected, rtol=1e-5)


@pytest.fixture
def task(tmp_path: Path) -> EvaluationTask:
    """Images of three brightnesses, so that a random encoder already tells them apart."""
    rng = np.random.default_rng(1)
    labels = np.arange(150) % 3
    pixels = rng.integers(0, 60, (150, 16, 16, 1)) + 90 * labels[:, None, None, None]
    np.save(tmp_path / "images.npy", pixels.astype(np.uint8))
    return EvaluationTask(
        images=Images(tmp_path / "images.npy", mean=(0.5,), std=(0.25,)),
        labelled=Examples(np.arange(90), labels[:90]),
        validation=Examples(np.arange(90, 120), labels[90:120]),
        test=Examples(np.arange(120, 150), labels[120:]),
        num_classes=3,
        seed=0,
        device="cpu",
        cache_dir=tmp_path,
    )


def test_easy_classes_are_told_apart_each_way(task: EvaluationTask) -> None:
    probe = PublishedProbe(epochs=60, batch_size=30)
    found = evaluate_encoder(NARROW, EncoderEvaluation(published=probe), task)
    assert [each.method for each in found] == [
        "knn",
        "linear",
        "linear as published, last epoch",
        "linear as published, best epoch",
    ]
    for each in found:
        assert each.test["accuracy"] > 0.75, each
        assert each.validation["accuracy"] > 0.75, each
    again = evaluate_encoder(NARROW, EncoderEvaluation(published=probe), task)
    assert again == found


def test_validation_chooses_and_the_test_set_does_not(task: EvaluationTask) -> None:
    rng = np.random.default_rng(2)
    shuffled = EvaluationTask(
        **{**vars(task), "test": Examples(task.test.rows, rng.permutation(task.test.labels))}
    )
    settings = EncoderEvaluation(published=PublishedProbe(epochs=4, batch_size=32))
    for honest, spoilt in zip(
        evaluate_encoder(NARROW, settings, task),
        evaluate_encoder(NARROW, settings, shuffled),
        strict=True,
    ):
        assert honest.chosen == spoilt.chosen
        assert honest.validation == spoilt.validation
        assert honest.test != spoilt.test


def test_without_validation_nothing_is_chosen(task: EvaluationTask) -> None:
    alone = EvaluationTask(
        **{**vars(task), "validation": Examples(task.test.rows[:0], task.test.labels[:0])}
    )
    settings = EncoderEvaluation(
        neighbours=(5, 1), l2=(3.0, 1.0), published=PublishedProbe(epochs=1, batch_size=32)
    )
    found = evaluate_encoder(NARROW, settings, alone)
    assert [each.chosen for each in found] == ["k = 5", "l2 = 3", "epoch 1"]
    assert [each.validation for each in found] == [{}, {}, {}]


def test_the_published_head_starts_small_and_learns_at_a_constant_rate(
    task: EvaluationTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PublishedProbe(batch_size=1024).lr == 2.0  # arXiv 2303.07648's code: 0.5 * 1024/256
    made: list[torch.optim.SGD] = []
    starts: list[torch.Tensor] = []

    class Watched(torch.optim.SGD):
        def __init__(self, params: object, **options: float) -> None:
            super().__init__(params, **options)  # type: ignore[arg-type]
            made.append(self)
            starts.extend(p.detach().clone() for p in self.param_groups[0]["params"])

        def step(self, closure: object = None) -> None:  # type: ignore[override]
            assert closure is None
            assert self.param_groups[0]["lr"] == 0.5 * 30 / 256
            super().step()

    monkeypatch.setattr("torch.optim.SGD", Watched)
    settings = EncoderEvaluation(published=PublishedProbe(epochs=3, batch_size=30))
    evaluate_encoder(NARROW, settings, task)
    [optimizer] = made
    assert optimizer.defaults["momentum"] == 0.9
    assert optimizer.defaults["weight_decay"] == 0
    weight, bias = starts
    assert 0.005 < float(weight.std()) < 0.015
    assert not bias.any()


def test_nothing_to_judge_by_is_an_error(task: EvaluationTask) -> None:
    with pytest.raises(TrainingError, match="0 labelled and 30 test"):
        evaluate_encoder(
            NARROW, EncoderEvaluation(), EvaluationTask(**{**vars(task), "labelled": NOBODY})
        )
