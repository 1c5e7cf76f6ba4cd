"""Stratified group k-fold, repeated: which cells are the test of which fold.

The same greedy rule as for any other split, and not scikit-learn's StratifiedGroupKFold: that one is
no more even (tests/cells/test_folds.py) and takes 2 ms a group, 43 s for 20,000 cells without groups.
"""

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.partition import Rows, assign, clusters
from runtime.errors import InputError
from runtime.seeds import numpy_generator, seed_of


def fold_of_cells(cells: CellSet, images: Rows, folds: int, repeat: int, seed: int) -> Rows:
    """The fold in which each cell is tested, in one repeat of a k-fold.

    Args:
        cells: The cells.
        images: What `image_clusters` returned: cells of one image are tested together, as are
            cells of one group.
        folds: How many; at least 2.
        repeat: Another repeat, other folds.
        seed: Of the whole design.

    Returns:
        Numbers in [0, folds), shape (n,). Where no two cells belong together, folds differ by at
        most one cell, of every class and in all.

    Raises:
        InputError: If a class has too few groups or images to be on every side of every fold.
    """
    together = clusters(cells, images, np.arange(len(cells)))
    _check_enough(cells, together, folds)
    targets = _even(np.bincount(cells.labels, minlength=len(cells.classes)), folds, seed, repeat)
    # Of two folds one is test, and the other must do for train and val.
    at_least = 2 if folds == 2 else 1
    return assign(cells, together, targets, seed_of(seed, "folds", repeat), at_least)


def _even(counts: NDArray[np.int64], folds: int, seed: int, repeat: int) -> NDArray[np.float64]:
    """Cells per fold and class: what does not divide is dealt out, fold after fold."""
    order = numpy_generator(seed, "folds", repeat).permutation(folds)
    before = np.cumsum(counts % folds) - counts % folds  # leftovers dealt for earlier classes
    targets = np.tile(counts // folds, (folds, 1)).astype(np.float64)
    for label, left in enumerate(counts % folds):
        targets[order[(before[label] + np.arange(left)) % folds], label] += 1
    return targets


def _check_enough(cells: CellSet, together: list[Rows], folds: int) -> None:
    """A fold each for test, and one left for train and one for val."""
    needed = max(folds, 4 if folds == 2 else 3)
    holding = np.zeros(len(cells.classes), np.int64)
    for rows in together:
        holding[np.unique(cells.labels[rows])] += 1
    for name, count in zip(cells.classes, holding, strict=True):
        if count < needed:
            raise InputError(
                f"split.folds={folds}: class '{name}' has {count} groups or different images, and needs "
                f"{needed}; use fewer folds, add some, or leave the class out."
            )
