"""Realism of single cells: does a synthetic one lie where real cells of its class lie?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from cells.cellset import CellSet
from classifiers.training import Classifier
from evaluation.filters.calibration import Calibration, Scores, calibrate
from runtime.errors import InputError
from runtime.seeds import numpy_generator

NEIGHBOURS = 3  # as in the paper
MOST = 2000  # training cells of a class that balls are drawn around
CHUNK = 1024


class Realism:
    """Realism score of each cell within its own class, relative to that of unseen real cells.

    The features are the curation's own: no network of the evaluation takes part.

    Args:
        classifier: Whose features count.
        train: Real training cells: the balls.
        heldout: Real cells that the classifier has not seen: the threshold.
        share: Of the held-out cells that may fall below the threshold.

    Attributes:
        calibration: The threshold; None where no held-out cell has a score.

    Raises:
        InputError: If the two sides have other classes.

    Source:
        Kynkäänniemi et al., 1904.06991, equation 3 and the pruning of section 5: the larger half of the
        balls is left out. Per class, and relative to the class's median held-out cell: ours.
    """

    def __init__(self, classifier: Classifier, train: CellSet, heldout: CellSet, share: float) -> None:
        if train.classes != heldout.classes:
            raise InputError("realism: training and held-out cells have other classes; give both the same.")
        self.classifier = classifier
        self._balls = {
            label: balls(classifier.features(train.subset(rows)))
            for label in np.unique(train.labels).tolist()
            if len(rows := _few(train, label)) > NEIGHBOURS
        }
        self.calibration: Calibration | None = calibrate(
            self.scores(heldout), heldout.labels, len(train.classes), share
        )

    def scores(self, cells: CellSet) -> Scores:
        """The realism score, shape (n,): 1 and more within a ball; NaN in a class without balls."""
        found = np.full(len(cells), np.nan)
        for label, (centers, radii) in self._balls.items():
            rows = np.flatnonzero(cells.labels == label)
            if len(rows):
                found[rows] = realism(self.classifier.features(cells.subset(rows)), centers, radii)
        return found

    def keeps(self, cells: CellSet) -> NDArray[np.bool_]:
        """False for each cell below the threshold, shape (n,); a cell without a score is kept."""
        if self.calibration is None:
            return np.ones(len(cells), bool)
        relative = self.calibration.relative(self.scores(cells), cells.labels)
        return np.asarray(~(relative < self.calibration.threshold))


def balls(features: NDArray[np.float32], neighbours: int = NEIGHBOURS) -> tuple[Scores, Scores]:
    """Centers and radii of the smaller half of the balls around real cells.

    Args:
        features: Shape (n, d), n > neighbours.
        neighbours: A ball reaches the k-th nearest other cell.

    Returns:
        Shapes (m, d) and (m,).
    """
    points = np.asarray(features, np.float64)
    radii = np.concatenate(
        [
            np.partition(cdist(points[start : start + CHUNK], points), neighbours, axis=1)[:, neighbours]
            for start in range(0, len(points), CHUNK)
        ]
    )  # at 0 lies the cell itself
    small = radii <= np.median(radii)
    return points[small], radii[small]


def realism(features: NDArray[np.float32], centers: Scores, radii: Scores) -> Scores:
    """The largest ratio of a ball's radius to the distance from its center, shape (n,).

    Args:
        features: Shape (n, d).
        centers: Shape (m, d).
        radii: Shape (m,).

    Source:
        Kynkäänniemi et al., 1904.06991, equation 3.
    """
    points = np.asarray(features, np.float64)
    parts = [np.zeros(0)]
    for start in range(0, len(points), CHUNK):
        distances = cdist(points[start : start + CHUNK], centers)
        parts.append((radii / np.maximum(distances, 1e-12)).max(axis=1))
    return np.concatenate(parts)


def _few(train: CellSet, label: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(train.labels == label)
    return np.sort(numpy_generator(0, "realism", label).permutation(rows)[:MOST])
