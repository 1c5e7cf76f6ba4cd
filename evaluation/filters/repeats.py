"""Synthetic cells that show the same cell again: near-duplicates among themselves."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cells.cellset import CellSet
from evaluation.filters.calibration import Calibration, Scores, calibrate

EDGE = 14  # pixels: fine detail and noise vanish, the cell's build remains
CHUNK = 512
MOST = 500  # real cells of a class that the threshold is read on: time is square in it


class Repeats:
    """Near-duplicates: nearer to each other than real cells of the class are.

    The distance is the root mean square over low-passed RGB, the least over the eight flips and
    quarter turns (over none of an X-ray). Among many cells the nearest is nearer: with more
    synthetic cells than real ones, more than the share is rejected even of varied ones.

    Args:
        train: Real training cells.
        share: Of them that have another real cell of their class below the threshold.

    Attributes:
        calibration: The threshold; None where no class has two real cells.
    """

    def __init__(self, train: CellSet, share: float) -> None:
        nearest = np.full(len(train), np.nan)
        for label in np.unique(train.labels):
            rows = np.flatnonzero(train.labels == label)[:MOST]
            if len(rows) > 1:
                nearest[rows] = _distances(train.subset(rows)).min(axis=1)
        self.calibration: Calibration | None = calibrate(nearest, train.labels, len(train.classes), share)

    def keeps(self, cells: CellSet) -> NDArray[np.bool_]:
        """False for each cell that repeats an earlier, kept one of its class, shape (n,)."""
        keep = np.ones(len(cells), bool)
        if self.calibration is None:
            return keep
        for label in np.unique(cells.labels):
            rows = np.flatnonzero(cells.labels == label)
            close = (
                _distances(cells.subset(rows)) < self.calibration.threshold * self.calibration.scales[label]
            )
            kept = np.ones(len(rows), bool)
            for row in range(1, len(rows)):
                kept[row] = not (close[row, :row] & kept[:row]).any()
            keep[rows] = kept
        return keep


def _distances(cells: CellSet) -> Scores:
    """Root mean square between all pairs, the least over turns, shape (n, n); infinite with itself."""
    small = _low_passed(cells)  # (n, 3, e, e)
    flat = small.flatten(1)
    least = np.full((len(cells), len(cells)), np.inf)
    for turned in _turns(small, cells.modality == "xray"):
        for start in range(0, len(cells), CHUNK):
            part = torch.cdist(turned[start : start + CHUNK].flatten(1), flat).numpy()
            np.minimum(least[start : start + CHUNK], part, out=least[start : start + CHUNK])
    np.fill_diagonal(least, np.inf)
    return np.asarray(least / flat.shape[1] ** 0.5)


def _turns(images: Tensor, as_they_are: bool) -> list[Tensor]:
    if as_they_are:
        return [images]
    both = (images, images.flip(-1))
    return [torch.rot90(image, quarter, (-2, -1)) for image in both for quarter in range(4)]


def _low_passed(cells: CellSet) -> Tensor:
    pixels = np.array(cells.pixels.transpose(0, 3, 1, 2), order="C")
    images = torch.from_numpy(pixels).double() / 255  # (n, 3, h, w)
    return functional.interpolate(images, (EDGE, EDGE), mode="bilinear", antialias=True)
