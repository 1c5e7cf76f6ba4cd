"""Near duplicates are looked for once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cells import found_pairs as module
from cells.cellset import CellSet
from cells.found_pairs import found_pairs, write_pairs


@pytest.fixture
def cells() -> CellSet:
    """Twelve cells of which the last is the first, turned."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    pixels = pixels.repeat(5, axis=1).repeat(5, axis=2)
    pixels[-1] = pixels[0].swapaxes(0, 1)
    return CellSet.from_arrays(pixels, [0] * 12, ["a"])


def never(_: CellSet) -> Any:
    raise AssertionError("these cells have been looked at")


@pytest.fixture
def another_process(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """One that remembers nothing."""
    monkeypatch.setattr(module, "_remembered", {})
    return monkeypatch


def test_a_process_looks_once(cells: CellSet, tmp_path: Path, another_process: pytest.MonkeyPatch) -> None:
    first = found_pairs(cells, tmp_path / "none.json")
    assert [(pair.first, pair.second) for pair in first.pairs] == [(0, 11)]
    another_process.setattr(module, "near_duplicates", never)
    assert found_pairs(cells, tmp_path / "none.json") == first


def test_another_process_reads_what_was_found(
    cells: CellSet, tmp_path: Path, another_process: pytest.MonkeyPatch
) -> None:
    first = found_pairs(cells, tmp_path / "near.json")
    write_pairs(tmp_path / "near.json", first)
    another_process.setattr(module, "_remembered", {})
    another_process.setattr(module, "near_duplicates", never)
    assert found_pairs(cells, tmp_path / "near.json") == first


@pytest.mark.parametrize("rows", [range(11), [*range(1, 12), 0]])
def test_what_was_found_in_other_cells_is_not_used(
    cells: CellSet, tmp_path: Path, another_process: pytest.MonkeyPatch, rows: Any
) -> None:
    write_pairs(tmp_path / "near.json", found_pairs(cells, tmp_path / "near.json"))
    other = found_pairs(cells.subset(np.array(rows)), tmp_path / "near.json")
    assert [(pair.first, pair.second) for pair in other.pairs] == ([] if len(rows) == 11 else [(10, 11)])


def test_only_the_last_sets_are_remembered(
    cells: CellSet, tmp_path: Path, another_process: pytest.MonkeyPatch
) -> None:
    for row in range(6):
        found_pairs(cells.subset(np.array([row, row + 1])), tmp_path / "none.json")
    assert len(module._remembered) == module.REMEMBERED
