"""Scores with n, floor and fingerprint; no number where there are too few cells."""

import json
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import evaluation.quality.fidelity as module
from cells.cellset import CellSet
from evaluation.quality.fidelity import METRICS, comparison_key, fidelity, frechet
from runtime.errors import InputError

CLASSES = ("a", "b", "c")


class Painted:
    """Features known to the test: a function of the pixels' first rows, plus a class mean."""

    name = "painted"

    def __init__(self, width: int = 8, weights: str = "0") -> None:
        self.width = width
        self.fingerprint: dict[str, Any] = {
            "encoder": "painted",
            "weights": weights,
            "resize": "none",
        }

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        flat = cells.pixels.reshape(len(cells), -1)[:, : self.width]
        return ((flat.astype(np.float32) - 128) / 40 + cells.labels[:, None]).astype(np.float32)


def cells(
    counts: dict[str, int], seed: int = 0, noise: float = 30.0, origin: str = "real", edge: int = 8
) -> CellSet:
    random = np.random.default_rng(seed)
    n = sum(counts.values())
    pixels = np.clip(128 + noise * random.standard_normal((n, edge, edge, 3)), 0, 255).astype(np.uint8)
    labels = np.repeat([CLASSES.index(name) for name in counts], list(counts.values()))
    split = "test" if origin == "real" else ""
    return CellSet.from_arrays(pixels, labels, CLASSES, origin=origin, splits=split)


REAL = cells({"a": 120, "b": 60, "c": 40})
GOOD = cells({"a": 150, "b": 70, "c": 45}, seed=1, origin="synthetic")


def test_every_metric_has_value_matched_floor_and_n() -> None:
    found = fidelity(REAL, GOOD, Painted(), floor_repeats=4, seed=0)
    assert tuple(found["overall"]) == METRICS
    for entry in found["overall"].values():
        assert (entry["n_reference"], entry["n_synthetic"]) == (120, 120)  # 40 of each class
        for part in (entry["matched"], entry["floor"]):
            assert part["low"] <= part["value"] <= part["high"]
            assert (part["n"], part["repeats"]) == (60, 4)
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert entry["error"] > 0
    assert json.loads(json.dumps(found)) == found


def test_a_copy_of_the_distribution_scores_at_its_floor_and_noise_far_above() -> None:
    good = fidelity(REAL, GOOD, Painted(), seed=0)["overall"]
    noisy = cells({"a": 150, "b": 70, "c": 45}, seed=1, noise=70, origin="synthetic")
    bad = fidelity(REAL, noisy, Painted(), seed=0)["overall"]
    for metric in ("frechet", "kid"):
        assert good[metric]["matched"]["value"] < 2 * good[metric]["floor"]["high"]
        assert bad[metric]["matched"]["low"] > good[metric]["floor"]["high"]
    assert bad["precision"]["value"] < good["precision"]["value"]
    assert bad["coverage"]["value"] < good["coverage"]["value"]


def test_the_mean_over_classes_names_its_classes() -> None:
    found = fidelity(REAL, GOOD, Painted(), floor_repeats=4)
    kid, coverage = found["class_mean"]["kid"], found["class_mean"]["coverage"]
    assert kid["value"] == pytest.approx(np.mean([found["per_class"][c]["kid"]["value"] for c in CLASSES]))
    assert kid["low"] < kid["value"] < kid["high"]
    assert (kid["classes"], coverage["classes"], coverage["of"]) == (list(CLASSES), ["a", "b"], 3)
    assert "reason" in found["class_mean"]["frechet"]


