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
from skimage.filters import gaussian, threshold_otsu
from skimage.measure import label as components
from skimage.morphology import disk

from cells.necks import parts_of
from runtime.config import Settings
from runtime.errors import InputError

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

LIGHT = 95  # percentile of each color channel that is taken for the empty background
# Weights of optical density in red, green and blue: high for the purple of chromatin, low for the
# pink and brown of hemoglobin and eosinophil granules, which absorb blue, and for blue cytoplasm.
NUCLEAR = np.array([0.3, 1.0, -0.7], np.float32)
SMOOTHING = 1 / 100  # standard deviation in image widths
SMALLEST = 0.002  # share of the image that a part of a nucleus takes at least
REACH = 0.25  # how far from the middle the central nucleus may begin, in image widths
PALE = 0.8  # stained at all: above this share of Otsu's threshold outside the nuclear stain
COARSER = 2.0  # smoothing for the choice of a threshold inside the cell
SEPARABLE = 0.68  # share of the variance that a threshold inside the cell explains at least
NECK = 0.85  # of the radius of the narrower side: a wider neck joins one cell, not two
CUTTING = 64  # edge in pixels at which touching cells are cut apart
TAIL = 0.4  # of the radius of the wider side: a narrower neck never joins
SPECK = 0.06  # of the largest part of a nucleus: smaller parts are granules
HOLE = 0.1  # of the nucleus: smaller holes are filled
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
    hue: tuple[float, float] = (240, 285)
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.38
    value: Annotated[float, Field(ge=0, le=1)] = 0.78
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
        nucleus, cell = central_cell(transmittance(pixels), settings or OtsuMasks())
        return Masks(nucleus, cell & ~nucleus)
    found = np.zeros((2, *pixels.shape[:3]), bool)
    for i, image in enumerate(pixels):
        found[:, i] = central_cell(transmittance(image), settings or OtsuMasks())
    return Masks(found[0], found[1] & ~found[0])


def central_cell(through: Floats, settings: OtsuMasks | HsvMasks) -> tuple[Mask, Mask]:
    """Nucleus and cell (nucleus included) of one image, each (h, w).

    Args:
        through: What `transmittance` gave.
        settings: The method.
    """
    nuclear, stained = _by_otsu(through) if isinstance(settings, OtsuMasks) else _by_hsv(through, settings)
    seed = _central_part(nuclear)
    if not seed.any():
        return seed, seed
    cell = _separated(ndimage.binary_fill_holes(stained | nuclear), seed)
    if isinstance(settings, OtsuMasks):
        nuclear = _otsu_inside(through, nuclear, cell)
    nucleus = _cleaned(nuclear & cell)
    return nucleus, cell | nucleus


def transmittance(image: NDArray[np.uint8]) -> Floats:
    """The light that passes the stains: the image over its empty background, smoothed.

    Args:
        image: RGB, uint8, shape (h, w, 3).

    Returns:
        float32 in (0, 1], shape (h, w, 3).
    """
    light = np.percentile(image.reshape(-1, 3), LIGHT, axis=0).astype(np.float32)
    share = np.minimum((image + np.float32(1)) / (light + np.float32(1)), 1)
    return np.asarray(gaussian(share, SMOOTHING * len(image), channel_axis=2), np.float32)


def _by_otsu(through: Floats) -> tuple[Mask, Mask]:
    """Nuclear stain, and any stain, each (h, w)."""
    density = -np.log10(through)  # Beer-Lambert: proportional to the amount of stain
    nuclear, stain = density @ NUCLEAR, density.sum(axis=2)
    if nuclear.min() == nuclear.max():
        return np.zeros(nuclear.shape, bool), np.zeros(nuclear.shape, bool)
    dark = nuclear > threshold_otsu(nuclear)
    rest = stain[~dark]
    pale = PALE * threshold_otsu(np.minimum(rest, np.quantile(rest, 0.9)))
    return dark, stain > pale


