"""Scores against scikit-learn's, and what they refuse."""

import numpy as np
import pytest
from sklearn import metrics

from evaluation.gains.gain import calibration_error, confusion, scores
from runtime.errors import InputError

CLASSES = ("a", "b", "c")


def random_case(seed: int, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 3, n), random.random((n, 3))


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    labels, probabilities = random_case(seed)
    predicted = probabilities.argmax(axis=1)
    found = scores(labels, probabilities, CLASSES, ["b", "c"])
    recall = metrics.recall_score(labels, predicted, average=None)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro"))
    assert list(found["recall"].values()) == pytest.approx(recall)
    assert found["mean_rare_recall"] == pytest.approx(recall[1:].mean())


def test_confusion_has_true_classes_in_rows() -> None:
    matrix = confusion(np.array([0, 0, 1]), np.array([0, 2, 1]), 3)
    assert matrix.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_a_class_without_cells_has_no_recall() -> None:
    found = scores(np.array([0, 0]), np.eye(3)[[0, 1]], CLASSES, ["a"])
    assert found["recall"] == {"a": 0.5, "b": None, "c": None}
    assert found["balanced_accuracy"] == 0.5


def test_perfect_predictions_score_one() -> None:
    found = scores(np.array([0, 1, 2]), np.eye(3), CLASSES, ["c"])
    assert {found[m] for m in ("accuracy", "balanced_accuracy", "macro_f1", "mean_rare_recall")} == {1.0}


@pytest.mark.parametrize(
    ("labels", "rare", "words"),
    [([], ["a"], "no cells"), ([0], ["aa"], "Did you mean 'a'"), ([0], ["b"], "name others")],
)
def test_what_cannot_be_scored_is_refused(labels: list[int], rare: list[str], words: str) -> None:
    probabilities = np.ones((len(labels), 3))
    with pytest.raises(InputError, match=words):
        scores(np.array(labels, dtype=int), probabilities, CLASSES, rare)


@pytest.mark.parametrize("seed", range(3))
def test_ranking_is_that_of_scikit_learn(seed: int) -> None:
    labels, probabilities = random_case(seed)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    found, hot = scores(labels, probabilities, CLASSES, ["b"]), np.eye(3)[labels]
    each = metrics.average_precision_score(hot, probabilities, average=None)
    assert list(found["auprc"].values()) == pytest.approx(each)
    assert found["mean_auprc"] == pytest.approx(each.mean())
    reference = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert found["auc"] == pytest.approx(reference)


def test_a_class_without_cells_has_no_auprc_and_is_left_out_of_the_means() -> None:
    found = scores(np.array([0, 0, 1]), np.eye(3)[[0, 0, 1]], CLASSES, ["b"])
    assert found["auprc"] == {"a": 1.0, "b": 1.0, "c": None}
    assert found["mean_auprc"] == found["auc"] == 1.0
    assert scores(np.array([0, 0]), np.eye(3)[[0, 1]], CLASSES, ["a"])["auc"] is None


def test_calibration_error_by_hand() -> None:
    # Four cells of confidence 0.9, three of them right; two of 0.6, none of them right.
    sure, unsure = [0.9, 0.05, 0.05], [0.6, 0.2, 0.2]
    probabilities = np.array([sure] * 4 + [unsure] * 2)
    error = calibration_error(np.array([0, 0, 0, 1, 2, 1]), probabilities)
    assert error == pytest.approx(4 / 6 * abs(0.75 - 0.9) + 2 / 6 * 0.6)


def test_calibration_error_is_small_for_honest_probabilities_and_grows_with_overconfidence() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 1.5, (20_000, 3))
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (random.random((20_000, 1)) > honest.cumsum(axis=1)).sum(axis=1).clip(max=2)
    boastful = honest**3 / (honest**3).sum(axis=1, keepdims=True)
    assert calibration_error(labels, honest) < 0.02 < 0.1 < calibration_error(labels, boastful)
