"""The judge where there is no holdout: cross-fitted, so that no real cell is judged by a net that saw it."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells.cellset import CellSet
from cells.folds import fold_of_cells
from cells.partition import Rows, clusters, image_clusters
from classifiers.training import Classifier, ClassifierSettings
from evaluation.quality.agreement import agreement
from runtime.errors import InputError
from runtime.seeds import seed_of

LEAST = 3  # folds: with two, each net would learn from half of a small class


class TooFewReal(InputError):
    """A class has too few real cells for a cross-fitted judge."""


def cross_fitted_agreement(
    synthetic: CellSet, real: CellSet, settings: ClassifierSettings, folds: int, seed: int
) -> dict[str, Any]:
    """`agreement` by as many nets as folds; costs as many trainings.

    Each net learns from all folds but one. A real cell is judged by the one net that has not seen
    it, nor another cell of its group; a synthetic cell by the mean of all nets' probabilities. That
    mean is a little surer than a single net, so the ceiling errs to the low side.

    Args:
        synthetic: Cells to judge, of the classes of `real`.
        real: Real cells; any of them may be the generator's training cells.
        settings: Of each net.
        folds: How many; fewer where the rarest class has fewer groups or different images.
        seed: Of folds and nets.

    Returns:
        See `agreement`; ``judge`` says how, ``trainings`` how many nets.

    Raises:
        InputError: If the classes differ.
        TooFewReal: If a class has fewer than 3 groups or different images.
    """
    if synthetic.classes != real.classes:
        raise InputError(
            f"real cells are {list(real.classes)}, synthetic ones {list(synthetic.classes)}; "
            "give both the same classes."
        )
    fold = real_folds(real, folds, seed)
    count = int(fold.max()) + 1
    on_real = np.zeros((len(real), len(real.classes)))  # (m, C)
    on_made = np.zeros((len(synthetic), len(real.classes)))  # (n, C)
    for number in range(count):
        own = fold == number
        judge = Classifier(real.classes, settings)
        about = f"judge {number + 1} of {count}"
        judge.fit(real.subset(~own), seed=seed_of(seed, "judge", number), description=about)
        on_real[own] = judge.probabilities(real.subset(own))
        if len(synthetic):
            on_made += judge.probabilities(synthetic) / count
    found = agreement(synthetic, on_made.argmax(axis=1), real, on_real.argmax(axis=1))
    said = f"{count} nets, cross-fitted: each real cell by the net that has not seen it"
    return {**found, "judge": said, "trainings": count}


def real_folds(real: CellSet, folds: int, seed: int) -> Rows:
    """The fold of each real cell, shape (m,); cells of one group or of the same pixels in one fold.

    Args:
        real: Real cells.
        folds: How many at most.
        seed: Of the folds.

    Raises:
        TooFewReal: If a class has too few groups or different images.
    """
    images = image_clusters(real, ())
    holding = np.zeros(len(real.classes), np.int64)
    for rows in clusters(real, images, np.arange(len(real))):
        holding[np.unique(real.labels[rows])] += 1
    rarest = int(holding.argmin())
    if holding[rarest] < LEAST:
        raise TooFewReal(
            f"class '{real.classes[rarest]}' has {holding[rarest]} groups or different images, and a "
            f"cross-fitted judge needs {LEAST}; add some, give holdout=, or switch the labels off."
        )
    return fold_of_cells(real, images, min(folds, int(holding[rarest])), 0, seed_of(seed, "cross-fitting"))
