"""How near a cell is to one training cell of its class, and how near is too near.

The threshold is calibrated on held-out real cells: at that of its class, one in a hundred of them would
be called a copy.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from evaluation.copies.nearest import Floats, Neighborhood, PixelSpace, Space, neighbors
from runtime.errors import InputError

OWN_THRESHOLD = 100  # held-out cells from which a class has a threshold of its own
OWN_SCALE = 5  # a class with fewer takes the scale of all classes
LEAST = 1e-6  # a distance that none falls below, so that ratios exist


class Group(NamedTuple):
    """Classes under one threshold: of `heldout` unseen cells it flags `rank`, of `asked` cells it judges."""

    heldout: int
    rank: int
    asked: int


class CopyDetector:
    """Nearness to one training cell of the class, against that of held-out real cells.

    The score of a cell is its distance to the nearest training cell of its class, divided by the mean
    distance to the next 50 (Carlini et al. 2301.13188, section 5: so a blurred or average cell, which
    is near to many, is no copy). Its relative distance is the score in units of the threshold.

    A class with 100 held-out cells has a threshold of its own: the k-th smallest of their n scores,
    k = max(1, floor(per_flag (n + 1))), under which an unseen cell falls with probability k / (n + 1). The
    others share one, read on all held-out cells, each score divided by the median of its class.

    Args:
        train: Real cells that the generator was trained on.
        heldout: Real cells that it was not trained on.
        per_flag: Share of the unseen cells that the thresholds are to flag.
        space: Where distances are taken; default pixels.

    Attributes:
        threshold: Relative distance up to which a cell counts as a near-copy: 1 by definition.
        thresholds: Score up to which a cell of each class is flagged, shape (classes,).
        own: Whether the class has a threshold of its own, shape (classes,).
        calibrated_on: Number of held-out cells behind the thresholds.

    Raises:
        InputError: If there is no held-out cell of a class that training has.
    """

    threshold = 1.0

    def __init__(
        self, train: CellSet, heldout: CellSet, per_flag: float = 0.01, space: Space | None = None
    ) -> None:
        check_classes(train, heldout)
        self.train, self.heldout, self.per_flag = train, heldout, per_flag
        self.space: Space = space if space is not None else PixelSpace()
        self.bank = self.space.prepare(train, made=False)
        self.unseen = self.around(heldout)
        scores = score(self.unseen)
        known = np.isfinite(scores)
        if not known.any():
            raise InputError(
                "copies cannot be calibrated: no held-out real cell of a class with two training cells."
            )
        self.calibrated_on = int(known.sum())
        self._calibrate(scores[known], heldout.labels[known])

    def _calibrate(self, scores: Floats, labels: NDArray[np.int64]) -> None:
        """Thresholds of the classes, from the scores of held-out cells."""
        classes = len(self.heldout.classes)
        self.per_class = np.bincount(labels, minlength=classes)
        self.own = self.per_class >= OWN_THRESHOLD
        scales = _scales(scores, labels, classes)
        shared = np.sort(scores / scales[labels])[_rank(len(scores), self.per_flag) - 1]
        self.thresholds = np.maximum(shared * scales, LEAST)
        for label in np.flatnonzero(self.own):
            of_class = np.sort(scores[labels == label])
            self.thresholds[label] = max(of_class[_rank(len(of_class), self.per_flag) - 1], LEAST)

    @property
    def expected(self) -> float:
        """The share of unseen cells that the shared threshold flags."""
        return _rank(self.calibrated_on, self.per_flag) / (self.calibrated_on + 1)

    def around(self, cells: CellSet) -> Neighborhood:
        """The training cells around each cell; `row` is one of `train`."""
        check_classes(self.train, cells)
        queries = self.space.prepare(cells, made=True)
        return neighbors(self.space, queries, cells.labels, self.bank, self.train.labels)

    def nearest(self, cells: CellSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance to the nearest training cell of the same class, and its index in `train`.

        Returns:
            In pixels a root mean square in [0, 1], shape (n,), infinite without such a cell; and the
            index, -1 without.
        """
        found = self.around(cells)
        return found.nearest, found.row

    def relative(self, cells: CellSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `nearest`, scores in units of the class's threshold instead of distances."""
        found = self.around(cells)
        return score(found) / self.thresholds[cells.labels], found.row

    def flags(self, cells: CellSet) -> NDArray[np.bool_]:
        """True for each near-copy, shape (n,)."""
        return np.asarray(self.relative(cells)[0] <= self.threshold)

    def groups(self, labels: NDArray[np.int64]) -> list[Group]:
        """The thresholds that cells of these classes are judged by; cells without one are left out.

        Args:
            labels: Classes of the judged cells that have a score, shape (n,).
        """
        asked = np.bincount(labels, minlength=len(self.own))
        counts = [(int(self.per_class[c]), int(asked[c])) for c in np.flatnonzero(self.own)]
        counts.append((self.calibrated_on, int(asked[~self.own].sum())))
        return [Group(n, _rank(n, self.per_flag), m) for n, m in counts if m]


def score(found: Neighborhood) -> Floats:
    """Distance to the nearest over the mean distance to the next ones; infinite without neighbors."""
    alone = ~np.isfinite(found.beyond)
    beyond = np.where(alone, 1.0, np.maximum(found.beyond, LEAST))
    return np.asarray(np.where(alone, np.inf, found.nearest / beyond))


def _rank(n: int, per_flag: float) -> int:
    return max(1, int(per_flag * (n + 1) + 1e-9))


def _scales(scores: Floats, labels: NDArray[np.int64], classes: int) -> Floats:
    """Median held-out score of each class: in a small class all neighbors are far, and so on."""
    scales = np.full(classes, max(float(np.median(scores)), LEAST))
    for label in range(classes):
        of_class = scores[labels == label]
        if len(of_class) >= OWN_SCALE:
            scales[label] = max(float(np.median(of_class)), LEAST)
    return scales


def check_classes(train: CellSet, other: CellSet) -> None:
    """Raise InputError unless two sets have the same classes."""
    if train.classes != other.classes:
        raise InputError(
            f"training classes {list(train.classes)} are not {list(other.classes)}; "
            "give both sets the same classes."
        )
