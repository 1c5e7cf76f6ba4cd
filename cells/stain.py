"""Stain normalization: two models of how a stain colors an image, and whether they suit it.

A Macenko image is two stains, each a direction in optical density; a Reinhard image is a mean and a
spread of each channel of CIELAB. Both map an image's own model to one learned from training cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from skimage.color import lab2rgb, rgb2lab

Floats = NDArray[np.float64]

STAINED = 0.15  # least optical density (Euclidean norm) of a pixel that counts as stained: β of the paper
EXTREME = 1.0  # percentile of the angles that is taken for a pure stain: α of the paper
STRONG = 99.0  # percentile of the amounts that is taken for an image's full amount of a stain
BRIGHT = 95.0  # percentile of each channel that is taken for the light of the lamp: I0 of the paper
OPAQUE = 1.0  # optical density that no stain of a thin smear reaches in all channels: what is there is black
FEWEST = 50  # stained pixels that two stains can be told from
LARGEST_SCALE = 2.0  # an image with little of a stain is not given more than this times as much
GRAY = 2.0  # levels of 255: below this mean distance of the channels an image has no color
FLATTEST = 0.5  # CIELAB units: a channel that spreads less says nothing of a stain's contrast

# An image suits the model of two stains if they are this far apart and their plane holds this share of
# its optical density; measured on stained cells and on what is none, see docs/methods.md.
SMALLEST_ANGLE = 8.0
SMALLEST_SHARE = 0.985
LARGEST_BLACK = 0.02
DARKEST_LIGHT = 100.0
LARGEST_TURN = 15.0  # degrees between an image's stain and the one that it is taken for


@dataclass(frozen=True)
class Stains:
    """Two stains of an image, or of many together.

    Attributes:
        vectors: Optical density of a unit of each, unit length, shape (2, 3); the one that takes more
            red first (hematoxylin, azure), then the other (eosin).
        amounts: The full amount of each, shape (2,).
        light: Of the lamp, where nothing is in its way: levels from 1 to 256, shape (3,).
        angle: Between the vectors, in degrees.
        share: Of the stained pixels' squared optical density, what lies in the vectors' plane, in [0, 1].
        black: Share of the pixels that let no light of any color pass, in [0, 1].
    """

    vectors: Floats
    amounts: Floats
    light: Floats
    angle: float
    share: float
    black: float

    @property
    def suit(self) -> bool:
        """Whether two stains describe the image."""
        return (
            self.angle >= SMALLEST_ANGLE
            and self.share >= SMALLEST_SHARE
            and self.black <= LARGEST_BLACK
            and float(self.light.min()) >= DARKEST_LIGHT
        )


def is_gray(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True for each image without color: uint8 (n, h, w, 3) to shape (n,)."""
    spread = pixels.max(axis=3).astype(np.float32) - pixels.min(axis=3)
    return np.asarray(spread.mean(axis=(1, 2)) < GRAY)


def light_of(image: NDArray[np.uint8]) -> Floats:
    """The light of the lamp in each channel, read where an image is brightest: 1 to 256, shape (3,)."""
    return np.asarray(np.percentile(image.reshape(-1, 3), BRIGHT, axis=0) + 1.0)


def optical_density(pixels: NDArray[np.uint8], light: Floats) -> Floats:
    """-log10 of the share of the light that passes: uint8 (..., 3) to values from 0 on.

    Source:
        Ruifrok and Johnston, Analytical and Quantitative Cytology and Histology 23, 2001.
    """
    return np.asarray(-np.log10(np.minimum((pixels.astype(np.float64) + 1) / light, 1)))


def to_levels(density: Floats, light: Floats) -> NDArray[np.uint8]:
    """The way back from `optical_density`, rounded and clipped to 0 to 255."""
    return np.asarray((light * 10.0**-density - 1).round().clip(0, 255), dtype=np.uint8)


