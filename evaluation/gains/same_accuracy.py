"""Is a gain in rare recall more than a shift of the boundary? The rival is shifted to the same accuracy.

Rare recall can be bought: a constant added to the logits of the rare classes finds more of their cells and
loses more of the others. A strategy that is ahead in rare recall and behind in accuracy may stand for nothing
else. So its rival is given such a shift, the one that suits it best, with the test labels in view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.gains.answers import Answers
from evaluation.gains.statistics import paired

ROUNDING = 1e-9  # of two accuracies that are the same
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Trade:
    """What a shift towards the rare classes buys and costs, from one that finds no rare cell to one that
    finds nothing else.

    Attributes:
        accuracy: Shape (k,), in [0, 1].
        recall: Mean recall of the rare classes, shape (k,), in [0, 1], never falling.
    """

    accuracy: Floats
    recall: Floats


def trade(
    labels: NDArray[np.integer[Any]], probabilities: NDArray[np.floating[Any]], rare: NDArray[np.bool_]
) -> Trade:
    """Every accuracy and rare recall that a constant added to the logits of the rare classes can give.

    Args:
        labels: True classes, shape (m,), in [0, C).
        probabilities: Shape (m, C).
        rare: Which classes are rare, shape (C,); some, not all.
    """
    logs = np.log(np.maximum(probabilities.astype(np.float64), np.finfo(np.float32).tiny))
    best, right = [], []
    for side in (np.flatnonzero(~rare), np.flatnonzero(rare)):
        best.append(logs[:, side].max(axis=1))
        right.append(side[logs[:, side].argmax(axis=1)] == labels)
    needed = best[0] - best[1]  # the shift from which on a cell is called rare
    order = np.argsort(needed, kind="stable")
    steps = np.flatnonzero(np.diff(needed[order], prepend=-np.inf, append=np.inf))  # equals go together

    def running(change: NDArray[np.integer[Any]]) -> Floats:
        return np.concatenate([[0.0], np.cumsum(change[order])])[steps]

    accuracy = (right[0].sum() + running(right[1].astype(int) - right[0])) / len(labels)
    own = [labels == k for k in np.flatnonzero(rare) if k in labels]
    recall = np.mean([running((right[1] & cells).astype(int)) / cells.sum() for cells in own], axis=0)
    return Trade(accuracy, recall)


def at_same_accuracy(
    answers: Answers, strategy: str, rival: str, seeds: Sequence[int]
) -> dict[str, Any] | None:
    """`strategy` against its rival where that one is shifted towards, or away from, the rare classes.

    For each seed the rival gets the highest rare recall that it reaches by one shift without being less
    accurate than `strategy`; where no shift makes it as accurate, the recall at its own best accuracy.
    The shift is chosen on the test cells, which is to the rival's favor.

    Args:
        answers: With the probabilities of the rival.
        strategy: A strategy.
        rival: The one to shift.
        seeds: The n units.

    Returns:
        `accuracy` (the mean of `strategy`), `rival_mean` (rare recall of the shifted rival), `mean`, `low`,
        `high` and `p` of the difference (over seeds), `n`, and `reached`, at how many seeds the rival can
        be as accurate. None without the probabilities, or if all classes are rare.
    """
    rare = np.array([name in answers.rare for name in answers.classes])
    if rare.all() or any((rival, seed) not in answers.probabilities for seed in seeds):
        return None
    rows = [answers.labels == k for k in np.flatnonzero(rare) if k in answers.labels]
    accuracies, recalls, shifted, reached = (np.zeros(len(seeds)) for _ in range(4))
    for i, seed in enumerate(seeds):
        right = answers.right[strategy, seed]
        accuracies[i], recalls[i] = right.mean(), np.mean([right[cells].mean() for cells in rows])
        other = trade(answers.labels, answers.probabilities[rival, seed], rare)
        enough = np.flatnonzero(other.accuracy >= accuracies[i] - ROUNDING)
        reached[i] = len(enough) > 0
        at = enough[-1] if len(enough) else other.accuracy.argmax()  # rare recall rises along the trade
        shifted[i] = other.recall[at]
    return {
        "accuracy": float(accuracies.mean()),
        "rival_mean": float(shifted.mean()),
        **paired(recalls - shifted),
        "reached": int(reached.sum()),
    }
