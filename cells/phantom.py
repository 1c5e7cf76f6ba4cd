"""Drawn, stained blood cells: a phantom, not a photograph.

Every image here is computed from a seed. The set is the offline default and the test bed: it lets
the whole flow run without a download and its parameters are known. It says nothing about patients,
and no figure measured on it may be quoted as one of real cells; its cells have the origin
"phantom" wherever they go. The classes are therefore named after what is drawn:

=========  ===============================================================  ====================
class      nucleus, granules and cytoplasm                                  loosely drawn after
=========  ===============================================================  ====================
bilobed    two lobes on a thin bridge; coarse bright pink granules          eosinophil
blast      large, fine, pale; one to three nucleoli; narrow blue rim        leukemic blast
granular   hidden under coarse, dark, uneven granules                       basophil
kidney     deeply indented from one side; ample gray-blue cytoplasm         monocyte
lobed      chain of three to five lobes; pale cytoplasm, fine granules      neutrophil
round      small, round and dense; narrow pale blue rim                     lymphocyte
=========  ===============================================================  ====================

How an image comes about: fields of three stains (purple, pink, blue) are drawn over a plane as
signed distances and sums of Gaussian spots, light is absorbed by them (Beer-Lambert law), and the
plane is blurred by the focus, sampled down to pixels and given sensor noise. Stain, light, focus,
noise and magnification vary from image to image with one distribution for all classes, and the
position of everything is in image widths, so that a size changes the sampling and not the cell.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize_local_mean

from cells.cellset import CellSet
from cells.drawing import (
    Field,
    Floats,
    axis,
    cover,
    ellipse,
    expose,
    fine,
    scatter,
    spots,
    texture,
)
from cells.phantom_kinds import KINDS, Granules, Kind, Pale
from runtime.errors import InputError, suggest
from runtime.seeds import numpy_generator, seed_of

SMALLEST_SIZE = 16

# Optical density in red, green and blue at unit thickness, read off Giemsa-stained smears.
PURPLE, PINK, BLUE = (1.25, 1.60, 0.62), (0.16, 0.62, 0.50), (0.62, 0.42, 0.10)
# The two ends between which the lamp and the camera's white balance put the empty background.
WARM_LIGHT, COOL_LIGHT = (0.98, 0.90, 0.79), (0.85, 0.85, 0.91)

CLASSES: tuple[str, ...] = tuple(KINDS)

# A long tail, common to rare as in blood: 20 to 1.
DEFAULT_COUNTS: dict[str, int] = {
    "lobed": 400,
    "round": 250,
    "kidney": 150,
    "bilobed": 80,
    "granular": 40,
    "blast": 20,
}

# ---------------------------------------------------------------- what lies on the plane


def _red_cells(plane: Field, size: int, rng: np.random.Generator, scale: float, clear: float) -> None:
    """Add pink discs with a pale center, and now and then a platelet, around the cell."""
    for _ in range(int(rng.integers(3, 8))):
        radius = scale * rng.uniform(0.145, 0.185)
        angle, gap = rng.uniform(0, 2 * np.pi), clear + radius * rng.uniform(0.8, 2.0)
        x = axis(size)[None, :] - np.float32(gap * np.cos(angle))
        y = axis(size)[:, None] - np.float32(gap * np.sin(angle))
        distance = np.hypot(x, y / np.float32(rng.uniform(0.85, 1.0)))
        dimple = np.exp(-np.minimum(0.5 * np.square(distance / np.float32(0.42 * radius)), 30))
        disc = cover(distance - np.float32(radius), 0.035)
        disc *= 1 - np.float32(rng.uniform(0.35, 0.8)) * dimple
        plane[0] += np.float32(0.06) * disc
        plane[1] += np.float32(rng.uniform(0.38, 0.55)) * disc
    if rng.random() < 0.35:
        angle, gap = rng.uniform(0, 2 * np.pi), clear + rng.uniform(0.04, 0.15)
        place = np.array([[np.cos(angle), np.sin(angle)]]) * gap
        plane[0] += spots(size, place, scale * 0.025, np.array([rng.uniform(0.4, 0.7)]))


def _cell_axes(
    size: int, rng: np.random.Generator, radius: float, middle: Floats, irregular: float
) -> tuple[Field, Field]:
    """Coordinates in cell radii, turned and gently bent, each of shape (n, n)."""
    turn = rng.uniform(0, 2 * np.pi)
    cos, sin = np.float32(np.cos(turn) / radius), np.float32(np.sin(turn) / radius)
    x, y = (axis(size) - np.float32(place) for place in middle)
    u, v = np.add.outer(y * sin, x * cos), np.add.outer(y * cos, -x * sin)
    bend = (rng.uniform(0.4, 1.0, 4) * irregular).astype(np.float32)
    phase = rng.uniform(0, 2 * np.pi, 4).astype(np.float32)
    return (
        u + bend[0] * np.sin(2 * v + phase[0]) + bend[1] * np.sin(4 * v + phase[1]),
        v + bend[2] * np.sin(2 * u + phase[2]) + bend[3] * np.sin(4 * u + phase[3]),
    )


def _pale_spots(
    pale: Pale | None, size: int, rng: np.random.Generator, radius: float, middle: Floats
) -> Field | float:
    """Pale spots on a ring about the middle, in [0, 1], shape (n, n); 0 where there are none."""
    number = int(rng.integers(pale.count[0], pale.count[1] + 1)) if pale is not None else 0
    if pale is None or number == 0:
        return 0.0
    angle = rng.uniform(0, 2 * np.pi) + np.arange(number) * 2 * np.pi / number
    reach = rng.uniform(*pale.ring, size=(number, 1)) * radius
    centers = np.stack([np.cos(angle), np.sin(angle)], axis=1) * reach + middle
    heights = rng.uniform(0.9, 1.3, number)
    return np.minimum(spots(size, centers, pale.radius * radius, heights), np.float32(1))


def _granules(
    granules: Granules, size: int, rng: np.random.Generator, radius: float, middle: Floats
) -> Field:
    """Thickness of each stain in the granules, before the cell's edge cuts them: (3, n, n)."""
    count = int(rng.integers(granules.count[0], granules.count[1] + 1))
    centers = scatter(rng, count, 0.92) * radius + middle
    heights = rng.uniform(0.6, 1.2, count)
    shape = np.minimum(spots(size, centers, granules.radius * radius, heights), np.float32(1.2))
    strength = np.array(granules.stain) * np.exp(rng.normal(0, 0.4, 3))
    return strength.astype(np.float32)[:, None, None] * shape


