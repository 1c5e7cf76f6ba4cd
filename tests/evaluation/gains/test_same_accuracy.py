"""The rival shifted to the same accuracy: against brute force, and on planted shifts."""

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluation.gains.answers import Answers
from evaluation.gains.same_accuracy import at_same_accuracy, trade

Floats = NDArray[np.float64]
CLASSES, RARE = ("a", "b", "c", "d"), ("c", "d")
IS_RARE = np.array([False, False, True, True])
SHIFTS = np.linspace(-12, 12, 2000)


def drawn(
    seed: int, cells: int = 300, skill: float = 2.0, shift: float = 0.0
) -> tuple[NDArray[np.int64], Floats]:
    """Labels that are the same for all seeds, and probabilities of a classifier that is somewhat right."""
    labels = np.random.default_rng(0).choice(4, cells, p=[0.4, 0.4, 0.1, 0.1])
    logits = np.random.default_rng(seed).normal(size=(cells, 4)) + skill * np.eye(4)[labels] + shift * IS_RARE
    likely = np.exp(logits)
    return labels, likely / likely.sum(axis=1, keepdims=True)


def shifted(probabilities: Floats, by: float) -> Floats:
    raised = probabilities * np.exp(by * IS_RARE)
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def figures(labels: NDArray[np.int64], probabilities: Floats) -> tuple[float, float]:
    right = probabilities.argmax(axis=1) == labels
    return float(right.mean()), float(np.mean([right[labels == k].mean() for k in (2, 3)]))


def answers_of(**strategies: list[Floats]) -> Answers:
    labels = drawn(0)[0]
    known = {(name, i): p for name, of in strategies.items() for i, p in enumerate(of)}
    right = {key: p.argmax(axis=1) == labels for key, p in known.items()}
    return Answers(labels, CLASSES, RARE, right, known)


def test_the_trade_is_that_of_all_shifts() -> None:
    labels, probabilities = drawn(1)
    found = trade(labels, probabilities, IS_RARE)
    pairs = list(zip(found.accuracy.round(9), found.recall.round(9), strict=True))
    tried = {tuple(np.round(figures(labels, shifted(probabilities, by)), 9)) for by in SHIFTS}
    assert tried <= set(pairs)
    assert (np.diff(found.recall) >= 0).all()
    assert pairs[0][1] == 0, "no cell is called rare at first"


def test_cells_with_the_same_probabilities_go_together() -> None:
    labels = np.array([0, 2, 2])
    found = trade(labels, np.tile([[0.6, 0.1, 0.2, 0.1]], (3, 1)), IS_RARE)
    assert found.accuracy.tolist() == pytest.approx([1 / 3, 2 / 3])
    assert found.recall.tolist() == [0, 1], "no cell of the fourth class is there"


def test_a_mere_shift_is_no_gain() -> None:
    plain = [drawn(seed)[1] for seed in range(6)]
    answers = answers_of(real=plain, gan=[shifted(p, 1.0) for p in plain])
    apart = np.mean(
        [figures(answers.labels, shifted(p, 1.0))[1] - figures(answers.labels, p)[1] for p in plain]
    )
    assert apart > 0.05
    found = at_same_accuracy(answers, "gan", "real", range(6))
    assert found is not None and found["reached"] == 6
    assert -0.03 <= found["mean"] <= 0, "the rival may have the best of the shifts that are as accurate"


def test_skill_is_a_gain_at_any_accuracy() -> None:
    answers = answers_of(
        real=[drawn(seed)[1] for seed in range(6)],
        gan=[drawn(seed + 10, skill=3.5, shift=-0.5)[1] for seed in range(6)],
    )
    found = at_same_accuracy(answers, "gan", "real", range(6))
    assert found is not None and found["reached"] == 0, "no shift makes the rival as accurate"
    own = [figures(answers.labels, answers.probabilities["gan", seed]) for seed in range(6)]
    assert found["accuracy"] == pytest.approx(np.mean([accuracy for accuracy, _ in own]))
    best = [trade(answers.labels, answers.probabilities["real", seed], IS_RARE) for seed in range(6)]
    left = [one.recall[one.accuracy.argmax()] for one in best]
    assert found["rival_mean"] == pytest.approx(np.mean(left))
    assert found["mean"] == pytest.approx(np.mean([recall for _, recall in own]) - np.mean(left))
    assert found["p"] == pytest.approx(2 / 2**6) and found["low"] > 0


def test_nothing_is_said_without_probabilities_or_without_other_classes() -> None:
    answers = answers_of(real=[drawn(0)[1]], gan=[drawn(1)[1]])
    assert at_same_accuracy(answers, "gan", "real", [0]) is not None
    blind = Answers(answers.labels, CLASSES, RARE, answers.right)
    assert at_same_accuracy(blind, "gan", "real", [0]) is None
    all_rare = Answers(answers.labels, CLASSES, CLASSES, answers.right, answers.probabilities)
    assert at_same_accuracy(all_rare, "gan", "real", [0]) is None
