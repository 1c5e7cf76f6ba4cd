"""What each filter of the curation is worth: what it rejects, and how good what passes is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from classifiers.training import Classifier
from evaluation.copies.detector import CopyDetector
from evaluation.features.encoders import Encoder
from evaluation.filters.curation import CurationSettings, RealCells, filters, passing, to_quota
from evaluation.filters.diversity import within
from evaluation.quality.metrics import NEIGHBOURS, coverage, kid
from runtime.errors import InputError
from runtime.seeds import numpy_generator, seed_of

POOL = 2000  # drawn cells that are looked at, over all classes
REPEATS = 10  # random draws behind each figure
KID_LEAST, COVERAGE_LEAST = 20, 50  # cells a side, as everywhere
REALISM, NEAR = 0.05, 0.01  # for filters that the study has off
OFF = CurationSettings(duplicates=False, copies=False, min_probability=0.0)

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Bench:
    """What an ablation needs.

    Attributes:
        drawn: Cells of one generator, before any curation.
        quotas: Cells that the study wants of each class.
        real: What filters are calibrated on.
        reference: Real cells that no network, generator or filter has seen.
        curator: The filters' network.
        judge: Another network, for the label agreement of what passes.
        encoder: For KID and coverage.
        detector: Of near-copies; None leaves that filter out.
        settings: The study's curation.
    """

    drawn: CellSet
    quotas: Mapping[str, int]
    real: RealCells
    reference: CellSet
    curator: Classifier
    judge: Classifier
    encoder: Encoder
    detector: CopyDetector | None
    settings: CurationSettings


def variants(settings: CurationSettings) -> dict[str, CurationSettings]:
    """No filter, each alone, the study's, and all together; a filter that is off gets a usual value."""
    label = {"min_probability": settings.min_probability, "label_share": settings.label_share}
    if max(label.values()) == 0:
        label = {"min_probability": 0.2}
    alone: dict[str, dict[str, Any]] = {
        "duplicates": {"duplicates": True},
        "near-copies": {"copies": True},
        "label agreement": label,
        "realism": {"realism": settings.realism or REALISM},
        "near-duplicates": {"near_duplicates": settings.near_duplicates or NEAR},
        "diversity": {"diversity": True},
    }
    together = {key: value for each in alone.values() for key, value in each.items()}
    return {
        "none": OFF,
        **{f"{name} alone": OFF.model_copy(update=update) for name, update in alone.items()},
        "as in this study": settings,
        "all together": OFF.model_copy(update=together),
    }


def ablate(bench: Bench, seed: int) -> dict[str, Any]:
    """Score what passes under each variant of the curation, all at the same n and class mix.

    Args:
        bench: Cells, networks and settings.
        seed: Of the draws.

    Returns:
        JSON values: ``n`` (cells a side behind each figure), ``classes``, ``drawn`` (class -> cells
        looked at), ``encoder``, ``repeats``, and ``rows``, each with ``filters``, ``passed``,
        ``rejected`` (share of the drawn), ``real_rejected`` with ``real_n`` (share of unseen real
        cells that the same filters reject), ``agreement`` (by the judge, of all that is used), and
        ``kid`` and ``coverage`` as ``{"value", "low", "high"}``, mean and range over the draws. Where
        fewer pass than half of the quota, or n is too small, a ``{"reason": …}`` stands instead.

    Raises:
        InputError: If no class has both drawn and real cells.
    """
    drawn, quotas = _fewer(bench)
    labels = [drawn.index_of(c) for c in quotas if drawn.counts[c] and bench.reference.counts[c]]
    if not labels:
        raise InputError("curation's ablation: no class has both drawn cells and real ones to compare with.")
    classes = [drawn.classes[label] for label in labels]
    reference = bench.reference.subset(np.isin(bench.reference.labels, labels))
    found = {
        name: _outcome(bench, each, drawn, quotas, reference)
        for name, each in variants(bench.settings).items()
    }
    # A variant that leaves less than half of the quota gets no figures: it would shrink n for all.
    full = [o.chosen for o in found.values() if all(2 * o.chosen.counts[c] >= quotas[c] for c in classes)]
    each = min((side.counts[c] for side in [*full, reference] for c in classes), default=0) if full else 0
    features = bench.encoder.encode(reference)
    rows = []
    for name, outcome in found.items():
        if any(outcome.chosen is one for one in full):
            made = _Side(bench.encoder.encode(outcome.chosen), outcome.chosen.labels)
            figures = _figures(_Side(features, reference.labels), made, labels, each, seed)
        else:
            few = {"reason": f"not computable: {outcome.passed} pass"}
            figures = {"kid": few, "coverage": few}
        rows.append(
            {
                "filters": name,
                "passed": outcome.passed,
                "rejected": 1 - outcome.passed / len(drawn),
                "real_rejected": outcome.real_rejected,
                "real_n": len(reference),
                "agreement": _agreement(bench.judge, outcome.chosen),
                **figures,
            }
        )
    return {
        "n": each * len(labels),
        "classes": classes,
        "drawn": {c: drawn.counts[c] for c in classes},
        "encoder": bench.encoder.name,
        "repeats": REPEATS,
        "rows": rows,
    }