def _white_cell(
    plane: Field, kind: Kind, size: int, rng: np.random.Generator, scale: float
) -> tuple[Field, Field]:
    """Put the cell over what is there; `plane` is the thickness of each stain, (3, n, n).

    Returns how much of each supersampled pixel the nucleus and the cell take, (n, n) in [0, 1].
    """
    radius, middle = scale * rng.uniform(*kind.radius), rng.uniform(-0.05, 0.05, size=2)
    u, v = _cell_axes(size, rng, radius, middle, kind.irregular)
    edge, soft = ellipse(u, v, 1.0, rng.uniform(0.88, 1.0)), 0.022 / radius
    body = cover(edge, soft)
    nucleus = cover(np.maximum(kind.nucleus(u, v, rng), edge + np.float32(0.04)), soft)
    rough = texture(size, rng, 28)
    nucleoli = _pale_spots(kind.nucleoli, size, rng, radius, middle)

    plane *= 1 - np.float32(0.9) * body  # red cells are pushed aside, not seen through
    # Were the tint of a class always the same, the color of the cytoplasm would give it away.
    tint = (np.array(kind.cytoplasm) * np.exp(rng.normal(0, 0.3, 3))).astype(np.float32)
    fluid = body * (1 - nucleus) * (1 + np.float32(0.1) * rough)
    plane += tint[:, None, None] * fluid
    if kind.granules is not None:
        shown = body if kind.granules.over_nucleus else body * (1 - nucleus)
        plane += _granules(kind.granules, size, rng, radius, middle) * shown
    chromatin = nucleus * (1 + np.float32(kind.chromatin) * rough) * (1 - 0.6 * nucleoli)
    chromatin *= np.float32(rng.uniform(*kind.density))
    plane[0] += chromatin
    plane[2] += 0.15 * chromatin + 0.1 * nucleoli * nucleus
    return nucleus, body


def _light(plane: Field, rng: np.random.Generator) -> Field:
    """Light that passes the stains, (3, n, n) in [0, 1], by the Beer-Lambert law.

    Every batch of stain and every lamp differ, and alike for all classes: strength and hue of each
    stain, color and brightness of the light.
    """
    strength = np.exp(rng.normal(0, 0.16, (3, 1)) + rng.normal(0, 0.12))
    stains = np.array([PURPLE, PINK, BLUE]) * strength * np.exp(rng.normal(0, 0.1, (3, 3)))
    mix = rng.uniform()
    lamp = np.array(WARM_LIGHT) * mix + np.array(COOL_LIGHT) * (1 - mix)
    lamp = (lamp * rng.uniform(0.9, 1.03)).astype(np.float32)
    density = np.einsum("sc,sij->cij", stains.astype(np.float32), plane)  # (3, n, n)
    return np.asarray(lamp[:, None, None] * np.exp(-density), dtype=np.float32)


