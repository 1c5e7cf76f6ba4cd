"""Planted copies are found, whatever way they were turned; unseen cells are flagged as promised."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.memorization import CopyDetector, near_copies
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


def planted(change: object, every: int = 6) -> CellSet:
    assert callable(change)
    some = TRAIN.subset(np.arange(0, len(TRAIN), every))
    pixels = np.stack([change(image) for image in some.pixels])
    return CellSet.from_arrays(pixels, some.labels, CLASSES, origin="synthetic")


@pytest.mark.parametrize("change", [same, turned, flipped_and_turned, re_encoded])
def test_planted_copies_are_found_with_their_source(change: object) -> None:
    copies = planted(change)
    found = near_copies(copies + FRESH, TRAIN, HELD_OUT)
    worst = [pair for pair in found["worst"] if pair["copy"]]
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
    assert detector.flags(HELD_OUT).mean() == pytest.approx(0.05, abs=0.01)
    assert detector.calibrated_on == len(HELD_OUT)
    assert CopyDetector(TRAIN, HELD_OUT).flags(HELD_OUT).mean() == pytest.approx(0.01, abs=0.005)


def test_unseen_cells_are_hardly_flagged() -> None:
    found = near_copies(FRESH, TRAIN, HELD_OUT)
    assert found["share"] < 0.05
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
    assert (found["share"], found["worst"]) == (None, [])


def test_what_cannot_be_calibrated_is_refused() -> None:
    with pytest.raises(InputError, match="calibrated"):
        CopyDetector(TRAIN.subset(TRAIN.labels == 0), HELD_OUT.subset(HELD_OUT.labels == 1))
    other = CellSet.from_arrays(FRESH.pixels[:2], [0, 0], ["x"])
    with pytest.raises(InputError, match="same classes"):
        near_copies(other, TRAIN, HELD_OUT)
