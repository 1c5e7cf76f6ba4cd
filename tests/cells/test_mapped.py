"""Large arrays lie on disk: the same images, as views or mapped files, and nothing left behind."""

from pathlib import Path

import numpy as np
import pytest

from cells import CellSet, mapped
from cells.mapped import chunks, collected, gathered, joined, release
from cells.split import SplitSettings, divide
from runtime.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (150, 4, 4, 3), dtype=np.uint8)
INDEXES = {
    "ascending": np.arange(1, 150, 2),
    "any order": np.random.default_rng(1).permutation(150)[:70],
    "negative": np.arange(-80, 70),
    "twice": np.repeat(np.arange(50), 2),
    "boolean": np.arange(150) % 3 > 0,
}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every array with images is a large one."""
    monkeypatch.setattr(mapped, "LARGE", 1)


@pytest.mark.parametrize("rows", INDEXES.values(), ids=INDEXES)
def test_rows_of_a_large_array_are_mapped_and_the_same(large: None, rows: np.ndarray) -> None:
    found = gathered(PIXELS, rows)
    assert isinstance(found.base, np.memmap) and not found.flags.writeable
    assert np.array_equal(found, PIXELS[rows])


def resident(path: Path) -> int:
    """kB of a mapped file that count as this process's."""
    found = 0
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    for line in lines:
        if line.endswith(str(path)):
            found += next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="reads what Linux says of a process")
def test_what_was_read_of_a_file_is_let_go(tmp_path: Path) -> None:
    np.save(tmp_path / "pack.npy", np.zeros((640, 32, 32, 3), np.uint8))
    pixels = np.asarray(np.load(tmp_path / "pack.npy", mmap_mode="r"))
    assert pixels.max() == 0 and resident(tmp_path / "pack.npy") > 1800
    release(pixels[3:600])
    assert resident(tmp_path / "pack.npy") == 0
    assert sum(int(images.sum()) + len(images) for images in chunks(pixels)) == 640
    assert resident(tmp_path / "pack.npy") == 0
    assert len(CellSet.from_arrays(pixels, [0] * 640, ["a"]).digests) == 640
    assert resident(tmp_path / "pack.npy") == 0


def test_what_no_file_has_is_not_let_go(tmp_path: Path) -> None:
    np.save(tmp_path / "pack.npy", np.zeros((9, 32, 32, 3), np.uint8))
    pixels = np.load(tmp_path / "pack.npy", mmap_mode="c")
    pixels[:] = 7
    release(pixels)
    release(PIXELS)
    assert pixels.min() == 7


@pytest.mark.parametrize("rows", [np.arange(20, 90), (np.arange(150) >= 20) & (np.arange(150) < 90)])
def test_neighboring_rows_of_a_large_array_are_a_view(large: None, rows: np.ndarray) -> None:
    found = gathered(PIXELS, rows)
    assert np.shares_memory(found, PIXELS) and np.array_equal(found, PIXELS[20:90])


def test_small_arrays_are_copies_in_memory() -> None:
    for found in (gathered(PIXELS, np.arange(20, 90)), joined([PIXELS[20:50], PIXELS[50:90]])):
        assert not np.shares_memory(found, PIXELS) and not isinstance(found.base, np.memmap)
        assert np.array_equal(found, PIXELS[20:90])


def test_a_wrong_index_is_not_taken_for_another(large: None) -> None:
    for rows in (np.array([150]), np.ones(149, bool)):
        with pytest.raises(IndexError):
            gathered(PIXELS, rows)


def test_joined_and_collected_are_mapped_and_leave_no_file(large: None, tmp_path: Path) -> None:
    both = joined([PIXELS, PIXELS[:3]])
    assert isinstance(both.base, np.memmap) and np.array_equal(both, np.concatenate([PIXELS, PIXELS[:3]]))
    assert np.array_equal(collected(iter([PIXELS[:9], PIXELS[9:]]), PIXELS.shape), PIXELS)
    assert list((tmp_path / "cache").iterdir()) == [], "the files have no names"


def test_a_cache_that_takes_no_file_is_an_input_error(
    large: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RARECELL_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(InputError, match="RARECELL_CACHE"):
        joined([PIXELS, PIXELS])


def test_sides_of_a_large_set_are_mapped_and_the_split_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    cells = CellSet.from_arrays(PIXELS, np.arange(150) % 2, ("a", "b"))
    settings = SplitSettings(near_duplicates=False)
    usual = divide(cells, settings)
    monkeypatch.setattr(mapped, "LARGE", 1)
    split = divide(cells, settings)
    assert split.digest == usual.digest
    for side, expected in ((split.train, usual.train), (split.val, usual.val), (split.test, usual.test)):
        assert isinstance(side.pixels.base, np.memmap)
        assert np.array_equal(side.pixels, expected.pixels)
    both = split.val + split.test
    assert isinstance(both.pixels.base, np.memmap) and both.digest == (usual.val + usual.test).digest
    assert both.resized(8).digest == (usual.val + usual.test).resized(8).digest
