"""Directions: on phantoms, whose truth is known, each fault of a generator moves the figure it should."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier, ClassifierSettings
from evaluation.scoring import ScoreSettings, score

SIZE, EACH, NETWORK = 24, 60, {"network": "fast", "sampler": "balanced", "steps": 60, "batch": 64}
KINDS = ("lobed", "round", "blast")  # drawn; "mixed" is the class of the first two: it has two modes
NAMES = ("mixed", "blast")
MIXED = np.array([0, 0, 1])

Pixels = NDArray[np.uint8]


def drawn(seed: int, counts: Mapping[str, int]) -> CellSet:
    """Cells of the kinds, in the classes of this file."""
    cells = of_kinds(seed, counts)
    return CellSet.from_arrays(cells.pixels, MIXED[cells.labels], NAMES)


def of_kinds(seed: int, counts: Mapping[str, int]) -> CellSet:
    """The same in the classes that are drawn."""
    cells = phantoms(counts, SIZE, seed)
    kinds = [KINDS.index(CLASSES[label]) for label in cells.labels]
    return CellSet.from_arrays(cells.pixels, kinds, KINDS)


class Bench:
    """Real cells, unseen ones, an encoder that knows the kinds, and a judge of the two classes."""

    def __init__(self, folder: Path) -> None:
        even = dict.fromkeys(KINDS, EACH)
        self.real, self.unseen, self.honest = (drawn(seed, even) for seed in (1, 2, 3))
        encoder = Classifier(KINDS, ClassifierSettings.model_validate(NETWORK))
        encoder.fit(of_kinds(4, even), seed=5)
        encoder.save(folder / "encoder")
        self.folder = folder
        self.found: dict[str, dict[str, Any]] = {}

    def settings(self, labels: bool) -> ScoreSettings:
        return ScoreSettings.model_validate(
            {
                "encoder": {"kind": "domain", "path": self.folder / "encoder"},
                "judge": NETWORK,
                "labels": labels,
                "floor_repeats": 2,
            }
        )

    def score(self, pixels: Pixels, labels: NDArray[np.int64], judge: bool = False) -> dict[str, Any]:
        sides = (self.real, (pixels, labels), self.unseen)
        found = score(*sides, classes=NAMES, settings=self.settings(judge), cache=self.folder)
        return found.result

    def named(self, name: str) -> dict[str, Any]:
        """The result of a fault, scored once."""
        if name not in self.found:
            pixels, labels = self.faulty(name)
            self.found[name] = self.score(pixels, labels, judge=name in ("honest", "swapped"))
        return self.found[name]

    def faulty(self, name: str) -> tuple[Pixels, NDArray[np.int64]]:
        pixels, labels = np.array(self.honest.pixels), np.array(self.honest.labels)
        if name == "copied":
            pixels, labels = np.array(np.rot90(self.real.pixels, axes=(1, 2))), np.array(self.real.labels)
        elif name == "swapped":
            labels = 1 - labels
        elif name == "one mode":
            cells = drawn(7, {"round": 2 * EACH, "blast": EACH})
            pixels, labels = np.array(cells.pixels), np.array(cells.labels)
        else:
            assert name == "honest"
        return pixels, labels


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("directions"))


def of_class(result: Mapping[str, Any], name: str) -> dict[str, float]:
    entries = result["fidelity"]["per_class"][name]
    return {metric: entry["value"] for metric, entry in entries.items() if "value" in entry}


def test_a_dropped_mode_lowers_coverage_and_recall(bench: Bench) -> None:
    whole, dropped = (of_class(bench.named(name), "mixed") for name in ("honest", "one mode"))
    assert dropped["coverage"] < 0.7 * whole["coverage"]
    assert dropped["recall"] < 0.8 * whole["recall"]
    assert dropped["precision"] > 0.7 * whole["precision"]  # what is left is as real as before
    intact, before = (of_class(bench.named(name), "blast") for name in ("one mode", "honest"))
    assert intact["coverage"] > 0.7 * before["coverage"]  # the other class has all of its cells


def test_copies_raise_every_copy_measure(bench: Bench) -> None:
    honest, copied = (bench.named(name)["near_copies"] for name in ("honest", "copied"))
    assert min(copied["per_class"].values()) == 1.0
    assert (honest["copies"], copied["copies"]) == (False, True)
    for one, other in ((honest, copied), (honest["features"], copied["features"])):
        assert other["share"] > 0.9 > 0.1 > one["share"], one["space"]
        assert other["ratio"]["share"] > one["ratio"]["share"]
        assert other["authenticity"]["share"] < one["authenticity"]["share"]  # fewer are new
        assert other["worst"][-1]["distance"] < one["worst"][0]["distance"]
    # in features the attack says nothing: this encoder may know the members
    attack, vain = (found["membership"]["pixels"]["auc"] for found in (copied, honest))
    assert attack > 0.9 > 0.65 > vain


def test_swapped_classes_show_in_the_label_matrix(bench: Bench) -> None:
    right, swapped = (bench.named(name)["label_agreement"] for name in ("honest", "swapped"))
    assert right["share"] > 0.8
    assert swapped["share"] < 0.2
    # rows of the swapped set are those of the honest one, exchanged
    assert swapped["matrix"] == right["matrix"][::-1]
    assert {(p["intended"], p["predicted"]) for p in swapped["confused"]} >= {("mixed", "blast")}
    for name in NAMES:
        assert of_class(bench.named("swapped"), name)["coverage"] < 0.5
