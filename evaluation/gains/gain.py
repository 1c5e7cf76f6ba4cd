"""How well a classifier does on real, unseen cells: the figures a gain is counted in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from runtime.errors import InputError, suggest

# The figures that every trial is summed up in, in the order in which reports print them.
METRICS: dict[str, str] = {
    "mean_rare_recall": "rare recall",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "macro_f1": "macro-F1",
}
# Figures of the probabilities, not of the decisions alone. A trial of an earlier version has none.
FURTHER: dict[str, str] = {"mean_auprc": "AUPRC", "auc": "AUC", "ece": "ECE"}
LOWER_IS_BETTER = ("ece",)
BINS = 15  # of the expected calibration error


def confusion(
    labels: NDArray[np.integer[Any]], predicted: NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    """Count cells by true and predicted class.

    Args:
        labels: True classes, shape (n,), in [0, classes).
        predicted: Predicted classes, shape (n,), in [0, classes).
        classes: Number of classes C.

    Returns:
        Counts of shape (C, C): true class in rows, predicted class in columns.
    """
    flat = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes)


def scores(
    labels: NDArray[np.integer[Any]],
    probabilities: NDArray[np.floating[Any]],
    classes: Sequence[str],
    rare: Sequence[str],
) -> dict[str, Any]:
    """Score class probabilities against the truth.

    A class without a cell in `labels` has no recall: it is None there and left out of the means,
    as scikit-learn's `balanced_accuracy_score` does.

    Args:
        labels: True classes, shape (n,), in [0, C).
        probabilities: Shape (n, C), each row of sum 1. The largest one decides.
        classes: The C class names, in the order of the columns.
        rare: Names of the rare classes.

    Returns:
        `accuracy`, `balanced_accuracy`, `macro_f1`, `mean_rare_recall`, all in [0, 1]; `recall`, a
        dict from class name to [0, 1] or None; and what `ranking` returns, and `ece`.

    Raises:
        InputError: If there is no cell, a rare class is unknown, or no rare class has a cell.
    """
    if len(labels) == 0:
        raise InputError("there are no cells to score: give a test split that is not empty")
    for name in rare:
        if name not in classes:
            raise InputError(f"rare: there is no class '{name}'.{suggest(name, classes)}")
    matrix = confusion(labels, probabilities.argmax(axis=1), len(classes))
    hits, actual, claimed = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    present = actual > 0
    recall = {c: float(hits[i] / actual[i]) if present[i] else None for i, c in enumerate(classes)}
    of_rare = [recall[c] for c in rare if recall[c] is not None]
    if not of_rare:
        raise InputError("rare: none of these classes has a cell to be scored on; name others")
    seen = present | (claimed > 0)  # scikit-learn's macro average: every class true or predicted
    return {
        "accuracy": float(hits.sum() / actual.sum()),
        "balanced_accuracy": float(np.mean([r for r in recall.values() if r is not None])),
        # F1 = 2 TP / (2 TP + FP + FN), and TP + FN + TP + FP = actual + claimed.
        "macro_f1": float(np.mean(2 * hits[seen] / (actual + claimed)[seen])),
        "mean_rare_recall": float(np.mean(np.array(of_rare, dtype=np.float64))),
        "recall": recall,
        **ranking(labels, probabilities, classes),
        "ece": calibration_error(labels, probabilities),
    }


def ranking(
    labels: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """How well the probability of a class ranks its cells before all others, whatever the threshold.

    Args:
        labels: True classes, shape (n,), in [0, C).
        probabilities: Shape (n, C).
        classes: The C class names.

    Returns:
        `auprc`, average precision by class name, None for a class without a cell; `mean_auprc`, their
        mean; `auc`, the mean over classes of the area under the ROC curve of the class against the
        rest, None if all cells are of one class. All in [0, 1].

    Source:
        AUC: Yang et al., MedMNIST v2, Scientific Data 10, 2023, whose evaluator takes this mean.
    """
    own = [labels == k for k in range(len(classes))]
    found = [
        float(average_precision_score(own[k], probabilities[:, k])) if own[k].any() else None
        for k in range(len(classes))
    ]
    areas = [
        float(roc_auc_score(own[k], probabilities[:, k]))
        for k in range(len(classes))
        if own[k].any() and not own[k].all()
    ]
    return {
        "auprc": dict(zip(classes, found, strict=True)),
        "mean_auprc": float(np.mean([a for a in found if a is not None])),
        "auc": float(np.mean(areas)) if areas else None,
    }


def calibration_error(labels: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]]) -> float:
    """Expected calibration error: by how much the confidence misses the accuracy, in 15 equal bins.

    Args:
        labels: True classes, shape (n,), n >= 1.
        probabilities: Shape (n, C), each row of sum 1.

    Returns:
        The mean over cells of |accuracy - confidence| of their bin, in [0, 1]; 0 is best.

    Source:
        Guo et al., ICML 2017, arXiv:1706.04599, equation 3.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    # Bin m holds the confidences in ((m - 1) / 15, m / 15].
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))
