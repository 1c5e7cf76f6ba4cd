"""What tells the classes of phantom cells apart: nucleus, granules, cytoplasm."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cells.drawing import Field, Range, bar, ellipse


@dataclass(frozen=True)
class Granules:
    """Spots of stain; lengths in cell radii, stain as thickness of purple, pink and blue."""

    count: tuple[int, int]
    radius: float
    stain: tuple[float, float, float]
    over_nucleus: bool = False


@dataclass(frozen=True)
class Pale:
    """A few pale spots; lengths in cell radii, `ring` from the middle."""

    count: tuple[int, int]
    radius: float
    ring: Range


@dataclass(frozen=True)
class Kind:
    """What tells one class from another; lengths in cell radii, `radius` in image widths."""

    nucleus: Callable[[Field, Field, np.random.Generator], Field]
    density: Range
    radius: Range
    cytoplasm: tuple[float, float, float]
    irregular: float = 0.05
    chromatin: float = 0.12
    granules: Granules | None = None
    nucleoli: Pale | None = None


def _chain(
    u: Field,
    v: Field,
    rng: np.random.Generator,
    lobes: int,
    radius: Range,
    step: float,
    turn: Range,
) -> Field:
    """A chain of lobes on thin bars, centered on its mean; `turn` in radians a step."""
    turns = rng.uniform(*turn, size=lobes) * rng.choice([1, 1, 1, -1])
    headings = (rng.uniform(0, 2 * np.pi) + np.cumsum(turns)).astype(np.float32)
    way = np.cumsum(np.stack([np.cos(headings), np.sin(headings)], axis=1) * step, axis=0)
    centers = (way - way.mean(axis=0) + rng.normal(0, 0.05, 2)).astype(np.float32)  # (lobes, 2)
    distance = np.full_like(u, np.inf)
    for (x, y), heading, a in zip(centers, headings, rng.uniform(*radius, lobes), strict=True):
        cos, sin = np.cos(heading), np.sin(heading)
        along, across = (u - x) * cos + (v - y) * sin, (v - y) * cos - (u - x) * sin
        lobe = ellipse(along, across, a, a * rng.uniform(1.0, 1.25))
        distance = np.minimum(distance, lobe)
    for start, end in itertools.pairwise(centers):
        distance = np.minimum(distance, bar(u, v, start, end, 0.07))
    return distance


def _lobed(u: Field, v: Field, rng: np.random.Generator) -> Field:
    lobes = int(rng.integers(3, 6))
    return _chain(u, v, rng, lobes, (0.22, 0.27), 0.54 if lobes < 5 else 0.49, (0.9, 1.5))


def _bilobed(u: Field, v: Field, rng: np.random.Generator) -> Field:
    return _chain(u, v, rng, 2, (0.32, 0.39), rng.uniform(0.8, 0.9), (-0.5, 0.5))


def _hidden(u: Field, v: Field, rng: np.random.Generator) -> Field:
    return _chain(u, v, rng, 2, (0.38, 0.46), 0.6, (-0.5, 0.5))


def _kidney(u: Field, v: Field, rng: np.random.Generator) -> Field:
    body = ellipse(u, v + np.float32(0.05), rng.uniform(0.7, 0.78), rng.uniform(0.6, 0.68))
    x, y = np.float32(rng.uniform(-0.1, 0.1)), np.float32(rng.uniform(0.42, 0.52))
    return np.maximum(body, -ellipse(u - x, v - y, 0.3, 0.56))


def _disc(u: Field, v: Field, rng: np.random.Generator) -> Field:
    a, off = rng.uniform(0.72, 0.86), np.float32(rng.uniform(0, 0.12))
    return ellipse(u - off, v, a, a * rng.uniform(0.88, 1.0))


KINDS: dict[str, Kind] = {
    "bilobed": Kind(
        nucleus=_bilobed,
        density=(0.75, 1.0),
        radius=(0.32, 0.41),
        cytoplasm=(0.04, 0.3, 0.0),
        granules=Granules((70, 110), 0.075, (0.05, 0.52, 0.0)),
    ),
    "blast": Kind(
        nucleus=_disc,
        density=(0.6, 0.85),
        radius=(0.33, 0.42),
        cytoplasm=(0.2, 0.0, 0.6),
        chromatin=0.1,
        nucleoli=Pale((1, 3), 0.15, (0.1, 0.5)),
    ),
    "granular": Kind(
        nucleus=_hidden,
        density=(0.3, 0.5),
        radius=(0.3, 0.39),
        cytoplasm=(0.08, 0.18, 0.08),
        granules=Granules((16, 28), 0.095, (1.0, 0.0, 0.2), over_nucleus=True),
    ),
    "kidney": Kind(
        nucleus=_kidney,
        density=(0.75, 1.0),
        radius=(0.34, 0.43),
        cytoplasm=(0.1, 0.03, 0.22),
        chromatin=0.1,
    ),
    "lobed": Kind(
        nucleus=_lobed,
        density=(0.75, 1.0),
        radius=(0.33, 0.42),
        cytoplasm=(0.07, 0.32, 0.02),
        granules=Granules((40, 80), 0.05, (0.32, 0.25, 0.0)),
    ),
    "round": Kind(
        nucleus=_disc,
        density=(0.75, 1.0),
        radius=(0.28, 0.37),
        cytoplasm=(0.1, 0.0, 0.5),
        chromatin=0.2,
    ),
}
