"""Regions of a mask: the one in the middle, its specks and holes, and what touches it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as components
from skimage.morphology import disk

from cells.necks import parts_of

Mask = NDArray[np.bool_]

SMALLEST = 0.002  # share of the image that a part of a nucleus takes at least
REACH = 0.25  # how far from the middle the central nucleus may begin, in image widths
NECK = 0.85  # of the radius of the narrower side: a wider neck joins one cell, not two
CUTTING = 64  # edge in pixels at which touching cells are cut apart
TAIL = 0.4  # of the radius of the wider side: a narrower neck never joins
SPECK = 0.06  # of the largest part of a nucleus: smaller parts are granules
HOLE = 0.1  # of the nucleus: smaller holes are filled


def filled(mask: Mask) -> Mask:
    """Without holes: what the outside does not reach belongs to the mask, (h, w).

    The same as SciPy's `binary_fill_holes`, which dilates step by step and is slower.
    """
    outside = components(np.pad(~mask, 1, constant_values=True), connectivity=1)
    return np.asarray((outside != outside[0, 0])[1:-1, 1:-1])


def frame(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns that a mask takes; none of an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return np.s_[:0], np.s_[:0]
    return np.s_[rows[0] : rows[-1] + 1], np.s_[columns[0] : columns[-1] + 1]


def cleaned(nucleus: Mask) -> Mask:
    """Without specks and without small holes (nucleoli, pale chromatin), (h, w)."""
    if not nucleus.any():
        return nucleus
    box = frame(nucleus)
    opened = np.zeros_like(nucleus)
    opened[box] = ndimage.binary_opening(nucleus[box], disk(max(1, round(len(nucleus) / 64))))
    parts = components(opened, connectivity=1)
    areas = np.bincount(parts.ravel())
    areas[0] = 0
    kept = opened if len(areas) == 1 else (areas >= SPECK * areas.max())[parts] & opened
    holes = components(~kept, connectivity=1)
    small = np.bincount(holes.ravel()) < HOLE * kept.sum()
    return np.asarray(kept | (small[holes] & ~kept))


def central_part(nuclear: Mask) -> Mask:
    """The part of the nuclear stain that is nearest to the middle, (h, w); empty if none is near."""
    size = len(nuclear)
    parts = components(nuclear, connectivity=1)
    areas = np.bincount(parts.ravel())
    if len(areas) == 1:
        return np.zeros(nuclear.shape, bool)
    nearest = np.full(len(areas), np.inf)
    np.minimum.at(nearest, parts[nuclear], from_middle(nuclear.shape)[nuclear])
    nearest[areas < SMALLEST * nuclear.size] = np.inf
    return np.asarray(parts == (nearest.argmin() if nearest.min() <= REACH * size else -1))


@lru_cache(maxsize=4)
def from_middle(shape: tuple[int, int]) -> NDArray[np.float64]:
    """Distance of each pixel from the middle, (h, w)."""
    away = np.hypot(*(np.indices(shape) - (shape[0] - 1) / 2))
    away.setflags(write=False)
    return np.asarray(away)


def separated(stained: Mask, seed: Mask) -> Mask:
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
