"""Planted copies are found, whatever way they were turned; unseen cells are flagged as promised."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.copies.detector import CopyDetector, Group
from evaluation.copies.memorization import chance, near_copies
from evaluation.copies.pairs import pairs_sheet
from runtime.errors import InputError

Pixels = NDArray[np.uint8]
TRAIN = phantoms(dict.fromkeys(CLASSES, 60), 28, 1)
HELD_OUT = phantoms(dict.fromkeys(CLASSES, 50), 28, 2)
FRESH = phantoms(dict.fromkeys(CLASSES, 50), 28, 3)


def same(image: Pixels) -> Pixels:
    return image


def turned(image: Pixels) -> Pixels:
    return np.rot90(image).copy()


def flipped_and_turned(image: Pixels) -> Pixels:
    return np.rot90(image[:, ::-1], 3).copy()


def re_encoded(image: Pixels) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image[::-1])).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def relit(factor: float) -> Callable[[Pixels], Pixels]:
    return lambda image: np.clip(image[::-1] * factor, 0, 255).round().astype(np.uint8)


def tinted(image: Pixels) -> Pixels:
    return np.clip(image * np.array([1.06, 0.96, 1.02]), 0, 255).round().astype(np.uint8)


def planted(change: object, every: int = 6) -> CellSet:
    assert callable(change)
    some = TRAIN.subset(np.arange(0, len(TRAIN), every))
    pixels = np.stack([change(image) for image in some.pixels])
    return CellSet.from_arrays(pixels, some.labels, CLASSES, origin="synthetic")


@pytest.mark.parametrize(
    "change", [same, turned, flipped_and_turned, re_encoded, relit(0.92), relit(1.08), tinted]
)
def test_planted_copies_are_found_with_their_source(change: object) -> None:
    copies = planted(change)
    found = near_copies(copies + FRESH, TRAIN, HELD_OUT)
    worst = [pair for pair in found["worst"] if pair["copy"]]
    assert found["copies"] and found["sentence"].startswith("COPIES")
    assert found["share"] >= 0.98 * len(copies) / (len(copies) + len(FRESH))
    assert len(worst) == 20
    for pair in worst:
        assert pair["synthetic_index"] < len(copies)
        assert pair["train_index"] == pair["synthetic_index"] * 6
        assert pair["class"] == TRAIN.classes[TRAIN.labels[pair["train_index"]]]


def test_an_exact_copy_is_at_distance_zero() -> None:
    found = near_copies(planted(turned), TRAIN, HELD_OUT)["worst"][0]
    assert found["rms"] == pytest.approx(0, abs=1e-6)


def test_the_threshold_flags_the_promised_share_of_held_out_cells() -> None:
    detector = CopyDetector(TRAIN, HELD_OUT, per_flag=0.05)
    assert detector.flags(HELD_OUT).mean() == pytest.approx(0.05, abs=0.015)
    assert detector.calibrated_on == len(HELD_OUT)
    assert CopyDetector(TRAIN, HELD_OUT).flags(HELD_OUT).mean() == pytest.approx(0.01, abs=0.005)


def test_unseen_cells_are_hardly_flagged() -> None:
    found = near_copies(FRESH, TRAIN, HELD_OUT)
    assert found["share"] < 0.05
    assert found["copies"] is False and found["sentence"].startswith("No evidence of copying. In pixels")
    assert found["n"] == len(FRESH)
    assert set(found["per_class"]) == set(CLASSES)


def test_copies_are_sought_within_the_class() -> None:
    wrong = planted(same)
    shifted = CellSet.from_arrays(
        wrong.pixels, (wrong.labels + 1) % len(CLASSES), CLASSES, origin="synthetic"
    )
    assert near_copies(shifted, TRAIN, HELD_OUT)["share"] < 0.2


def test_a_class_unknown_to_training_is_never_a_copy() -> None:
    train = TRAIN.subset(TRAIN.labels > 0)
    found = near_copies(planted(same), train, HELD_OUT)
    assert found["per_class"][CLASSES[0]] == 0
    assert found["calibrated_on"] == len(HELD_OUT) - 50


def test_no_synthetic_cell_has_no_share() -> None:
    found = near_copies(FRESH.subset(np.arange(0)), TRAIN, HELD_OUT)
    assert (found["share"], found["worst"], found["copies"]) == (None, [], None)


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(InputError, match="calibrated"):
        CopyDetector(TRAIN.subset(TRAIN.labels == 0), HELD_OUT.subset(HELD_OUT.labels == 1))
    other = CellSet.from_arrays(FRESH.pixels[:2], [0, 0], ["x"])
    with pytest.raises(InputError, match="same classes"):
        near_copies(other, TRAIN, HELD_OUT)


def test_average_cells_are_near_to_many_and_copies_of_none() -> None:
    random = np.random.default_rng(0)
    means = [
        HELD_OUT.pixels[random.choice(np.flatnonzero(HELD_OUT.labels == label), 20)].mean(0).round()
        for label in range(len(CLASSES))
        for _ in range(20)
    ]
    labels = np.repeat(np.arange(len(CLASSES)), 20)
    smooth = CellSet.from_arrays(np.stack(means).astype(np.uint8), labels, CLASSES, origin="synthetic")
    assert CopyDetector(TRAIN, HELD_OUT).flags(smooth).mean() < 0.1


def test_a_class_with_a_hundred_unseen_cells_has_a_threshold_of_its_own() -> None:
    counts = {CLASSES[0]: 120, CLASSES[1]: 20}
    found = near_copies(FRESH, TRAIN, phantoms(counts, 28, 5))["thresholds"]
    assert [found[name]["own"] for name in CLASSES] == [True, *[False] * 5]
    assert [found[name]["n"] for name in CLASSES] == [120, 20, 0, 0, 0, 0]
    assert len({found[name]["score"] for name in CLASSES[:2]}) == 2


def test_a_lone_training_cell_is_left_out_and_said() -> None:
    train = TRAIN.subset(np.r_[0, np.flatnonzero(TRAIN.labels > 0)])
    found = near_copies(FRESH, train, HELD_OUT)
    assert found["unjudged"] == {CLASSES[0]: 50}
    assert found["n"] == len(FRESH) - 50


@pytest.mark.parametrize(("flagged", "expected"), [(0, 1.0), (1, 1 - 100 / 102), (2, 2 / (101 * 102))])
def test_the_chance_of_flags_is_exact(flagged: int, expected: float) -> None:
    """One new cell falls below the least of 100 with probability 1/101; two with 2! 100! / 102!."""
    assert chance(flagged, [Group(100, 1, 2)]) == pytest.approx(expected, rel=1e-9)


def test_the_chance_adds_groups() -> None:
    one, two = Group(100, 1, 1), Group(199, 2, 1)
    assert chance(1, [one, two]) == pytest.approx(1 - (100 / 101) * (198 / 200), rel=1e-9)
    assert chance(2, [one, two]) == pytest.approx((1 / 101) * (2 / 200), rel=1e-9)


def test_an_honest_generator_is_hardly_ever_marked() -> None:
    """The verdict by chance alone: scores without any images, threshold and cells drawn anew each time."""
    random, marked = np.random.default_rng(3), 0
    for _ in range(400):
        threshold = np.sort(random.random(150))[0]
        marked += chance(int((random.random(300) <= threshold).sum()), [Group(150, 1, 300)]) <= 0.01
    assert marked <= 10


def test_the_sheet_shows_each_pair_and_frames_copies() -> None:
    copies = planted(turned) + FRESH
    found = near_copies(copies, TRAIN, HELD_OUT)
    with Image.open(io.BytesIO(pairs_sheet(copies, TRAIN, found, count=5, columns=3, edge=40))) as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape == (2 * (40 + 32 + 24), 3 * (82 + 24), 3)
    shown = Image.fromarray(copies.pixels[found["worst"][0]["synthetic_index"]])
    assert np.array_equal(pixels[12:52, 12:52], shown.resize((40, 40), Image.Resampling.BICUBIC))
    assert tuple(pixels[9, 60]) == (0xC8, 0x55, 0x3D)  # the frame
    honest = near_copies(FRESH.subset(np.arange(0)), TRAIN, HELD_OUT)
    with pytest.raises(InputError, match="no pair"):
        pairs_sheet(FRESH, TRAIN, honest)
