"""What a cell looks like in numbers: areas, nucleus-to-cytoplasm ratio, lobes, granularity, color."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial import ConvexHull
from skimage.measure import perimeter

from cells.cellset import CellSet
from cells.chunked import by_chunk, processes_for
from cells.masks import HsvMasks, OtsuMasks, central_cell, transmittance
from cells.necks import parts_of
from cells.regions import frame
from cells.writing import MORPHOLOGY
from runtime.errors import InputError
from runtime.parallel import workers

COLUMNS = (
    "cell_area_px",
    "nucleus_area_px",
    "cytoplasm_area_px",
    "cell_share",
    "nucleus_share",
    "cytoplasm_share",
    "nucleus_to_cytoplasm",
    "nucleus_to_cell",
    "nucleus_perimeter_px",
    "nucleus_solidity",
    "nucleus_eccentricity",
    "lobes",
    "granularity",
    "nucleus_hue",
    "nucleus_saturation",
    "cytoplasm_hue",
    "cytoplasm_saturation",
)
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

LOBE_NECK = 0.75  # of the radius of the narrower lobe: a wider neck joins one lobe, not two
LOBE_RADIUS = 0.3  # of that of the largest lobe: what is smaller is no lobe
FINE, COARSE = 0.012, 0.035  # standard deviations between which granules lie, in image widths


@dataclass(frozen=True)
class Morphology:
    """Numbers of n cells.

    Attributes:
        names: `COLUMNS`; units are pixels (_px), shares of the image (_share), degrees (hues).
        values: float64, shape (n, columns); NaN where a mask is empty and the number has no meaning.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """One column, shape (n,)."""
        return np.asarray(self.values[:, self.names.index(name)])

    @property
    def not_found(self) -> int:
        """Cells of which no nucleus was found."""
        return int((self["nucleus_area_px"] == 0).sum())


def measure(
    cells: CellSet, settings: OtsuMasks | HsvMasks | None = None, processes: int | None = None
) -> Morphology:
    """Measure the central cell of each image.

    Args:
        cells: The cells.
        settings: How masks are found; None for Otsu's method.
        processes: How many work at a time; None for one a core, or one alone for few cells.

    Returns:
        A row a cell, in their order.
    """
    function = partial(_rows, settings=settings or OtsuMasks())
    with workers(processes or processes_for(len(cells))) as each:
        rows = [*by_chunk(function, cells.pixels, each, "measuring cells")]
    return Morphology(COLUMNS, np.concatenate([np.empty((0, len(COLUMNS))), *rows]))


def _rows(pixels: NDArray[np.uint8], settings: OtsuMasks | HsvMasks) -> NDArray[np.float64]:
    return np.array([_row(transmittance(image), settings) for image in pixels])


def _row(through: Floats, settings: OtsuMasks | HsvMasks) -> list[float]:
    """The columns of one cell."""
    nucleus, cell = central_cell(through, settings)
    cytoplasm = cell & ~nucleus
    inside, around = float(nucleus.sum()), float(cytoplasm.sum())
    areas = [inside + around, inside, around]
    shares = [area / nucleus.size for area in areas]
    if not inside + around:
        return [*areas, *shares, *[np.nan] * (len(COLUMNS) - 6)]
    size, green = len(through), -np.log10(through[..., 1])
    kernel = nucleus[frame(nucleus)]  # what has no pixel of the nucleus does not change its numbers
    return [
        *areas,
        *shares,
        inside / around if around else np.nan,
        inside / (inside + around),
        float(perimeter(np.pad(kernel, 1))) if inside else np.nan,
        _solidity(kernel),
        _eccentricity(kernel),
        float(lobe_count(kernel, size)) if inside else np.nan,
        _granularity(green, (nucleus, cytoplasm), _noise(green, size), size),
        *_color(through[nucleus]),
        *_color(through[cytoplasm]),
    ]


def _noise(density: Floats, size: int) -> float:
    """Mean square of the band of granularity in the emptiest fifth of the image."""
    empty = density <= np.quantile(density, 0.2)
    return float(np.square(_band(density, empty, size)).mean())


def lobe_count(nucleus: Mask, size: int | None = None) -> int:
    """How many lobes a nucleus has: round parts joined, if at all, by necks.

    Two parts are one lobe if the neck between them is wider than `LOBE_NECK` of the narrower one.

    Args:
        nucleus: Shape (h, w).
        size: Edge of the image in pixels, if the mask was cut out of it.
    """
    size = size or len(nucleus)
    parts = parts_of(np.pad(nucleus, 2), size / 130, size / 25)
    wide = parts.necks > LOBE_NECK * np.minimum.outer(parts.depths, parts.depths)
    _, lobe = connected_components(wide, directed=False)
    large = parts.depths >= LOBE_RADIUS * parts.depths.max()
    large[0] = False
    return len(set(lobe[large].tolist()))


def _solidity(nucleus: Mask) -> float:
    """Area over the area of the convex hull of the pixels' corners."""
    y = np.flatnonzero(nucleus.any(axis=1))
    if len(y) == 0:
        return float("nan")
    # Only the two ends of a row can be corners of the hull.
    ends = nucleus[y].argmax(axis=1), nucleus.shape[1] - nucleus[y, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([y + down, x], axis=1) for down in (0, 1) for x in ends])
    return float(nucleus.sum() / ConvexHull(corners).volume)  # the "volume" of a plane hull is its area


