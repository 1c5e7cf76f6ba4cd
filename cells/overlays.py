"""Masks, drawn as outlines over the cells, for people to judge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from cells.masks import Masks

CELL, NUCLEUS = (0, 160, 0), (255, 230, 0)
WIDTH = 192  # pixels that an outlined image has at least, so that the lines hide little


def outlined(pixels: NDArray[np.uint8], masks: Masks) -> NDArray[np.uint8]:
    """Cells with the outlines of cell (green) and nucleus (yellow), enlarged a whole number of times.

    Args:
        pixels: uint8, shape (n, h, w, 3).
        masks: Of the same cells.

    Returns:
        uint8, shape (n, k h, k w, 3).
    """
    times = -(-WIDTH // pixels.shape[2])
    enlarged = pixels.repeat(times, axis=1).repeat(times, axis=2)
    for i in range(len(pixels)):
        for mask, color in ((masks.cell[i], CELL), (masks.nucleus[i], NUCLEUS)):
            large = mask.repeat(times, axis=0).repeat(times, axis=1)
            enlarged[i][find_boundaries(large, mode="inner")] = color
    return enlarged