def _otsu_inside(through: Floats, nuclear: Mask, cell: Mask) -> Mask:
    """Nuclear stain by a threshold found inside the cell alone, if the cell has two sides to tell."""
    size = len(cell)
    inner = ndimage.binary_erosion(cell, iterations=max(1, size // 40))
    channel = -np.log10(through) @ NUCLEAR
    values = gaussian(channel, COARSER * SMOOTHING * size)[inner]
    if len(values) < 20 or np.ptp(values) == 0:
        return nuclear
    threshold = threshold_otsu(values)
    high = values > threshold
    share = high.mean()
    between = share * (1 - share) * (values[high].mean() - values[~high].mean()) ** 2
    return np.asarray(channel > threshold) if between >= SEPARABLE * values.var() else nuclear


def _by_hsv(through: Floats, settings: HsvMasks) -> tuple[Mask, Mask]:
    hue, saturation, value = np.moveaxis(rgb2hsv(through), 2, 0)
    low, high = settings.hue
    within = (hue * 360 - low) % 360 <= (high - low) % 360
    dark = within & (saturation >= settings.saturation) & (value <= settings.value)
    return dark, (saturation >= settings.cell_saturation) | (value <= settings.cell_value)


def _cleaned(nucleus: Mask) -> Mask:
    """Without specks and without small holes (nucleoli, pale chromatin)."""
    opened = ndimage.binary_opening(nucleus, disk(max(1, round(len(nucleus) / 64))))
    parts = components(opened, connectivity=1)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = opened if len(areas) == 1 else (areas >= SPECK * areas.max())[parts] & opened
    holes = components(~kept, connectivity=1)
    small = np.bincount(holes.ravel()) < HOLE * kept.sum()
    return kept | (small[holes] & ~kept)


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
    """The stained region around the seed, cut at its necks from what touches it, (h, w).

    A part whose inscribed circle meets the seed is of the cell, and so is one behind a neck that is
    nearly as wide as the narrower side. Cuts are as coarse as `CUTTING` pixels an edge; edges are not.
    """
    step = max(1, len(stained) // CUTTING)
    size = len(stained) // step
    parts = parts_of(stained[::step, ::step], size / 100, size / 20)
    away = ndimage.distance_transform_edt(~seed[::step, ::step])[tuple(parts.centers.T)]
    own = away < parts.depths
    own[parts.labels[seed[::step, ::step]]] = True
    own[0] = False
    narrower = np.minimum.outer(parts.depths, parts.depths)
    wider = np.maximum.outer(parts.depths, parts.depths)
    joined = (parts.necks > NECK * narrower) & (parts.necks > TAIL * wider)
    while (grown := own | joined[:, own].any(axis=1)).sum() > own.sum():
        own = grown
    inside = _without_tails(own[parts.labels], size / 25)
    inside = inside.repeat(step, axis=0).repeat(step, axis=1)[: len(stained), : stained.shape[1]]
    regions = components((stained & inside) | seed, connectivity=1)
    return np.asarray(regions == regions[seed][0])


def _without_tails(cell: Mask, radius: float) -> Mask:
    """What discs of this radius in the cell reach, and a pixel around: a red cell's rim is thinner."""
    core = ndimage.distance_transform_edt(np.pad(cell, 1, mode="edge"))[1:-1, 1:-1] > radius
    if not core.any():
        return cell
    return np.asarray(ndimage.distance_transform_edt(~core) <= radius + 1)


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
    edge = int(max(np.ptp(rows), np.ptp(columns))) + 1
    edge = min(int(np.ceil(edge * (1 + 2 * MARGIN))), height, width)
    top, left = (
        min(max((int(found[0] + found[-1]) + 1 - edge) // 2, 0), most - edge)
        for found, most in ((rows, height), (columns, width))
    )
    return top, left, top + edge, left + edge
