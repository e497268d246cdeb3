"""What is said of a classifier: pure functions of log-probabilities and labels.

Legend: ``N`` samples, ``C`` classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

CALIBRATION_BINS = 15


def confusion_matrix(labels: Counts, predicted: Counts, num_classes: int) -> Counts:
    """(N,) and (N,) -> (C, C) counts; rows are true classes, columns predicted ones."""
    cells = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return cells.reshape(num_classes, num_classes).astype(np.int64)


def classification_metrics(
    log_probs: npt.NDArray[np.float32], labels: Counts
) -> tuple[dict[str, float], Counts]:
    """Metrics and the confusion matrix of (N, C) log-probabilities; no metrics where N is 0.

    Keys: `accuracy`; `top2_accuracy`, where there are three classes and more; `balanced_accuracy`,
    the mean recall, `macro_precision` and `macro_f1`, means over the classes present among the
    labels; `recall/<class>` of each of these; `nll` in nats; `ece`; `auc_roc` and `auc_pr`, means
    over the same classes, each against the rest, left out where one class is all there is. A class
    the learner has never seen has recall 0 and counts, one never predicted has precision 0. Ties go
    to the lowest class.
    """
    num_classes = log_probs.shape[1]
    if len(labels) == 0:
        return {}, np.zeros((num_classes, num_classes), dtype=np.int64)
    predicted = log_probs.argmax(axis=1).astype(np.int64)
    confusion = confusion_matrix(labels, predicted, num_classes)
    hits = np.diag(confusion).astype(np.float64)
    support = confusion.sum(axis=1)
    present = np.flatnonzero(support)
    recall = hits[present] / support[present]
    given = confusion.sum(axis=0)[present]
    f1 = 2 * hits[present] / (support[present] + given)
    chosen = log_probs[np.arange(len(labels)), labels].astype(np.float64)
    metrics = {
        "accuracy": float(hits.sum() / len(labels)),
        "balanced_accuracy": float(recall.mean()),
        "macro_precision": float((hits[present] / np.maximum(given, 1)).mean()),
        "macro_f1": float(f1.mean()),
        "nll": float(-chosen.mean()),
        "ece": calibration_of(log_probs, labels).error,
    }
    if num_classes > 2:
        # As many classes with more, and lower ones among equals, come before the label.
        before = (log_probs > chosen[:, None]).sum(axis=1)
        equal = log_probs == chosen[:, None]
        before += (equal & (np.arange(num_classes) < labels[:, None])).sum(axis=1)
        metrics["top2_accuracy"] = float((before < 2).mean())
    if len(present) > 1:
        metrics["auc_roc"], metrics["auc_pr"] = (
            float(np.mean(values))
            for values in zip(*(areas(log_probs[:, c], labels == c) for c in present), strict=True)
        )
    metrics |= {f"recall/{c}": float(value) for c, value in zip(present, recall, strict=True)}
    return metrics, confusion


def areas(
    scores: npt.NDArray[np.floating], is_positive: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Areas under the ROC curve and under the precision-recall curve of (N,) scores.

    The first is the chance that a positive has more than a negative, equal scores counting half;
    the second is average precision, the sum over distinct scores of precision times gained recall.
    Both kinds must be there.
    """
    _, place, counts = np.unique(-scores, return_inverse=True, return_counts=True)
    positives = np.bincount(place, weights=is_positive, minlength=len(counts))
    negatives = counts - positives
    found = positives.cumsum()
    # Negatives with a higher score, and half of those with an equal one, lose against none.
    beaten = negatives.sum() - negatives.cumsum() + negatives / 2
    roc = (positives * beaten).sum() / (positives.sum() * negatives.sum())
    precision_recall = (found / counts.cumsum() * positives).sum() / positives.sum()
    return float(roc), float(precision_recall)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy, in 15 equal bins (0, 1/15], (1/15, 2/15], … of confidence.

    Where a bin is empty, its confidence and accuracy are NaN.
    """

    counts: Counts  # (15,) samples
    confidence: Doubles  # (15,) mean probability of the predicted class
    accuracy: Doubles  # (15,) share of the predictions that are right
    error: float
    """Expected calibration error, in [0, 1]: the mean over bins of |accuracy - confidence|, each
    weighted by its share of the samples (Guo et al. 2017, arXiv 1706.04599, equation 5)."""


def calibration(confidence: Doubles, is_right: npt.NDArray[np.bool_]) -> Calibration:
    """Bins of N >= 1 predictions with their confidence (N,) in [0, 1]."""
    bins = np.ceil(confidence * CALIBRATION_BINS).astype(np.int64) - 1
    bins = bins.clip(0, CALIBRATION_BINS - 1)

    def sums(weights: npt.NDArray[np.generic]) -> Doubles:
        return np.bincount(bins, weights, CALIBRATION_BINS).astype(np.float64)

    counts = np.bincount(bins, minlength=CALIBRATION_BINS).astype(np.int64)
    held = np.where(counts, counts, np.nan)
    gaps = np.abs(sums(is_right - confidence))
    return Calibration(
        counts=counts,
        confidence=sums(confidence) / held,
        accuracy=sums(is_right) / held,
        error=float(gaps.sum() / len(confidence)),
    )


def calibration_of(log_probs: npt.NDArray[np.float32], labels: Counts) -> Calibration:
    """Bins of (N, C) log-probabilities, N >= 1; among equal classes the lowest is predicted."""
    confidence = np.exp(log_probs.max(axis=1).astype(np.float64))
    return calibration(confidence, log_probs.argmax(axis=1) == labels)
