"""Features by cell: read back as they were, by any subset, beside other writers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.features.encoders import CachedEncoder
from evaluation.features.feature_cache import add_rows, read_rows
from runtime.errors import InputError

CELLS = phantoms(dict.fromkeys(CLASSES[:2], 3), 28, 1)
KEYS = [f"{i:064x}" for i in range(1200)]


class Asked:
    """Mean color, and which cells it was asked for."""

    name = "asked"
    fingerprint = {"encoder": "asked"}  # noqa: RUF012

    def __init__(self) -> None:
        self.counts: list[int] = []

    def encode(self, cells: CellSet) -> np.ndarray:
        self.counts.append(len(cells))
        return cells.pixels.mean(axis=(1, 2), dtype=np.float32).reshape(-1, 3)


def test_only_cells_that_are_new_are_encoded(tmp_path: Path) -> None:
    inner = Asked()
    encoder = CachedEncoder(inner, tmp_path)
    part = encoder.encode(CELLS.subset([4, 1]))
    whole = encoder.encode(CELLS)
    assert inner.counts == [2, 4]
    assert np.array_equal(whole, CELLS.pixels.mean(axis=(1, 2), dtype=np.float32))
    assert np.array_equal(whole[[4, 1]], part)
    assert np.array_equal(encoder.encode(CELLS.subset([2, 2, 0])), whole[[2, 2, 0]])
    assert inner.counts == [2, 4]


def test_equal_cells_are_encoded_once(tmp_path: Path) -> None:
    inner = Asked()
    features = CachedEncoder(inner, tmp_path).encode(CELLS.subset([3, 3, 0, 3]))
    assert inner.counts == [2] and np.array_equal(features[0], features[3])


def test_more_rows_than_one_query_takes(tmp_path: Path) -> None:
    file = tmp_path / "f.sqlite"
    rows = np.random.default_rng(0).normal(size=(len(KEYS), 3)).astype(np.float32)
    add_rows(file, zip(KEYS, rows, strict=True))
    add_rows(file, [(KEYS[0], rows[1])])  # what is there stays
    found = read_rows(file, [*KEYS, "absent"])
    assert len(found) == len(KEYS) and np.array_equal([found[key] for key in KEYS], rows)


WRITER = """
import sys
from pathlib import Path
import numpy as np
from evaluation.features.feature_cache import add_rows
for start in range(int(sys.argv[2]), 1200, 400):
    add_rows(Path(sys.argv[1]), [(f"{i:064x}", np.array([start, i])) for i in range(start, start + 300)])
"""


def test_processes_write_at_the_same_time(tmp_path: Path) -> None:
    file = tmp_path / "f.sqlite"
    words = [sys.executable, "-c", WRITER, str(file)]
    writers = [subprocess.Popen([*words, str(first)]) for first in (0, 100, 200)]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    assert len(read_rows(file, KEYS)) == len(KEYS)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.sqlite").mkdir()
    with pytest.raises(InputError, match=r"f\.sqlite: features cannot be kept here"):
        add_rows(tmp_path / "f.sqlite", [])
