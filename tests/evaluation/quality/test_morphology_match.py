"""Distances between distributions of morphology, on numbers and on phantoms whose truth is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from cells.cellset import XRAY, CellSet
from cells.morphology import COLUMNS, Morphology, as_csv
from cells.nuclear import HsvMasks, OtsuMasks
from cells.phantom import CLASSES, phantoms
from cells.reading import read_set
from cells.writing import file_names_of, write_set
from evaluation.quality.morphology_match import (
    MEASURES,
    circular_distance,
    circular_mean,
    distance,
    known_numbers,
    morphology_match,
)
from evaluation.reports.morphology_table import morphology_tables
from runtime.config import to_dict
from runtime.rundir import write_text

RANDOM = np.random.default_rng(0)


def noise(counts: list[int]) -> CellSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = RANDOM.integers(0, 256, (len(labels), 8, 8, 3), dtype=np.uint8)
    return CellSet.from_arrays(pixels, labels, CLASSES[: len(counts)])


def said(cells: CellSet, found: Morphology) -> dict[str, NDArray[np.float64]]:
    return dict(zip(cells.digests, found.values, strict=True))


def numbers(count: int, **columns: Any) -> Morphology:
    values = RANDOM.normal(50, 5, (count, len(COLUMNS)))
    for name, column in columns.items():
        values[:, COLUMNS.index(name)] = column
    return Morphology(COLUMNS, values)


def test_circular_distance_is_the_least_over_all_cuts() -> None:
    one, other = RANDOM.uniform(0, 360, 40), RANDOM.normal(350, 30, 60) % 360
    cuts = [distance((one - cut) % 360, (other - cut) % 360) for cut in np.linspace(0, 360, 720)]
    found = circular_distance(one, other)
    assert found <= min(cuts) + 1e-9  # no flow has to go around: the least cut comes near
    assert found == pytest.approx(circular_distance(other, one))
    assert circular_distance(one, (one + 360) % 360) == pytest.approx(0)


def test_circular_distance_goes_over_the_top() -> None:
    assert circular_distance(np.array([355.0]), np.array([5.0])) == pytest.approx(10)
    assert circular_distance(np.array([90.0]), np.array([270.0])) == pytest.approx(180)
    low = RANDOM.normal(100, 5, 50)
    assert circular_distance(low, low + 7) == pytest.approx(7) == distance(low, low + 7)
    turned = circular_distance((low + 258) % 360, (low + 265) % 360)  # the same across the top
    assert turned == pytest.approx(7)
    assert circular_mean(np.array([350.0, 10.0])) % 360 == pytest.approx(0, abs=1e-6)


def test_a_shift_is_told_in_standard_deviations_with_its_floor() -> None:
    one, other = noise([100]), noise([100])
    real = numbers(100)
    made = Morphology(COLUMNS, real.values.copy())
    made.values[:, COLUMNS.index("granularity")] += 10
    found = morphology_match(one, other, known=said(one, real) | said(other, made))
    entries = found["per_class"][CLASSES[0]]
    assert entries["granularity"]["distance"] == pytest.approx(10)
    assert entries["granularity"]["value"] == pytest.approx(10 / real["granularity"].std())
    assert entries["granularity"]["matched"]["low"] > entries["granularity"]["floor"]["high"]
    assert entries["nucleus_area"]["value"] == 0
    distances, medians = morphology_tables(found)
    shown = entries["granularity"]
    assert distances[2][0][4] == f"{shown['matched']['value']:.2f} [{shown['floor']['value']:.2f}], n = 50"
    assert medians[2][0][4] == f"{shown['synthetic'][2]:.3g} [{shown['reference'][2]:.3g}]"
    assert entries["nucleus_area"]["floor"]["n"] == 50 and entries["nucleus_area"]["n_synthetic"] == 100
    assert entries["granularity"]["synthetic"][2] == pytest.approx(
        entries["granularity"]["reference"][2] + 10
    )


def test_few_missing_and_equal_values_give_reasons() -> None:
    cells = noise([30, 19])
    gone = np.where(np.arange(49) < 11, np.nan, 5.0)
    real = numbers(49, lobes=1.0, nucleus_hue=gone)
    found = morphology_match(cells, cells, known=said(cells, real))
    first, second = found["per_class"].values()
    assert first["lobes"] == {"reason": "not computable: all 30 real cells have 1"}
    assert first["nucleus_hue"] == {"reason": "not computable, n = 19"}  # the others have no nucleus
    assert {entry["reason"] for entry in second.values()} == {"not computable, n = 19"}


def test_xrays_have_no_morphology() -> None:
    cells = noise([30])
    found = morphology_match(cells.with_modality(XRAY), cells)
    assert "X-rays" in found["reason"] and morphology_tables(found) == []


def test_phantoms_are_measured_and_other_kinds_of_cells_lie_far() -> None:
    own, same, other = (
        phantoms({c: 24}, 32, s) for c, s in ((CLASSES[0], 1), (CLASSES[0], 2), (CLASSES[3], 3))
    )
    real, twin, alien = (CellSet.from_arrays(s.pixels, [0] * 24, CLASSES[:1]) for s in (own, same, other))
    near, far = (
        morphology_match(real, made, floor_repeats=2)["per_class"][CLASSES[0]] for made in (twin, alien)
    )
    assert set(near) == set(MEASURES)
    assert far["nucleus_area"]["value"] > 2 * near["nucleus_area"]["value"]


def test_numbers_beside_a_written_set_are_used_where_they_fit(tmp_path: Path) -> None:
    cells = noise([3, 2])
    found = numbers(5)
    write_set(cells, tmp_path / "train", morphology=as_csv(found, file_names_of(cells)))
    read = read_set(tmp_path / "train")
    assert known_numbers(tmp_path / "train", read) == {}  # nothing says by which masks
    write_text(tmp_path / "config.yaml", yaml.safe_dump({"masks": to_dict(HsvMasks())}))
    assert known_numbers(tmp_path / "train", read) == {}
    write_text(tmp_path / "config.yaml", yaml.safe_dump({"masks": to_dict(OtsuMasks())}))
    known = known_numbers(tmp_path / "train", read)
    assert list(known) == list(cells.digests)
    assert known[str(cells.digests[4])] == pytest.approx(found.values[4], rel=1e-5)
    assert known_numbers(tmp_path / "train", read.subset([0, 1])) == {}  # not the cells of the table
