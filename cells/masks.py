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
from skimage.filters import gaussian

from cells.nuclear import SMOOTHING, ByHsv, ByOtsu, HsvMasks, OtsuMasks
from cells.regions import central_part, cleaned, filled, frame, separated
from runtime.errors import InputError

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

LIGHT = 95  # percentile of each color channel that is taken for the empty background
MARGIN = 0.08  # what a box adds on each side, in edges of the tight box

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
    found = ByOtsu(through, settings) if isinstance(settings, OtsuMasks) else ByHsv(through, settings)
    nuclear, stained = found.first()
    seed = central_part(nuclear)
    if not seed.any():
        return seed, seed
    cell = separated(filled(stained | nuclear), seed)
    nucleus = cleaned(found.inside(nuclear, cell) & cell)
    return nucleus, cell | nucleus


def transmittance(image: NDArray[np.uint8]) -> Floats:
    """The light that passes the stains: the image over its empty background, smoothed.

    Args:
        image: RGB, uint8, shape (h, w, 3).

    Returns:
        float32 in (0, 1], shape (h, w, 3).
    """
    channels = np.ascontiguousarray(image.reshape(-1, 3).T)  # faster than along the other axis
    light = np.percentile(channels, LIGHT, axis=1).astype(np.float32)
    share = np.minimum((image + np.float32(1)) / (light + np.float32(1)), 1)
    return np.asarray(gaussian(share, SMOOTHING * len(image), channel_axis=2), np.float32)


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
    found = frame(cell)
    edge = max(side.stop - side.start for side in found)
    edge = min(int(np.ceil(edge * (1 + 2 * MARGIN))), height, width)
    top, left = (
        min(max((int(side.start + side.stop) - edge) // 2, 0), most - edge)
        for side, most in zip(found, (height, width), strict=True)
    )
    return top, left, top + edge, left + edge