def _eccentricity(nucleus: Mask) -> float:
    """Of the ellipse with the same second moments: 0 for a circle, toward 1 for a line."""
    points = np.stack(np.nonzero(nucleus))
    if points.shape[1] == 0:
        return float("nan")
    # A pixel is a square, not a point: 1/12 is its own second moment.
    shorter, longer = np.linalg.eigvalsh(np.cov(points, bias=True) + np.eye(2) / 12)
    return float(np.sqrt(max(0.0, 1 - shorter / longer)))


def _granularity(density: Floats, regions: Sequence[Mask], noise: float, size: int) -> float:
    """Variation of the optical density at the size of granules, without that of the noise.

    The root mean square, over nucleus and cytoplasm, of a difference of Gaussians that sees either
    of them alone (normalized convolution, Knutsson and Westin 1993), so that the step between them
    does not count.
    """
    power, pixels = 0.0, 0
    for region in regions:
        if region.any():
            power += float(np.square(_band(density, region, size)).sum())
            pixels += int(region.sum())
    return float(np.sqrt(max(0.0, power / pixels - noise))) if pixels else float("nan")


def _blurred(values: Floats, deviation: float) -> Floats:
    """Gaussian blur to three standard deviations, nothing beyond the edge, (h, w)."""
    kernel = cv2.getGaussianKernel(2 * int(3 * deviation + 0.5) + 1, deviation)
    return np.asarray(cv2.sepFilter2D(values, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_CONSTANT))


def _band(density: Floats, region: Mask, size: int) -> Floats:
    """Difference of Gaussians within a region, at its pixels, shape (k,)."""
    box = frame(region)  # beyond it there is nothing to add
    inside = region[box]
    amount, weight = density[box] * inside, inside.astype(np.float32)
    fine, coarse = (
        _blurred(amount, scale * size)[inside] / _blurred(weight, scale * size)[inside]
        for scale in (FINE, COARSE)
    )
    return np.asarray(fine - coarse)


def _color(rgb: Floats) -> tuple[float, float]:
    """Mean hue in degrees, as a direction weighted by saturation, and mean saturation; (k, 3)."""
    if len(rgb) == 0:
        return float("nan"), float("nan")
    hue, saturation, _ = cv2.cvtColor(rgb[None], cv2.COLOR_RGB2HSV)[0].T  # hue in degrees
    direction = np.mean(saturation * np.exp(1j * np.radians(hue)))
    return float(np.degrees(np.angle(direction)) % 360), float(saturation.mean())


def as_csv(morphology: Morphology, file_names: Sequence[str]) -> str:
    """The text of ``morphology.csv``: `file_name` as in metadata.jsonl, then the columns; NaN is empty.

    Args:
        morphology: Of the cells.
        file_names: Of each, relative to the folder of the set.
    """
    lines = [",".join(("file_name", *morphology.names))]
    for name, row in zip(file_names, morphology.values, strict=True):
        quoted = '"' + name.replace('"', '""') + '"'
        lines.append(",".join([quoted, *("" if np.isnan(value) else f"{value:.6g}" for value in row)]))
    return "\n".join(lines) + "\n"


def read_morphology(folder: Path) -> tuple[list[str], Morphology]:
    """Read the ``morphology.csv`` that `scripts/prepare.py … morphology=true` writes beside each set.

    Args:
        folder: That of the set.

    Returns:
        File names, and the numbers of each.

    Raises:
        InputError: If the file is missing or is not such a table.
    """
    path = folder / MORPHOLOGY
    if not path.is_file():
        raise InputError(f"{path}: no such file; make it with scripts/prepare.py … morphology=true.")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
        values = np.array([[float(value or "nan") for value in row[1:]] for row in rows])
        values = values.reshape(len(rows), len(head) - 1)
    except (ValueError, csv.Error):
        raise InputError(f"{path}: is not a table of numbers; make it again.") from None
    if head[:1] != ["file_name"] or not set(COLUMNS) <= set(head):
        raise InputError(f"{path}: lacks a column of {', '.join(COLUMNS)}; make it again.")
    return [row[0] for row in rows], Morphology(tuple(head[1:]), values)


def summary(found: Mapping[str, Morphology], parts: Mapping[str, CellSet]) -> dict[str, Any]:
    """What an audit says of it, as JSON values: cells without a nucleus, and each class's medians.

    Args:
        found: The numbers of each side.
        parts: The cells of each side.
    """
    values = np.concatenate([found[side].values for side in found])
    labels = np.concatenate([parts[side].labels for side in found])
    medians = {}
    for label, name in enumerate(next(iter(parts.values())).classes):
        rows = values[labels == label]
        medians[name] = [_median(column) for column in rows.T] if len(rows) else [None] * len(COLUMNS)
    return {
        "not_found": sum(numbers.not_found for numbers in found.values()),
        "columns": list(COLUMNS),
        "medians": medians,
    }


def _median(column: NDArray[np.float64]) -> float | None:
    """Of what is a number; None where nothing is."""
    known = column[~np.isnan(column)]
    return float(np.median(known)) if len(known) else None
