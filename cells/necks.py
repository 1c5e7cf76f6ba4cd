"""Where a shape is narrow: its round parts, and the necks between them.

The parts are the basins of a watershed on the distance to the edge; a neck is the deepest place of
the border between two of them. Touching cells, and lobes of a nucleus, are told apart by it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian
from skimage.segmentation import watershed

from runtime.devices import with_denormals


@dataclass(frozen=True)
class Parts:
    """The round parts of a shape; row 0 of each table is what lies outside.

    Attributes:
        labels: Number of the part at each pixel, from 1, int32, shape (h, w); 0 outside.
        centers: Deepest pixel of each part, shape (k + 1, 2).
        depths: Distance of that pixel to the edge, in pixels, shape (k + 1,).
        necks: The same of the deepest place between each two parts, shape (k + 1, k + 1); 0 where
            they do not touch.
    """

    labels: NDArray[np.int32]
    centers: NDArray[np.int64]
    depths: NDArray[np.float32]
    necks: NDArray[np.float32]


def parts_of(shape: NDArray[np.bool_], smoothing: float, apart: float) -> Parts:
    """Divide a shape at its necks.

    Args:
        shape: Shape (h, w). It is taken to go on beyond the image's edge.
        smoothing: Standard deviation in pixels by which the distance is smoothed first.
        apart: Smallest distance of two centers, in pixels.
    """
    depth = ndimage.distance_transform_edt(np.pad(shape, 1, mode="edge"))[1:-1, 1:-1]
    depth = np.asarray(gaussian(depth, smoothing), np.float32)
    with with_denormals():  # peaks that are too near are found by a cKDTree
        peaks = peak_local_max(
            depth, min_distance=max(1, round(apart)), exclude_border=False, labels=shape.astype(np.int32)
        )
    markers = np.zeros(shape.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = np.asarray(watershed(-depth, markers, mask=shape), np.int32)
    depths = np.append(np.float32(0), depth[tuple(peaks.T)])
    centers = np.concatenate([np.zeros((1, 2), np.int64), peaks.astype(np.int64)])
    return Parts(labels, centers, depths, _necks(labels, depth, len(depths)))


def _necks(labels: NDArray[np.int32], depth: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    necks = np.zeros((count, count), np.float32)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        a, b, between = labels[one], labels[other], np.minimum(depth[one], depth[other])
        touching = (a != b) & (a > 0) & (b > 0)
        np.maximum.at(necks, (a[touching], b[touching]), between[touching])
    return np.asarray(np.maximum(necks, necks.T))
