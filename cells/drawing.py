"""The pencil of the phantom: shapes, spots and texture on a supersampled plane, and a camera.

Lengths are in image widths unless said otherwise, so that a cell drawn at another size is the same
cell sampled otherwise. The products are `einsum`s: a matrix this small is slower on the threads of
a BLAS, and its result then depends on their number.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Floats = NDArray[np.float64]
Range = tuple[float, float]


def fine(size: int) -> int:
    """Side of the plane in supersampled pixels: at least two of them to a pixel."""
    return max(96, 2 * size)


@lru_cache(maxsize=8)
def axis(size: int) -> Field:
    """Centers of the supersampled pixels from the middle of the image, shape (n,)."""
    n = fine(size)
    centers: Field = ((np.arange(n) + 0.5) / n - 0.5).astype(np.float32)
    centers.setflags(write=False)
    return centers


# ---------------------------------------------------------------- signed distances


def ellipse(u: Field, v: Field, a: float, b: float) -> Field:
    """Distance to an ellipse's edge, negative inside; exact on a circle, near enough elsewhere."""
    distance = (np.hypot(u / np.float32(a), v / np.float32(b)) - 1) * np.float32(min(a, b))
    return np.asarray(distance, dtype=np.float32)


def bar(u: Field, v: Field, start: Field, end: Field, radius: float) -> Field:
    """Distance to the segment from `start` to `end`, both (2,), thickened to `radius`."""
    du, dv = end - start
    along = np.clip(((u - start[0]) * du + (v - start[1]) * dv) / (du * du + dv * dv), 0, 1)
    distance = np.hypot(u - start[0] - along * du, v - start[1] - along * dv)
    return np.asarray(distance - np.float32(radius), dtype=np.float32)


def cover(distance: Field, softness: float) -> Field:
    """How much of a pixel lies inside an edge that is `softness` wide, in [0, 1]."""
    return np.asarray(np.clip(0.5 - distance / np.float32(softness), 0, 1), dtype=np.float32)


# ---------------------------------------------------------------- spots and texture


def scatter(rng: np.random.Generator, count: int, reach: float) -> Floats:
    """Points spread over a disc of radius `reach`, shape (count, 2): a jittered sunflower."""
    rank = np.arange(count)
    angle = rng.uniform(0, 2 * np.pi) + rank * np.pi * (3 - np.sqrt(5))
    radius = reach * np.sqrt((rank + 0.5) / count)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    points = points + rng.normal(0, 0.45 * reach / np.sqrt(count), (count, 2))
    inside: Floats = points * np.minimum(1, reach / np.hypot(points[:, :1], points[:, 1:]))
    return inside


def spots(size: int, centers: Floats, radius: float, heights: Floats) -> Field:
    """Sum of Gaussian spots, a separable one: shape (n, n).

    Args:
        size: Side of the image in pixels.
        centers: Shape (k, 2), x and y.
        radius: Standard deviation of every spot.
        heights: Shape (k,).
    """
    scaled = axis(size) / np.float32(radius)
    x, y = (centers / radius).astype(np.float32).T
    # The floor of exp(-30) keeps denormal numbers, which are slow, out of the product.
    columns = np.exp(-np.minimum(0.5 * np.square(x[:, None] - scaled), 30))  # (k, n)
    rows = np.exp(-np.minimum(0.5 * np.square(scaled[:, None] - y), 30))  # (n, k)
    return np.einsum("ik,kj->ij", rows * heights.astype(np.float32), columns)


@lru_cache(maxsize=8)
def _interpolation(size: int, knots: int) -> Field:
    """Linear interpolation from `knots` values along an axis, shape (n, knots)."""
    position = (axis(size)[:, None] + 0.5) * (knots - 1)
    return np.maximum(0, 1 - np.abs(position - np.arange(knots, dtype=np.float32)))


def texture(size: int, rng: np.random.Generator, knots: int) -> Field:
    """Noise of about unit variance, smooth between `knots` x `knots` points, shape (n, n)."""
    weights = _interpolation(size, knots)
    noise = rng.standard_normal((knots, knots), dtype=np.float32)
    return np.einsum("ij,kj->ik", weights, np.einsum("ij,jk->ik", weights, noise))


# ---------------------------------------------------------------- camera


def expose(light: Field, size: int, blur: float, noise: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, sample down to pixels, add the sensor's noise.

    Args:
        light: Shape (3, n, n), in [0, 1].
        size: Side of the image in pixels.
        blur: Standard deviation of the focus, to which a pixel's own aperture is added.
        noise: Standard deviation of the sensor's noise, in units of `light`.
        rng: Where the noise comes from.

    Returns:
        RGB, shape (size, size, 3).
    """
    width = np.float32(np.hypot(blur, 0.4 / size))
    pixels = ((np.arange(size) + 0.5) / size - 0.5).astype(np.float32)
    offset = (pixels[:, None] - axis(size)) / width
    weights = np.exp(-np.minimum(0.5 * np.square(offset), 30))  # (size, n)
    weights /= weights.sum(axis=1, keepdims=True)
    lines = np.einsum("ij,cjk->cik", weights, light)  # (3, size, n)
    image = np.einsum("cij,kj->cik", lines, weights)  # (3, size, size)
    image = image + rng.standard_normal(image.shape, dtype=np.float32) * np.float32(noise)
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
