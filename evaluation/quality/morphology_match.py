"""Do synthetic cells look like real ones of their class in numbers that a hematologist reads?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from cells.cellset import UNPROCESSED, XRAY, CellSet
from cells.morphology import COLUMNS, Morphology, measure, read_morphology
from cells.nuclear import OtsuMasks
from cells.writing import MORPHOLOGY, file_names_of
from evaluation.quality.halves import summary
from runtime.config import to_dict
from runtime.seeds import numpy_generator, seed_of

MEASURES = {
    "nucleus_area": "nucleus_area_px",
    "nucleus_to_cytoplasm": "nucleus_to_cytoplasm",
    "lobes": "lobes",
    "granularity": "granularity",
    "nucleus_hue": "nucleus_hue",
}
CIRCULAR = ("nucleus_hue",)
LEAST = 20  # cells of a class on either side, as for the KID
MOST = 100  # cells of a class and side that are measured: some milliseconds each
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

Values = NDArray[np.float64]
Known = Mapping[str, Values]  # digest of the pixels -> COLUMNS


def morphology_match(
    reference: CellSet,
    synthetic: CellSet,
    *,
    floor_repeats: int = 10,
    seed: int = 0,
    known: Known | None = None,
) -> dict[str, Any]:
    """Distances between the distributions of each measure, per class.

    Args:
        reference: Real cells.
        synthetic: Cells of the same classes and image size.
        floor_repeats: Random halvings of the reference.
        seed: Of all draws.
        known: Numbers of some cells, see `known_numbers`. Of a side with other cells, at most `MOST`
            of each class are measured here.

    Returns:
        JSON values: ``per_class`` as class -> measure -> entry; ``classes``; ``measured_at_most``;
        ``not_found``, per side the share of the measured cells without a nucleus. An entry is
        ``{"value", "distance", "n_reference", "n_synthetic", "matched", "floor", "reference",
        "synthetic"}``: ``distance`` in the measure's own unit, ``value`` in standard deviations of the
        reference; ``matched`` and ``floor`` as `evaluation.quality.fidelity` has them, halves at one n;
        ``reference`` and ``synthetic`` the quantiles `QUANTILES` (of a hue: of its deviation from the
        reference's mean, in degrees, with that ``mean`` beside). Or ``{"reason": …}`` where either
        side has fewer than 20 values or the reference does not vary. X-rays: ``{"reason": …}`` alone.
    """
    if XRAY in (reference.modality, synthetic.modality):
        return {"reason": "not computable: X-rays show no single cell"}
    sides = {
        name: _side(cells, known or {}, seed_of(seed, "morphology", name))
        for name, cells in (("reference", reference), ("synthetic", synthetic))
    }
    per_class = {
        name: {
            measure: _entry(
                _values(sides["reference"], label, column),
                _values(sides["synthetic"], label, column),
                measure,
                floor_repeats,
                seed,
            )
            for measure, column in MEASURES.items()
        }
        for label, name in enumerate(reference.classes)
    }
    return {
        "per_class": per_class,
        "classes": list(reference.classes),
        "measured_at_most": MOST,
        "not_found": {name: _missing(found) for name, (found, _) in sides.items()},
    }


def distance(one: Values, other: Values) -> float:
    """Wasserstein-1 distance of two samples on a line, in their unit."""
    return float(wasserstein_distance(one, other))


def circular_distance(one: Values, other: Values, period: float = 360.0) -> float:
    """Wasserstein-1 distance of two samples on a circle, in their unit.

    The cumulative distributions may be shifted by any constant, as a circle has no first point; the
    best constant is their difference's median by arc length.

    Args:
        one: Shape (n,).
        other: Shape (m,).
        period: Of the circle.

    Source:
        Rabin, Delon and Gousseau 2011, "Transportation distances on the circle", equation 8.
    """
    one, other = np.sort(one % period), np.sort(other % period)
    points = np.concatenate([one, other])
    order = np.sort(points)
    arcs = np.diff(np.append(order, order[0] + period))  # the last one goes over the top
    above = np.searchsorted(one, order, side="right") / len(one)
    gap = above - np.searchsorted(other, order, side="right") / len(other)
    ranked = np.argsort(gap, kind="stable")
    middle = ranked[int(np.searchsorted(np.cumsum(arcs[ranked]), period / 2))]
    return float((np.abs(gap - gap[middle]) * arcs).sum())


def deviations(values: Values, mean: float, period: float = 360.0) -> Values:
    """Signed ways around the circle from a mean, in [-period / 2, period / 2)."""
    return np.asarray((values - mean + period / 2) % period - period / 2)


def circular_mean(values: Values, period: float = 360.0) -> float:
    """Direction of the mean vector, in [0, period)."""
    angle = np.angle(np.mean(np.exp(2j * np.pi * values / period)))
    return float(angle / (2 * np.pi) * period % period)


def known_numbers(folder: Path, cells: CellSet) -> dict[str, Values]:
    """What a written set already says of its cells, by their pixels' digest.

    The ``morphology.csv`` beside them is used where it was measured on these very pixels, by the
    masks that are used here; a preprocessed cell was measured before its preprocessing.

    Args:
        folder: Of the set, as `scripts/prepare.py … morphology=true` writes it.
        cells: What was read from it, in its order.
    """
    config = folder.parent / "config.yaml"
    if not (folder / MORPHOLOGY).is_file() or not config.is_file():
        return {}
    said = yaml.safe_load(config.read_text(encoding="utf-8"))
    if not isinstance(said, dict) or said.get("masks") != to_dict(OtsuMasks()):
        return {}
    names, found = read_morphology(folder)
    if names != file_names_of(cells) or found.names != COLUMNS:
        return {}
    rows = zip(cells.digests, found.values, cells.provenance, strict=True)
    return {digest: values for digest, values, about in rows if UNPROCESSED not in about}


def _side(cells: CellSet, known: Known, seed: int) -> tuple[Morphology, NDArray[np.int64]]:
    """Numbers of one side and the class of each row."""
    if all(digest in known for digest in cells.digests):
        values = np.array([known[digest] for digest in cells.digests])
        return Morphology(COLUMNS, values.reshape(len(cells), len(COLUMNS))), cells.labels
    random = numpy_generator(seed)
    drawn = [random.permutation(np.flatnonzero(cells.labels == c))[:MOST] for c in range(len(cells.classes))]
    few = cells.subset(np.sort(np.concatenate(drawn)))
    return measure(few), few.labels


def _values(side: tuple[Morphology, NDArray[np.int64]], label: int, column: str) -> Values:
    """What is a number, of one class."""
    values = side[0][column][side[1] == label]
    return values[~np.isnan(values)]


def _missing(found: Morphology) -> float | None:
    return found.not_found / len(found) if len(found) else None


def _entry(real: Values, made: Values, name: str, repeats: int, seed: int) -> dict[str, Any]:
    """One measure of one class."""
    n = min(len(real), len(made))
    if n < LEAST:
        return {"reason": f"not computable, n = {n}"}
    way = circular_distance if name in CIRCULAR else distance
    mean = circular_mean(real) if name in CIRCULAR else 0.0
    flat, other = (deviations(side, mean) if name in CIRCULAR else side for side in (real, made))
    spread = float(np.sqrt(np.mean((flat - flat.mean()) ** 2)))
    if spread == 0:
        return {"reason": f"not computable: all {len(real)} real cells have {flat[0] + mean:.4g}"}
    matched, floor = [], []
    for repeat in range(repeats):
        random = numpy_generator(seed, "morphology halves", name, repeat)
        order, half = random.permutation(real), min(len(real) // 2, len(made))
        matched.append(way(order[:half], random.permutation(made)[:half]) / spread)
        floor.append(way(order[:half], order[half : 2 * half]) / spread)
    moved = way(real, made)
    return {
        "value": moved / spread,
        "distance": moved,
        "n_reference": len(real),
        "n_synthetic": len(made),
        "matched": summary(matched, half),
        "floor": summary(floor, half),
        "reference": np.quantile(flat, QUANTILES).tolist(),
        "synthetic": np.quantile(other, QUANTILES).tolist(),
        **({"mean": mean} if name in CIRCULAR else {}),
    }