# ---------------------------------------------------------------- for callers


def draw(label: int, seed: int, size: int) -> NDArray[np.uint8]:
    """Draw one phantom cell.

    Args:
        label: Index into `CLASSES`.
        seed: The image is a function of (label, seed, size) and of nothing else.
        size: Side in pixels, at least 16; 32 shows every class, 64 and more show it better.

    Returns:
        RGB image, shape (size, size, 3), uint8.

    Raises:
        InputError: If there is no such class, or the size is too small to draw a cell.
    """
    plane, _, _, rng = _stained(label, seed, size)
    light = _light(plane, rng)
    blur, noise = 0.008 + 0.03 * rng.beta(1.2, 3.0), rng.uniform(0.004, 0.018)
    return expose(light, size, blur, noise, rng)


def phantom_masks(label: int, seed: int, size: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The true nucleus and cell of what `draw` draws for the same arguments.

    A pixel belongs to them where they take at least half of its area, before all blur. The nucleus
    of `granular` is the one that was drawn, also where granules hide it.

    Args:
        label: See `draw`.
        seed: See `draw`.
        size: See `draw`.

    Returns:
        Nucleus and cell (nucleus included), each of shape (size, size).

    Raises:
        InputError: See `draw`.
    """
    _, nucleus, cell, _ = _stained(label, seed, size)
    shown = [resize_local_mean(field, (size, size)) >= 0.5 for field in (nucleus, cell)]
    return shown[0], shown[1]


def _stained(label: int, seed: int, size: int) -> tuple[Field, Field, Field, np.random.Generator]:
    """Thickness of each stain (3, n, n), cover of nucleus and cell (n, n), and the generator after them."""
    if not 0 <= label < len(CLASSES):
        raise InputError(f"phantom class {label} does not exist; give 0 to {len(CLASSES) - 1}.")
    if size < SMALLEST_SIZE:
        raise InputError(f"phantom image_size {size} is too small; give at least {SMALLEST_SIZE}.")
    kind = KINDS[CLASSES[label]]
    rng = numpy_generator("phantom", label, seed)
    plane = np.zeros((3, fine(size), fine(size)), dtype=np.float32)
    scale = rng.uniform(0.9, 1.1)
    _red_cells(plane, size, rng, scale, clear=scale * sum(kind.radius) / 2)
    nucleus, cell = _white_cell(plane, kind, size, rng, scale)
    return plane, nucleus, cell, rng


def phantoms(counts: Mapping[str, int], size: int, seed: int, split: str = "") -> CellSet:
    """Draw a set of phantom cells.

    Args:
        counts: Cells per class, e.g. `DEFAULT_COUNTS`; a class left out gets none.
        size: Side of the images in pixels.
        seed: Cell i of a class is a function of (seed, split, class, i): more cells, or other
            classes beside it, leave it as it is, and two splits share no cell.
        split: "train", "val", "test" or "" for a set that is still to be split.

    Returns:
        Cells in the order of `CLASSES`, origin "phantom", every cell its own group.

    Raises:
        InputError: If a class is unknown or a count negative.
    """
    for name, count in counts.items():
        if name not in CLASSES:
            raise InputError(f"counts.{name}: unknown phantom class.{suggest(name, CLASSES)}")
        if count < 0:
            raise InputError(f"counts.{name}: {count} is negative; give 0 or more.")
    keys = [(label, i) for label, name in enumerate(CLASSES) for i in range(counts.get(name, 0))]
    pixels = np.empty((len(keys), size, size, 3), dtype=np.uint8)
    for row, (label, i) in enumerate(keys):
        pixels[row] = draw(label, seed_of(seed, split, CLASSES[label], i), size)
    names = [f"{CLASSES[label]}/phantom_{split or 'cell'}_{i:05d}" for label, i in keys]
    return CellSet.from_arrays(
        pixels,
        np.array([label for label, _ in keys], dtype=np.int64),
        CLASSES,
        names=names,
        splits=[split] * len(keys),
        origin="phantom",
    )