def test_the_overall_distance_is_extrapolated_to_infinitely_many_cells() -> None:
    found = fidelity(REAL, GOOD, Painted(), floor_repeats=4)
    entry = found["overall"]["frechet"]
    infinite = entry["infinite"]
    assert infinite["low"] <= infinite["value"] <= infinite["high"]
    assert infinite["value"] < entry["value"]
    assert [n for n, _ in infinite["points"]] == [120, 81, 60, 39, 30]
    assert infinite["points"][0][1] == entry["value"] and not infinite["rough"]
    assert fidelity(REAL, GOOD, Painted(64), floor_repeats=2)["overall"]["frechet"]["infinite"]["rough"]
    assert all("infinite" not in one["frechet"] for one in found["per_class"].values())
    few = fidelity(cells({"a": 12}), cells({"a": 12}, 1), Painted(), floor_repeats=2)
    assert few["overall"]["frechet"]["infinite"] == {"reason": "not computable, n = 12"}


def test_large_sides_are_scored_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The four that the blocks give are those of the small form; their spread is scaled to all cells."""
    real, made = cells({"a": 300}), cells({"a": 300}, seed=1, noise=40)
    small = fidelity(real, made, Painted(), floor_repeats=10)["overall"]
    monkeypatch.setattr(module, "PAIRWISE_CELLS", 100)
    large = fidelity(real, made, Painted(), floor_repeats=10)["overall"]
    for metric in ("precision", "recall", "density", "coverage"):
        assert large[metric]["value"] == pytest.approx(small[metric]["value"], rel=1e-12)
        assert large[metric]["n_reference"] == 300 and large[metric]["floor"]["n"] == 50
        assert 0.3 < large[metric]["error"] / small[metric]["error"] < 3
    assert large["kid"]["n_reference"] == 100


class Telling(Painted):
    """With logits that are sure of each cell, and of ever another class."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return 50 * np.eye(8, dtype=np.float32)[np.abs(features).argmax(axis=1)]


def test_the_inception_score_needs_logits_and_cells() -> None:
    plain = fidelity(REAL, GOOD, Painted(), floor_repeats=2)["inception_score"]
    assert "Inception's logits only" in plain["reason"]
    score = fidelity(REAL, GOOD, Telling(), floor_repeats=2)["inception_score"]
    assert 1 < score["low"] < score["value"] < score["high"] < 8
    assert score["n"] == 120 and 1 < score["real"]["value"] <= 8
    few = fidelity(cells({"a": 99}), cells({"a": 99}, 1), Telling(), floor_repeats=2)
    assert few["inception_score"] == {"reason": "not computable, n = 99"}


def test_the_floor_does_not_depend_on_the_synthetic_cells() -> None:
    bad = cells({"a": 150, "b": 70, "c": 45}, seed=3, noise=90, origin="synthetic")
    first = fidelity(REAL, GOOD, Painted(), floor_repeats=3)["overall"]
    second = fidelity(REAL, bad, Painted(), floor_repeats=3)["overall"]
    assert first["frechet"]["floor"] == second["frechet"]["floor"]
    assert first["kid"]["floor"] == pytest.approx(second["kid"]["floor"], rel=1e-9)


def test_per_class_thresholds() -> None:
    real = cells({"a": 600, "b": 60, "c": 19})
    made = cells({"a": 520, "b": 49, "c": 300}, seed=1, origin="synthetic")
    found = fidelity(real, made, Painted(), floor_repeats=2)["per_class"]
    numbers = {name: [m for m in METRICS if "value" in found[name][m]] for name in CLASSES}
    assert numbers == {"a": list(METRICS), "b": ["kid"], "c": []}
    assert found["b"]["frechet"] == {"reason": "not computable, n = 49"}
    assert found["c"]["kid"] == {"reason": "not computable, n = 19"}
    assert found["a"]["frechet"]["n_reference"] == 600
    assert found["a"]["frechet"]["matched"]["n"] == 300


def test_a_class_without_cells_is_left_out_and_named() -> None:
    made = cells({"a": 150, "b": 70}, seed=1, origin="synthetic")
    found = fidelity(REAL, made, Painted(), floor_repeats=2)
    assert found["left_out"] == {"c": "40 reference and 0 synthetic cells"}
    assert found["fingerprint"]["classes"] == ["a", "b"]
    assert found["overall"]["frechet"]["n_reference"] == 120  # 60 of a and of b
    assert found["per_class"]["c"]["kid"] == {"reason": "not computable, n = 0"}


