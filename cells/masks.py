"""Masks of the cell in the middle of an image: its nucleus and its cytoplasm.

Both methods say of each pixel whether it is nuclear stain and whether it is stained at all; what
follows is shared: the cell is told from the red cells and neighbors that touch it by a watershed,
and the nucleus is the nuclear stain inside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from skimage.color import rgb2hsv
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label as components
from skimage.segmentation import watershed

from runtime.config import Settings
from runtime.errors import InputError

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

LIGHT = 95  # percentile of each color channel that is taken for the empty background
# Weights of optical density in red, green and blue: high for the purple of chromatin, low for the
# pink and brown of hemoglobin and eosinophil granules, which absorb blue, and for blue cytoplasm.
NUCLEAR = np.array([1.0, 1.0, -1.0], np.float32)
SMOOTHING = 1 / 100  # standard deviation in image widths
SMALLEST = 0.002  # share of the image that a part of a nucleus takes at least
REACH = 0.25  # how far from the middle the central nucleus may begin, in image widths
MARGIN = 0.08  # what a box adds on each side, in edges of the tight box


class OtsuMasks(Settings):
    """Otsu's threshold on a stain channel of the optical density, image by image."""

    kind: Literal["otsu"] = "otsu"


class HsvMasks(Settings):
    """Fixed thresholds on hue, saturation and value, after the background is made white.

    Attributes:
        hue: From and to, in degrees; nuclear stain lies between.
        saturation: Nuclear stain has at least this much.
        value: Nuclear stain has at most this much.
        cell_saturation: What is stained at all has at least this much,
        cell_value: or at most this value.
    """

    kind: Literal["hsv"] = "hsv"
    hue: tuple[float, float] = (220, 320)
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.4
    value: Annotated[float, Field(ge=0, le=1)] = 0.75
    cell_saturation: Annotated[float, Field(ge=0, le=1)] = 0.1
    cell_value: Annotated[float, Field(ge=0, le=1)] = 0.9


MaskSettings = Annotated[OtsuMasks | HsvMasks, Field(discriminator="kind")]
METHODS: dict[str, type[OtsuMasks] | type[HsvMasks]] = {"otsu": OtsuMasks, "hsv": HsvMasks}


@dataclass(frozen=True)
class Masks:
    """Nucleus and cytoplasm of n cells, each of shape (n, h, w); empty where nothing was found."""

    nucleus: Mask
    cytoplasm: Mask

    @property
    def cell(self) -> Mask:
        """Nucleus and cytoplasm together, shape (n, h, w)."""
        return self.nucleus | self.cytoplasm


def nucleus_and_cytoplasm(pixels: NDArray[np.uint8], settings: OtsuMasks | HsvMasks | None = None) -> Masks:
    """Find the central cell of each image.

    Args:
        pixels: RGB, uint8, shape (n, h, w, 3), or one image (h, w, 3).
        settings: The method and its thresholds; None for Otsu's.

    Returns:
        Masks of shape (n, h, w), or (h, w) for one image.
    """
    if pixels.ndim == 3:
        nucleus, cell = _central_cell(pixels, settings or OtsuMasks())
        return Masks(nucleus, cell & ~nucleus)
    found = np.zeros((2, *pixels.shape[:3]), bool)
    for i, image in enumerate(pixels):
        found[:, i] = _central_cell(image, settings or OtsuMasks())
    return Masks(found[0], found[1] & ~found[0])


def _central_cell(image: NDArray[np.uint8], settings: OtsuMasks | HsvMasks) -> tuple[Mask, Mask]:
    """Nucleus and cell of one image, each (h, w)."""
    nuclear, stained = _by_otsu(image) if isinstance(settings, OtsuMasks) else _by_hsv(image, settings)
    seed = _central_part(nuclear)
    if not seed.any():
        return seed, seed
    cell = _separated(ndimage.binary_fill_holes(stained | nuclear), seed)
    return nuclear & cell, cell


def _white_balanced(image: NDArray[np.uint8]) -> Floats:
    """Transmittance in (0, 1], smoothed: the image over its empty background."""
    light = np.percentile(image.reshape(-1, 3), LIGHT, axis=0).astype(np.float32)
    share = np.minimum((image + np.float32(1)) / (light + np.float32(1)), 1)
    return np.asarray(gaussian(share, SMOOTHING * len(image), channel_axis=2), np.float32)