class _Side(NamedTuple):
    """Features of one side, (n, d), and the class of each row."""

    features: NDArray[np.float32]
    labels: Rows


class _Outcome(NamedTuple):
    """What one variant does: how many pass, which are used, and the share of real cells it rejects."""

    passed: int
    chosen: CellSet
    real_rejected: float


def _outcome(
    bench: Bench,
    settings: CurationSettings,
    drawn: CellSet,
    quotas: Mapping[str, int],
    reference: CellSet,
) -> _Outcome:
    """A choice by diversity brings what passes down to the quota; without it all that passes is used."""
    asked = filters(bench.curator, settings, bench.detector, bench.real) if settings.enabled else []
    kept = passing(asked, drawn)
    by_cover = settings.enabled and settings.diversity
    chosen = to_quota(kept, quotas, bench.curator, settings)[0] if by_cover else kept
    return _Outcome(len(kept), chosen, 1 - len(passing(asked, reference)) / len(reference))


def _fewer(bench: Bench) -> tuple[CellSet, dict[str, int]]:
    """The first drawn cells of each class, and the quotas brought down in proportion."""
    share = min(1.0, POOL / max(len(bench.drawn), 1))
    limits = {c: max(1, int(n * share)) for c, n in bench.drawn.counts.items() if n and c in bench.quotas}
    quotas = {c: max(1, int(bench.quotas[c] * share)) for c in limits}
    return within(bench.drawn, limits), quotas


def _agreement(judge: Classifier, cells: CellSet) -> float | None:
    return float((judge.predict(cells) == cells.labels).mean()) if len(cells) else None


def _figures(real: _Side, made: _Side, classes: list[int], each: int, seed: int) -> dict[str, Any]:
    """KID and coverage over random draws of equally many cells of each class from both sides."""
    n = each * len(classes)
    none = {"reason": f"not computable, n = {n}"}
    scores: dict[str, list[float]] = {"kid": [], "coverage": []}
    for repeat in range(REPEATS):
        one, other = (
            side.features[_draw(side.labels, classes, each, seed_of(seed, "ablation", repeat, which))]
            for which, side in (("real", real), ("made", made))
        )
        if n >= KID_LEAST:
            scores["kid"].append(kid(one, other, seed))
        if n >= max(COVERAGE_LEAST, NEIGHBOURS + 1):
            scores["coverage"].append(coverage(one, other))
    return {name: _summed_up(values) if values else none for name, values in scores.items()}


def _draw(labels: Rows, classes: list[int], each: int, seed: int) -> Rows:
    random = numpy_generator(seed)
    return np.concatenate([random.permutation(np.flatnonzero(labels == c))[:each] for c in classes])


def _summed_up(values: list[float]) -> dict[str, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return {"value": float(np.mean(values)), "low": float(low), "high": float(high)}
