"""Where a filter's threshold lies: under it falls a set share of real cells that nothing has seen.

Scores are told relative to the class: cells of a rare class lie in sparser surroundings, and one
threshold over all classes would reject them for that alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 5  # a class with fewer real cells takes the scale of all classes

Scores = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """Scores of real cells, summed up.

    Attributes:
        scales: Median score of each class, shape (C,); that of all where a class has too few.
        threshold: On the relative score; as given by a share of the real cells.
        n: Real cells behind it.
    """

    scales: Scores
    threshold: float
    n: int

    def relative(self, scores: Scores, labels: Labels) -> Scores:
        """Scores in units of the class's median real cell, shape (n,)."""
        return np.asarray(scores / self.scales[labels])


def calibrate(scores: Scores, labels: Labels, classes: int, share: float) -> Calibration | None:
    """The threshold below which at most a share of real cells lies.

    Args:
        scores: Of real cells, positive; NaN where there is none. Shape (n,).
        labels: Their classes, shape (n,).
        classes: How many classes there are.
        share: In (0, 1).

    Returns:
        None where no real cell has a score.
    """
    known = np.isfinite(scores)
    if not known.any():
        return None
    scales = np.full(classes, max(float(np.median(scores[known])), 1e-9))
    for label in range(classes):
        own = scores[known & (labels == label)]
        if len(own) >= LEAST:
            scales[label] = max(float(np.median(own)), 1e-9)
    relative = scores[known] / scales[labels[known]]
    # The lower of two neighbors: never more than the share is rejected, of few cells none.
    threshold = float(np.quantile(relative, share, method="lower"))
    return Calibration(scales, threshold, int(known.sum()))