def _by_otsu(image: NDArray[np.uint8]) -> tuple[Mask, Mask]:
    """Nuclear stain, and any stain, each (h, w)."""
    density = -np.log10(_white_balanced(image))  # Beer-Lambert: proportional to the amount of stain
    nuclear, stain = density @ NUCLEAR, density.sum(axis=2)
    if nuclear.min() == nuclear.max():
        return np.zeros(nuclear.shape, bool), np.zeros(nuclear.shape, bool)
    dark = nuclear > threshold_otsu(nuclear)
    rest = stain[~dark]
    pale = 0.8 * threshold_otsu(np.minimum(rest, np.quantile(rest, 0.9)))
    return dark, stain > pale


def _by_hsv(image: NDArray[np.uint8], settings: HsvMasks) -> tuple[Mask, Mask]:
    hue, saturation, value = np.moveaxis(rgb2hsv(_white_balanced(image)), 2, 0)
    low, high = settings.hue
    within = (hue * 360 - low) % 360 <= (high - low) % 360
    dark = within & (saturation >= settings.saturation) & (value <= settings.value)
    return dark, (saturation >= settings.cell_saturation) | (value <= settings.cell_value)


def _central_part(nuclear: Mask) -> Mask:
    """The part of the nuclear stain that is nearest to the middle, (h, w); empty if none is near."""
    size = len(nuclear)
    parts = components(nuclear, connectivity=1)
    areas = np.bincount(parts.ravel())
    if len(areas) == 1:
        return np.zeros(nuclear.shape, bool)
    away = np.hypot(*(np.indices(nuclear.shape) - (size - 1) / 2))
    nearest = ndimage.minimum(away, parts, np.arange(1, len(areas)))
    nearest = np.where(areas[1:] < SMALLEST * nuclear.size, np.inf, nearest)
    return parts == (nearest.argmin() + 1 if nearest.min() <= REACH * size else -1)


def _separated(stained: Mask, seed: Mask) -> Mask:
    """The stained region around the seed, cut from what touches it, (h, w).

    Watershed of the distance to the edge. A peak whose inscribed circle meets the seed is of the
    same cell; another peak is the middle of a neighbor.
    """
    size = len(stained)
    depth = ndimage.distance_transform_edt(np.pad(stained, 1, mode="edge"))[1:-1, 1:-1]
    depth = gaussian(depth, size / 100)
    away = ndimage.distance_transform_edt(~seed)
    peaks = peak_local_max(depth, min_distance=max(1, size // 20), exclude_border=False, labels=stained * 1)
    markers = np.zeros(stained.shape, np.int32)
    for number, place in enumerate(map(tuple, peaks)):
        markers[place] = 1 if away[place] < depth[place] else number + 2
    markers[seed] = 1
    return np.asarray(watershed(-depth, markers, mask=stained) == 1)


def cell_boxes(pixels: NDArray[np.uint8], method: Literal["otsu", "hsv"] = "otsu") -> NDArray[np.int64]:
    """A square box around the central cell of each image, with a margin.

    Args:
        pixels: RGB, uint8, shape (n, h, w, 3).
        method: How the cell is found.

    Returns:
        Rows of top, left, bottom, right (the last two excluded), int64, shape (n, 4), within the
        image; the largest square around a cell that the image allows, and all of the image where
        no cell was found.

    Raises:
        InputError: If there is no such method.
    """
    if method not in METHODS:
        raise InputError(f"masks by '{method}' are not known; choose one of {', '.join(METHODS)}.")
    cells = nucleus_and_cytoplasm(pixels, METHODS[method]()).cell
    return np.array([_box(cell) for cell in cells], np.int64).reshape(len(cells), 4)


def _box(cell: Mask) -> tuple[int, int, int, int]:
    height, width = cell.shape
    if not cell.any():
        return 0, 0, height, width
    rows, columns = np.flatnonzero(cell.any(axis=1)), np.flatnonzero(cell.any(axis=0))
    edge = max(np.ptp(rows), np.ptp(columns)) + 1
    edge = min(int(np.ceil(edge * (1 + 2 * MARGIN))), height, width)
    top, left = (
        int(np.clip((found[0] + found[-1] + 1 - edge) // 2, 0, most - edge))
        for found, most in ((rows, height), (columns, width))
    )
    return top, left, top + edge, left + edge