def test_a_handful_of_one_class_does_not_shrink_the_mix() -> None:
    made = cells({"a": 150, "b": 70, "c": 4}, seed=1, origin="synthetic")
    found = fidelity(REAL, made, Painted(), floor_repeats=2)
    assert found["fingerprint"]["n_synthetic"] == 120
    assert found["left_out"] == {"c": "40 reference and 4 synthetic cells"}


def test_very_few_cells_give_reasons_not_errors() -> None:
    found = fidelity(cells({"a": 3}), cells({"a": 2}, 1), Painted(), floor_repeats=2)["overall"]
    assert "value" in found["frechet"]
    assert found["frechet"]["floor"] == {"reason": "not computable, n = 1"}
    assert found["frechet"]["low"] is None
    assert found["coverage"] == {"reason": "not computable, n = 2"}


def test_name_is_fid_with_inception_only() -> None:
    assert fidelity(REAL, GOOD, Painted(), floor_repeats=2)["name"] == "Fréchet distance (painted)"
    named = Painted()
    named.name = "Inception"
    assert fidelity(REAL, GOOD, named, floor_repeats=2)["name"] == "FID"


def test_fingerprints_keep_apart_what_is_not_comparable() -> None:
    base = fidelity(REAL, GOOD, Painted(), floor_repeats=2)
    same = fidelity(REAL, cells(GOOD.counts, 7, origin="synthetic"), Painted(), floor_repeats=2)
    others = [
        fidelity(REAL, GOOD, Painted(weights="1"), floor_repeats=2),
        fidelity(REAL, GOOD.subset(GOOD.labels < 2), Painted(), floor_repeats=2),
        fidelity(REAL, GOOD.subset(np.arange(0, 265, 2)), Painted(), floor_repeats=2),
        fidelity(cells(REAL.counts, 5), GOOD, Painted(), floor_repeats=2),
        fidelity(cells(REAL.counts, edge=10), cells(GOOD.counts, edge=10), Painted(), floor_repeats=2),
    ]
    assert comparison_key(same) == comparison_key(base)
    assert len({comparison_key(found) for found in (base, *others)}) == 6
    assert base["fingerprint"]["reference_split"] == "test"


def test_the_same_seed_gives_the_same_numbers() -> None:
    first, second = (fidelity(REAL, GOOD, Painted(), floor_repeats=3, seed=4) for _ in range(2))
    assert first == second
    assert fidelity(REAL, GOOD, Painted(), floor_repeats=3, seed=5) != first


def test_value_is_the_metric_of_all_cells_at_equal_n() -> None:
    real, made = cells({"b": 60}), cells({"b": 60}, seed=1)
    found = fidelity(real, made, Painted(), floor_repeats=2)["overall"]["frechet"]
    direct = frechet(Painted().encode(real), Painted().encode(made))
    assert found["value"] == pytest.approx(direct, rel=1e-9)


@pytest.mark.parametrize(
    ("reference", "synthetic", "words"),
    [
        (GOOD, GOOD, "synthetic cells"),
        (cells({"a": 30}), cells({"b": 30}), "no class in common"),
        (REAL, cells({"a": 30}, edge=12), "resize"),
        (REAL, CellSet.from_arrays(GOOD.pixels, GOOD.labels, ("a", "b", "x")), "same classes"),
    ],
)
def test_unusable_sides_are_refused(reference: CellSet, synthetic: CellSet, words: str) -> None:
    with pytest.raises(InputError, match=words):
        fidelity(reference, synthetic, Painted())


def test_a_study_sized_call_is_quick() -> None:
    counts = dict.fromkeys(CLASSES, 250)
    begun = time.monotonic()
    fidelity(cells(counts), cells(counts, 1, origin="synthetic"), Painted(64), floor_repeats=10)
    assert time.monotonic() - begun < 20
