"""The accuracy score tells cells that teach from cells that do not."""

import json

import numpy as np
import pytest

from cells.cellset import CellSet
from classifiers.training import ClassifierSettings
from evaluation.quality.cas import classification_accuracy
from runtime.errors import InputError

CLASSES = ("dark", "bright", "green")
QUICK = ClassifierSettings(network="fast", width=8, steps=40, batch=24, augmentation="none")


def cells(count: int, seed: int, origin: str = "real", swapped: bool = False) -> CellSet:
    """Flat colors with noise; swapped: dark cells under the name of bright ones and the reverse."""
    labels = np.repeat([0, 1, 2], count)
    colors = np.array([[60, 60, 60], [190, 190, 190], [60, 190, 60]])
    shown = np.array([1, 0, 2])[labels] if swapped else labels
    noise = np.random.default_rng(seed).normal(0, 15, (len(labels), 16, 16, 3))
    pixels = np.clip(colors[shown][:, None, None] + noise, 0, 255).astype(np.uint8)
    return CellSet.from_arrays(pixels, labels, CLASSES, origin=origin)


REAL, HOLDOUT = cells(20, 1), cells(15, 2)


def test_good_cells_teach_as_much_as_real_ones() -> None:
    found = classification_accuracy(REAL, cells(30, 3, "synthetic"), HOLDOUT, QUICK, seed=0)
    assert found["n_train"] == dict.fromkeys(CLASSES, 20) and found["left_out"] == {}
    for name in ("synthetic_to_real", "real_to_real", "real_to_synthetic"):
        assert found[name]["value"] > 0.9
        assert found[name]["low"] <= found[name]["value"] <= found[name]["high"] <= 1
    assert found["gap"]["low"] <= 0 <= found["gap"]["high"]
    assert found["real_to_synthetic"]["per_class"]["dark"]["n"] == 30
    assert found["synthetic_to_real"]["per_class"]["dark"]["n"] == 15
    assert json.loads(json.dumps(found)) == found


def test_swapped_classes_teach_the_wrong_thing() -> None:
    found = classification_accuracy(REAL, cells(30, 3, "synthetic", swapped=True), HOLDOUT, QUICK, seed=0)
    score, converse = found["synthetic_to_real"]["per_class"], found["real_to_synthetic"]["per_class"]
    assert score["dark"]["value"] < 0.2 and score["bright"]["value"] < 0.2 < 0.8 < score["green"]["value"]
    assert converse["dark"]["value"] < 0.2 and converse["green"]["value"] > 0.8
    assert found["real_to_real"]["value"] > 0.9
    assert found["gap"]["high"] < 0
    mean = np.mean([one["value"] for one in score.values()])
    assert found["synthetic_to_real"]["value"] == pytest.approx(mean)


def test_a_class_without_synthetic_cells_is_left_out_and_named() -> None:
    made = cells(30, 3, "synthetic")
    found = classification_accuracy(REAL, made.subset(made.labels != 2), HOLDOUT, QUICK, seed=0)
    assert found["classes"] == ["dark", "bright"]
    assert found["left_out"] == {"green": "20 real, 0 synthetic, 15 holdout cells"}
    assert list(found["real_to_real"]["per_class"]) == ["dark", "bright"]
    one = classification_accuracy(REAL, made.subset(made.labels == 1), HOLDOUT, QUICK, seed=0)
    assert one == {"reason": "not computable: 1 class(es) with cells on every side"}


def test_sides_that_do_not_fit_are_refused() -> None:
    made = cells(5, 3, "synthetic")
    with pytest.raises(InputError, match="leave synthetic ones out"):
        classification_accuracy(REAL, made, made, QUICK, seed=0)
    other = CellSet.from_arrays(made.pixels, made.labels, ("dark", "bright", "blue"))
    with pytest.raises(InputError, match="same classes"):
        classification_accuracy(REAL, other, HOLDOUT, QUICK, seed=0)
