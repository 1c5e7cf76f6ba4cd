"""Which of the accepted cells fill the quota: the first ones, or those that cover the rest."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from cells.cellset import CellSet
from classifiers.training import Classifier


def within(cells: CellSet, limits: Mapping[str, int]) -> CellSet:
    """The first cells of each class, up to its limit, in their order."""
    kept = [np.flatnonzero(cells.labels == cells.classes.index(c))[:n] for c, n in limits.items()]
    return cells.subset(np.sort(np.concatenate([np.zeros(0, np.int64), *kept])))


def covering(cells: CellSet, limits: Mapping[str, int], classifier: Classifier) -> CellSet:
    """As `within`, but those of each class from which no left-out cell is far.

    Args:
        cells: What may be chosen.
        limits: Class -> count.
        classifier: Whose features say what is far.

    Returns:
        The chosen cells, in their order.
    """
    kept = [np.zeros(0, np.int64)]
    for name, count in limits.items():
        rows = np.flatnonzero(cells.labels == cells.classes.index(name))
        if len(rows) > count > 0:
            rows = rows[k_centre(classifier.features(cells.subset(rows)), count)]
        kept.append(rows[:count])
    return cells.subset(np.sort(np.concatenate(kept)))


def k_centre(features: NDArray[np.floating], count: int) -> NDArray[np.int64]:  # type: ignore[type-arg]
    """Greedy k-centre: each next point is the one farthest from all chosen ones.

    The first is the point nearest to the mean. The largest distance from any point to its nearest
    chosen one is at most twice the least possible.

    Args:
        features: Shape (n, d).
        count: How many, at most n.

    Returns:
        Indices in the order of choice, shape (count,).

    Source:
        Sener and Savarese, 1708.00489, algorithm 1; the bound: Gonzalez 1985.
    """
    points = np.asarray(features, np.float64)
    chosen = np.empty(min(count, len(points)), np.int64)
    distance = np.full(len(points), np.inf)
    following = int(cdist(points, points.mean(axis=0, keepdims=True)).argmin()) if len(points) else 0
    for place in range(len(chosen)):
        chosen[place] = following
        distance = np.minimum(distance, cdist(points, points[following : following + 1])[:, 0])
        distance[chosen[: place + 1]] = -1.0  # also of points that lie on each other
        following = int(distance.argmax())
    return chosen
