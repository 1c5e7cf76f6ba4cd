"""Scores against scikit-learn's, and what they refuse."""

import numpy as np
import pytest
from sklearn import metrics

from evaluation.gain import confusion, scores
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
