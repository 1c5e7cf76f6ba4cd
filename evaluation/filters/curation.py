"""The funnel: named filters that synthetic cells pass before they train anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cells.cellset import CellSet
from classifiers.training import Classifier
from evaluation.copies.detector import CopyDetector
from evaluation.filters.calibration import Calibration
from evaluation.filters.diversity import covering, within
from evaluation.filters.realism import Realism
from evaluation.filters.repeats import Repeats
from runtime.config import Settings
from runtime.errors import InputError


class CurationSettings(Settings):
    """Which filters run, in this order.

    Attributes:
        enabled: False accepts everything, with an empty funnel, and the first cells fill the quota.
        duplicates: Reject all but the first of synthetic cells with the same pixels.
        copies: Reject near-copies of training cells, where a calibrated detector is handed in.
        min_probability: Least probability of the intended class by the curation's classifier;
            0 turns the filter off. It drops plain mistakes, not the merely difficult cells.
        label_share: In place of `min_probability`: the threshold below which this share of held-out
            real cells falls; 0 for `min_probability`.
        realism: Share of held-out real cells that lie below the least realism score; 0 turns the
            filter off.
        near_duplicates: Share of real cells that have another real cell of the class nearer than two
            synthetic cells may be; 0 turns the filter off.
        diversity: Fill the quota with the cells that cover the accepted ones (greedy k-centre),
            not with the first.
    """

    enabled: bool = True
    duplicates: bool = True
    copies: bool = True
    min_probability: float = Field(default=0.2, ge=0, le=1)
    label_share: float = Field(default=0.0, ge=0, lt=0.5)
    realism: float = Field(default=0.0, ge=0, lt=0.5)
    near_duplicates: float = Field(default=0.0, ge=0, lt=0.5)
    diversity: bool = False


class RealCells(NamedTuple):
    """What thresholds are calibrated on: training cells, and cells that no network has seen."""

    train: CellSet
    heldout: CellSet


class Filter(NamedTuple):
    """One filter: `keep` gives True for each cell that passes; `rule` says in words what is rejected."""

    name: str
    keep: Callable[[CellSet], NDArray[np.bool_]]
    rule: str
    threshold: float | None = None


def curate(
    synthetic: CellSet,
    classifier: Classifier,
    settings: CurationSettings,
    detector: CopyDetector | None = None,
    real: RealCells | None = None,
) -> tuple[CellSet, list[dict[str, Any]]]:
    """Pass synthetic cells through the filters, in order, and count what each rejects.

    Args:
        synthetic: Cells with their intended class as label.
        classifier: Trained on real training cells for curation alone.
        settings: Which filters.
        detector: For the filter of copies; without it that filter does not run.
        real: For thresholds that are calibrated, and for the share of real cells that each filter
            would reject.

    Returns:
        The accepted cells, in their order; and one stage a filter as JSON values: ``filter``,
        ``in`` and ``out`` (class -> count), ``rejected`` (total), ``emptied``, the classes of
        which this filter left nothing, ``rule`` in words, ``threshold`` (None where there is no
        number), and ``real_rejected`` with ``real_n``: the share of held-out real cells of the same
        classes that the filter would reject (None without them).

    Raises:
        InputError: If the classes differ from the classifier's, or a filter lacks its real cells.
    """
    if not settings.enabled:
        return synthetic, []
    _check(synthetic, classifier, settings, real)
    accepted, funnel = synthetic, []
    for each in filters(classifier, settings, detector, real):
        passed = accepted.subset(each.keep(accepted)) if len(accepted) else accepted
        funnel.append(_stage(each, accepted, passed) | false_alarms(each, synthetic, real))
        accepted = passed
    return accepted, funnel


def to_quota(
    accepted: CellSet, quotas: Mapping[str, int], classifier: Classifier | None, settings: CurationSettings
) -> tuple[CellSet, dict[str, Any]]:
    """Fill each class's quota from what passed the filters.

    Args:
        accepted: Cells that passed.
        quotas: Class -> count.
        classifier: The curation's; None for cells that are not curated.
        settings: Whether the first cells are taken, or those that cover the rest.

    Returns:
        The chosen cells, in their order, and the last stage of the funnel, ``quota``.
    """
    by_cover = classifier is not None and settings.enabled and settings.diversity
    chosen = covering(accepted, quotas, classifier) if by_cover and classifier else within(accepted, quotas)
    rule = (
        "the cells that cover the accepted ones, by greedy k-centre on the curation's features"
        if by_cover
        else "the first cells of each class"
    )
    return chosen, {"filter": "quota", "in": accepted.counts, "out": chosen.counts, "rule": rule}


def filters(
    classifier: Classifier,
    settings: CurationSettings,
    detector: CopyDetector | None,
    real: RealCells | None,
) -> list[Filter]:
    """The filters that the settings switch on, calibrated, in their order."""
    found: list[Filter] = []
    if settings.duplicates:
        found.append(Filter("duplicates", first_of_each, "the same pixels as an earlier cell"))
    if settings.copies and detector is not None:
        rule = "nearer to a training cell than its class's calibrated threshold"
        found.append(Filter("near-copies", lambda cells: ~detector.flags(cells), rule))
    if settings.min_probability > 0 or settings.label_share > 0:
        found.append(_label_filter(classifier, settings, real))
    if settings.realism > 0 and real is not None:
        found.append(_realism_filter(classifier, settings.realism, real))
    if settings.near_duplicates > 0 and real is not None:
        found.append(_repeat_filter(settings.near_duplicates, real))
    return found


def passing(asked: Sequence[Filter], cells: CellSet) -> CellSet:
    """The cells that all filters let through, each seeing what the one before it left."""
    for each in asked:
        cells = cells.subset(each.keep(cells)) if len(cells) else cells
    return cells


def _label_filter(classifier: Classifier, settings: CurationSettings, real: RealCells | None) -> Filter:
    least, source = settings.min_probability, "min_probability"
    if settings.label_share > 0 and real is not None:
        known = intended_probability(classifier, real.heldout)
        least = float(np.quantile(known, settings.label_share, method="lower"))
        source = f"{settings.label_share:g} of {len(known)} held-out real cells lie lower"
    rule = f"intended class given a probability below {least:.3g} ({source})"
    return Filter(
        "label agreement", lambda cells: intended_probability(classifier, cells) >= least, rule, least
    )


def _realism_filter(classifier: Classifier, share: float, real: RealCells) -> Filter:
    judge = Realism(classifier, real.train, real.heldout, share)
    what = "realism score below {} of the class's median held-out real cell"
    return Filter("realism", judge.keeps, *_said(what, judge.calibration, share, "held-out real cells"))


def _repeat_filter(share: float, real: RealCells) -> Filter:
    repeats = Repeats(real.train, share)
    what = "distance to an earlier cell below {} of the class's median real nearest neighbor"
    return Filter(
        "near-duplicates", repeats.keeps, *_said(what, repeats.calibration, share, "training cells")
    )


def _said(what: str, found: Calibration | None, share: float, of: str) -> tuple[str, float | None]:
    """Rule in words, and the threshold."""
    if found is None:
        return "nothing: no real cell to calibrate on", None
    rule = f"{what.format(f'{found.threshold:.3g}')} ({share:g} of {found.n} {of} lie lower)"
    return rule, found.threshold


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


def false_alarms(each: Filter, synthetic: CellSet, real: RealCells | None) -> dict[str, Any]:
    """How many held-out real cells of the classes that are synthesized a filter would reject."""
    if real is None:
        return {"real_rejected": None, "real_n": 0}
    cells = real.heldout.subset(np.isin(real.heldout.labels, np.unique(synthetic.labels)))
    if not len(cells):
        return {"real_rejected": None, "real_n": 0}
    return {"real_rejected": float(1 - each.keep(cells).mean()), "real_n": len(cells)}


def _stage(each: Filter, before: CellSet, after: CellSet) -> dict[str, Any]:
    return {
        "filter": each.name,
        "in": before.counts,
        "out": after.counts,
        "rejected": len(before) - len(after),
        "emptied": [c for c, n in before.counts.items() if n and not after.counts[c]],
        "rule": each.rule,
        "threshold": each.threshold,
    }


def _check(
    synthetic: CellSet, classifier: Classifier, settings: CurationSettings, real: RealCells | None
) -> None:
    asked = [settings.min_probability, settings.label_share, settings.realism]
    if max(asked) > 0 and tuple(classifier.classes) != synthetic.classes:
        raise InputError(
            f"the curation's classifier knows {list(classifier.classes)}, the synthetic set has "
            f"{list(synthetic.classes)}; train it on the same classes."
        )
    calibrated = {
        "label_share": settings.label_share,
        "realism": settings.realism,
        "near_duplicates": settings.near_duplicates,
    }
    for name, share in calibrated.items():
        if share > 0 and real is None:
            raise InputError(f"curation.{name} needs real cells to calibrate on: give real=, or set it to 0.")
