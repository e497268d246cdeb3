from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from trainers.metrics import areas, calibration, classification_metrics, confusion_matrix


def certain(
    predicted: list[int], num_classes: int, confidence: float = 0.8
) -> npt.NDArray[np.float32]:
    """Log-probabilities that name a class with this confidence."""
    rest = (1 - confidence) / (num_classes - 1)
    probs = np.full((len(predicted), num_classes), rest, dtype=np.float32)
    probs[np.arange(len(predicted)), predicted] = confidence
    return np.asarray(np.log(probs), dtype=np.float32)


def test_confusion_counts_true_classes_in_rows() -> None:
    confusion = confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    assert confusion.dtype == np.int64


def test_balanced_accuracy_weighs_a_rare_class_as_much_as_a_common_one() -> None:
    labels = np.array([0, 0, 0, 1])
    metrics, _ = classification_metrics(certain([0, 0, 0, 0], 2), labels)
    assert metrics["accuracy"] == 0.75
    assert metrics["balanced_accuracy"] == 0.5
    assert (metrics["recall/0"], metrics["recall/1"]) == (1.0, 0.0)


def test_a_class_absent_from_the_labels_has_no_recall_and_does_not_count() -> None:
    metrics, confusion = classification_metrics(certain([0, 1, 2], 3), np.array([0, 1, 1]))
    assert "recall/2" not in metrics
    assert metrics["balanced_accuracy"] == 0.75
    assert confusion.shape == (3, 3)


def test_nll_of_even_odds_is_the_logarithm_of_the_classes() -> None:
    even = np.log(np.full((5, 4), 0.25, dtype=np.float32))
    metrics, _ = classification_metrics(even, np.array([0, 1, 2, 3, 0]))
    assert metrics["nll"] == pytest.approx(np.log(4))


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # All four in one bin: confidence .8, accuracy .5.
    metrics, _ = classification_metrics(certain([0, 0, 0, 0], 2), np.array([0, 0, 1, 1]))
    assert metrics["ece"] == pytest.approx(0.3)


def test_calibration_gaps_of_different_bins_do_not_cancel() -> None:
    confidence, is_right = np.array([0.5, 0.9]), np.array([True, False])
    assert calibration(confidence, is_right).error == pytest.approx((0.5 + 0.9) / 2)


def test_each_bin_tells_how_many_how_sure_and_how_right() -> None:
    seen = calibration(np.array([0.5, 0.52, 0.9]), np.array([True, False, True]))
    # 15 bins: (7/15, 8/15] has two of them and (13/15, 14/15] the third.
    assert seen.counts.tolist() == [0] * 7 + [2] + [0] * 5 + [1, 0]
    assert seen.confidence[[7, 13]] == pytest.approx([0.51, 0.9])
    assert seen.accuracy[[7, 13]].tolist() == [0.5, 1.0]
    assert np.isnan(seen.accuracy[0])
    assert seen.error == pytest.approx((2 * 0.01 + 0.1) / 3)


def test_of_nothing_there_are_no_metrics() -> None:
    metrics, confusion = classification_metrics(np.empty((0, 2), np.float32), np.empty(0, np.int64))
    assert metrics == {}
    assert confusion.tolist() == [[0, 0], [0, 0]]


def test_a_bin_holds_its_upper_edge() -> None:
    # 1/15 belongs to the first bin and just above it to the second: gaps of two bins add up.
    confidence = np.array([1 / 15, 1 / 15 + 1e-9])
    error = calibration(confidence, np.array([True, False])).error
    assert error == pytest.approx((14 / 15 + 1 / 15) / 2)


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 7))
def test_metrics_equal_those_of_scikit_learn(seed: int, count: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(num_classes), count)
    labels = rng.integers(0, num_classes, count)
    metrics, confusion = classification_metrics(np.log(probs).astype(np.float32), labels)
    predicted, classes = probs.argmax(1), np.arange(num_classes)
    present = np.unique(labels)
    assert confusion.tolist() == oracle.confusion_matrix(labels, predicted, labels=classes).tolist()
    assert metrics["accuracy"] == pytest.approx(oracle.accuracy_score(labels, predicted))
    recall = oracle.recall_score(labels, predicted, labels=present, average="macro")
    assert metrics["balanced_accuracy"] == pytest.approx(recall)
    f1 = oracle.f1_score(labels, predicted, labels=present, average="macro")
    assert metrics["macro_f1"] == pytest.approx(f1)
    precision = oracle.precision_score(
        labels, predicted, labels=present, average="macro", zero_division=0
    )
    assert metrics["macro_precision"] == pytest.approx(precision)
    if num_classes > 2:
        top2 = oracle.top_k_accuracy_score(labels, probs, k=2, labels=classes)
        assert metrics["top2_accuracy"] == pytest.approx(top2)
    nll = oracle.log_loss(labels, probs, labels=classes)
    assert metrics["nll"] == pytest.approx(nll, rel=1e-5)
    assert metrics["ece"] == pytest.approx(slow_calibration_error(probs, labels), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 5))
def test_areas_equal_those_of_scikit_learn_with_ties_and_without(
    seed: int, count: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    is_positive = np.arange(count) < rng.integers(1, count)
    for scores in (rng.normal(size=count), rng.integers(0, levels, count).astype(np.float64)):
        roc, precision_recall = areas(scores, is_positive)
        assert roc == pytest.approx(oracle.roc_auc_score(is_positive, scores))
        assert precision_recall == pytest.approx(
            oracle.average_precision_score(is_positive, scores)
        )


def test_areas_of_a_class_against_the_rest_are_left_out_where_there_is_no_rest() -> None:
    metrics, _ = classification_metrics(certain([0, 0, 1], 3), np.array([2, 2, 2]))
    assert not {"auc_roc", "auc_pr"} & metrics.keys()
    metrics, _ = classification_metrics(certain([0, 0, 1], 3), np.array([0, 0, 1]))
    assert metrics["auc_roc"] == metrics["auc_pr"] == 1.0
    assert metrics["top2_accuracy"] == 1.0


def slow_calibration_error(probs: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    confidence, is_right = probs.max(1), probs.argmax(1) == labels
    total = 0.0
    for low in range(15):
        inside = [n for n, c in enumerate(confidence) if low / 15 < c <= (low + 1) / 15]
        if inside:
            gap = np.mean(is_right[inside]) - np.mean(confidence[inside])
            total += abs(gap) * len(inside) / len(labels)
    return total
