"""The funnel: named filters that synthetic cells pass before they train anything."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cells.cellset import CellSet
from classifiers.training import Classifier
from evaluation.memorization import CopyDetector
from runtime.config import Settings
from runtime.errors import InputError


class CurationSettings(Settings):
    """Which filters run.

    Attributes:
        enabled: False accepts everything, with an empty funnel.
        duplicates: Reject all but the first of synthetic cells with the same pixels.
        copies: Reject near-copies of training cells, where a calibrated detector is handed in.
        min_probability: Least probability of the intended class by the curation's classifier;
            0 turns the filter off. It drops plain mistakes, not the merely difficult cells.
    """

    enabled: bool = True
    duplicates: bool = True
    copies: bool = True
    min_probability: float = Field(default=0.2, ge=0, le=1)


Filter = Callable[[CellSet], NDArray[np.bool_]]


def curate(
    synthetic: CellSet,
    classifier: Classifier,
    settings: CurationSettings,
    detector: CopyDetector | None = None,
) -> tuple[CellSet, list[dict[str, Any]]]:
    """Pass synthetic cells through the filters, in order, and count what each rejects.

    Args:
        synthetic: Cells with their intended class as label.
        classifier: Trained on real training cells for curation alone.
        settings: Which filters.
        detector: For the filter of copies; without it that filter does not run.

    Returns:
        The accepted cells, in their order; and one stage a filter as JSON values: ``filter``,
        ``in`` and ``out`` (class -> count), ``rejected`` (total), and ``emptied``, the classes of
        which this filter left nothing.

    Raises:
        InputError: If the classes differ from the classifier's.
    """
    if not settings.enabled:
        return synthetic, []
    if settings.min_probability > 0 and tuple(classifier.classes) != synthetic.classes:
        raise InputError(
            f"the curation's classifier knows {list(classifier.classes)}, the synthetic set has "
            f"{list(synthetic.classes)}; train it on the same classes."
        )
    accepted, funnel = synthetic, []
    for name, keep in _filters(classifier, settings, detector).items():
        passed = accepted.subset(keep(accepted)) if len(accepted) else accepted
        funnel.append(_stage(name, accepted, passed))
        accepted = passed
    return accepted, funnel


def _filters(
    classifier: Classifier, settings: CurationSettings, detector: CopyDetector | None
) -> dict[str, Filter]:
    filters: dict[str, Filter] = {}
    if settings.duplicates:
        filters["duplicates"] = first_of_each
    if settings.copies and detector is not None:
        filters["near-copies"] = lambda cells: ~detector.flags(cells)
    if settings.min_probability > 0:
        filters["label agreement"] = lambda cells: (
            intended_probability(classifier, cells) >= settings.min_probability
        )
    return filters


def first_of_each(cells: CellSet) -> NDArray[np.bool_]:
    """True for the first of all cells with the same pixels, shape (n,)."""
    _, first = np.unique(cells.digests.astype(str), return_index=True)
    keep = np.zeros(len(cells), dtype=bool)
    keep[first] = True
    return keep


def intended_probability(classifier: Classifier, cells: CellSet) -> NDArray[np.float64]:
    """The classifier's probability of each cell's own label, shape (n,), in [0, 1]."""
    probabilities = np.asarray(classifier.probabilities(cells), dtype=np.float64)
    return np.asarray(probabilities[np.arange(len(cells)), cells.labels])


def _stage(name: str, before: CellSet, after: CellSet) -> dict[str, Any]:
    return {
        "filter": name,
        "in": before.counts,
        "out": after.counts,
        "rejected": len(before) - len(after),
        "emptied": [c for c, n in before.counts.items() if n and not after.counts[c]],
    }