def stains_of(density: Floats, light: Floats) -> Stains | None:
    """The two stains of some pixels.

    Args:
        density: Optical density, shape (n, 3).
        light: What it is relative to, shape (3,).

    Returns:
        None where too few pixels are stained to tell.

    Source:
        Macenko et al., "A method for normalizing histology slides for quantitative analysis", ISBI
        2009, section 2: the plane of the largest two singular vectors, robust extremes of the angle.
    """
    stained = density[np.linalg.norm(density, axis=1) > STAINED]
    if len(stained) < FEWEST:
        return None
    values, axes = np.linalg.eigh(stained.T @ stained)  # ascending; singular values squared
    plane = axes[:, [2, 1]]  # (3, 2)
    plane = plane * np.where(plane.sum(axis=0) < 0, -1, 1)
    along, across = (stained @ plane).T
    ends = np.percentile(np.arctan2(across, along), [EXTREME, 100 - EXTREME])
    vectors = np.stack([np.cos(ends), np.sin(ends)], axis=1) @ plane.T  # (2, 3)
    vectors = np.clip(vectors, 0, None)  # a stain takes light, it gives none
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors[np.argsort(-vectors[:, 0])]
    return Stains(
        vectors,
        np.percentile(amounts_of(density, vectors), STRONG, axis=0),
        light,
        angle=float(np.degrees(np.arccos(np.clip(vectors[0] @ vectors[1], -1, 1)))),
        share=float(1 - max(values[0], 0) / values.sum()),
        black=float((density.min(axis=1) > OPAQUE).mean()),
    )


def amounts_of(density: Floats, vectors: Floats) -> Floats:
    """How much of each stain is in each pixel, least squares: (n, 3) to (n, 2), from 0 on."""
    return np.asarray(np.clip(density @ np.linalg.pinv(vectors), 0, None))


def matched(own: Stains, target: Stains) -> Stains:
    """The stains in the order in which they are most like the target's."""
    likeness = own.vectors @ target.vectors.T  # cosines, (2, 2)
    if np.trace(likeness) >= np.trace(likeness[::-1]):
        return own
    return replace(own, vectors=own.vectors[::-1], amounts=own.amounts[::-1])


def turn(own: Stains, target: Stains) -> float:
    """The larger of the angles between two matched pairs of stains, in degrees."""
    cosines = (own.vectors * target.vectors).sum(axis=1)
    return float(np.degrees(np.arccos(np.clip(cosines.min(), -1, 1))))


def restain(image: NDArray[np.uint8], target: Stains) -> NDArray[np.uint8] | None:
    """An image in another's stains and light.

    Args:
        image: uint8, shape (h, w, 3).
        target: The stains that it gets, their full amounts, and the light.

    Returns:
        uint8, shape (h, w, 3); None where two stains do not describe the image, or are others than the
        target's: to take pink granules for red cells would paint them in another color.
    """
    light = light_of(image)
    density = optical_density(image, light).reshape(-1, 3)
    own = stains_of(density, light)
    if own is None or not own.suit:
        return None
    own = matched(own, target)
    if turn(own, target) > LARGEST_TURN:
        return None
    scale = target.amounts / np.maximum(own.amounts, 1e-6)
    scale = np.clip(scale, 1 / LARGEST_SCALE, LARGEST_SCALE)
    amounts = amounts_of(density, own.vectors) * scale
    return to_levels(amounts @ target.vectors, target.light).reshape(image.shape)


def lab_of(pixels: NDArray[np.uint8]) -> Floats:
    """CIELAB (D65): uint8 (..., 3) to float64 of the same shape."""
    return np.asarray(rgb2lab(pixels.astype(np.float64) / 255))


def lab_statistics(image: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each channel of CIELAB over an image: shapes (3,)."""
    lab = lab_of(image).reshape(-1, 3)
    return lab.mean(axis=0), lab.std(axis=0)


def recolor(
    image: NDArray[np.uint8], mean: Sequence[float] | Floats, spread: Sequence[float] | Floats
) -> NDArray[np.uint8] | None:
    """An image with the mean and the spread of another in each channel of CIELAB.

    Args:
        image: uint8, shape (h, w, 3).
        mean: Target, shape (3,).
        spread: Target standard deviation, shape (3,).

    Returns:
        uint8, shape (h, w, 3); None where a channel of the image is too flat to be stretched.

    Source:
        Reinhard et al., "Color transfer between images", IEEE Computer Graphics and Applications
        21(5), 2001, equations 10 and 11, there in lαβ, here in CIELAB.
    """
    lab = lab_of(image)
    own_mean, own_spread = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1))
    if own_spread.min() < FLATTEST:
        return None
    moved = (lab - own_mean) / own_spread * np.asarray(spread) + np.asarray(mean)
    return np.asarray((lab2rgb(moved) * 255).round().clip(0, 255), dtype=np.uint8)
