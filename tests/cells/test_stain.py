"""Stain models: known stains are found, and what has none is told apart."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2lab

from cells.phantom import phantoms
from cells.stain import (
    LARGEST_TURN,
    Stains,
    amounts_of,
    is_gray,
    lab_statistics,
    light_of,
    matched,
    optical_density,
    recolor,
    restain,
    stains_of,
    to_levels,
    turn,
)

AZURE, EOSIN = np.array([0.65, 0.70, 0.29]), np.array([0.07, 0.99, 0.11])
STAINS = np.stack([AZURE / np.linalg.norm(AZURE), EOSIN / np.linalg.norm(EOSIN)])
WHITE = np.full(3, 250.0)


def stained(
    vectors: NDArray[np.float64] = STAINS, strength: float = 1.0, seed: int = 0, size: int = 64
) -> NDArray[np.uint8]:
    """A field with pure areas of two stains, mixtures, and a fifth of clear background."""
    random = np.random.default_rng(seed)
    amounts = random.uniform(0.2, 0.8, (size * size, 2)) * strength
    part = random.integers(0, 5, size * size)
    amounts[part == 0] = 0
    amounts[part == 1, 1] = 0
    amounts[part == 2, 0] = 0
    return to_levels(amounts @ vectors, WHITE).reshape(size, size, 3)


def fitted(image: NDArray[np.uint8]) -> Stains:
    found = stains(image)
    assert found is not None
    return found


def stains(image: NDArray[np.uint8]) -> Stains | None:
    light = light_of(image)
    return stains_of(optical_density(image, light).reshape(-1, 3), light)


def degrees(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip(one @ other, -1, 1))))


def test_density_and_levels_are_each_others_inverse() -> None:
    pixels = np.arange(251, dtype=np.uint8).repeat(3).reshape(-1, 3)
    assert np.array_equal(to_levels(optical_density(pixels, WHITE + 1), WHITE + 1), pixels)
    tenth = optical_density(np.array([[9, 19, 24]], np.uint8), np.array([100.0, 200.0, 250.0]))
    assert tenth == pytest.approx(np.ones((1, 3)))  # a tenth of the light passes: density 1


def test_known_stains_and_amounts_are_found() -> None:
    found = fitted(stained())
    assert degrees(found.vectors[0], STAINS[0]) < 2 and degrees(found.vectors[1], STAINS[1]) < 2
    assert found.angle == pytest.approx(degrees(*STAINS), abs=3)
    assert found.amounts == pytest.approx([0.8, 0.8], abs=0.05)
    assert found.light == pytest.approx(WHITE, abs=1.5)
    assert found.suit


def test_amounts_are_least_squares() -> None:
    amounts = np.array([[0.3, 0.5], [0.0, 0.7]])
    assert amounts_of(amounts @ STAINS, STAINS) == pytest.approx(amounts)


def test_restaining_brings_another_batch_of_stain_to_the_target() -> None:
    target = fitted(stained(seed=1))
    turned = STAINS + np.array([[0.12, -0.1, 0.08], [0.1, -0.08, 0.12]])
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    other, wanted = stained(turned, strength=0.8), stained()  # the same amounts of other stains
    made = restain(other, target)
    assert made is not None
    before = np.abs(other.astype(float) - wanted).mean()
    assert np.abs(made.astype(float) - wanted).mean() < 0.3 * before


def test_an_image_with_little_of_a_stain_is_not_given_a_lot() -> None:
    target = fitted(stained(strength=1.8))
    made = restain(stained(strength=0.3), target)
    assert made is not None
    assert fitted(made).amounts == pytest.approx(2 * 0.3 * np.array([0.8, 0.8]), rel=0.15)


def test_restaining_with_its_own_stains_changes_little() -> None:
    image = stained()
    made = restain(image, fitted(image))
    assert made is not None
    assert np.abs(made.astype(int) - image).mean() < 2


@pytest.mark.parametrize(
    "image",
    [
        np.full((32, 32, 3), 240, np.uint8),
        np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8),
        np.random.default_rng(0).integers(0, 256, (32, 32, 1), dtype=np.uint8).repeat(3, axis=2),
        np.where(np.arange(64)[:, None, None] < 32, 0, stained()).astype(np.uint8),
    ],
    ids=["blank", "noise", "gray", "half black"],
)
def test_what_two_stains_do_not_describe_is_left_alone(image: NDArray[np.uint8]) -> None:
    assert restain(image, fitted(stained())) is None


def test_reinhard_gives_the_targets_statistics() -> None:
    mean, spread = np.array([70.0, 15.0, -10.0]), np.array([9.0, 6.0, 5.0])
    made = recolor(stained(), mean, spread)
    assert made is not None
    lab = rgb2lab(made).reshape(-1, 3)
    assert lab.mean(axis=0) == pytest.approx(mean, abs=0.3)
    assert lab.std(axis=0) == pytest.approx(spread, rel=0.05)


def test_reinhard_with_its_own_statistics_changes_nothing() -> None:
    image = stained()
    made = recolor(image, *lab_statistics(image))
    assert made is not None and np.abs(made.astype(int) - image).max() <= 1


def test_reinhard_leaves_flat_images_alone() -> None:
    gray = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8).repeat(3, axis=2)
    assert recolor(gray, np.zeros(3), np.ones(3)) is None


def test_gray_is_told_from_color() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    assert is_gray(np.stack([ramp, np.resize(stained(size=16), ramp.shape)])).tolist() == [True, False]


def test_phantoms_suit_the_model() -> None:
    cells = phantoms({"lobed": 30, "granular": 30, "blast": 30}, 64, 0)
    assert np.mean([fitted(image).suit for image in cells.pixels]) > 0.95


def _some(pattern: str, folder: Path, size: int, count: int = 24) -> list[NDArray[np.uint8]]:
    files = sorted(folder.glob(pattern))
    chosen = files[:: max(1, len(files) // count)]
    return [np.asarray(Image.open(path).convert("RGB").resize((size, size))) for path in chosen]


@pytest.mark.parametrize(
    ("folder", "least", "most"),
    [
        ("pbc-lt-128/val", 0.95, 1),
        ("all-taleqani-sample/original", 0.95, 1),
        ("all-taleqani-sample/segmented", 0, 0.1),  # black around the cells: no light comes from there
        ("chest-xray-sample", 0, 0),
    ],
)
def test_real_images_suit_the_model_where_they_are_stained(
    shared: Path, folder: str, least: float, most: float
) -> None:
    images = _some("*/*.*", shared / "data" / folder, 96)
    share = np.mean([own is not None and own.suit for own in map(stains, images)])
    assert least <= share <= most


def test_a_stain_is_taken_for_the_one_it_is_most_like() -> None:
    target = fitted(stained())
    swapped = replace(target, vectors=target.vectors[::-1], amounts=target.amounts[::-1])
    for own in (target, swapped):
        assert np.array_equal(matched(own, target).vectors, target.vectors)
        assert np.array_equal(matched(own, target).amounts, target.amounts)
        assert turn(matched(own, target), target) == pytest.approx(0, abs=1e-4)


def test_an_image_of_other_stains_is_left_alone() -> None:
    others = np.array([[0.3, 0.3, 0.9], [0.1, 0.9, 0.4]])
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    image, target = stained(others), fitted(stained())
    own = fitted(image)
    assert own.suit and turn(matched(own, target), target) > LARGEST_TURN
    assert restain(image, target) is None
    assert restain(image, own) is not None
