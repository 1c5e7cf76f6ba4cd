import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cells import CellSet
from cells.long_tail import LongTailSettings
from cells.sources import PbcData, SplitFolderData, load
from cells.split import LeakError, SplitSettings, divide
from cells.split_file import read_split, write_split
from cells.writing import write_set
from runtime.errors import InputError


def cells(
    counts: Sequence[int] = (60, 12), splits: Sequence[str] | str = "", seed: int = 0, size: int = 4
) -> CellSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), size, size, 3), dtype=np.uint8)
    names = [f"x/{i}.png" for i in range(len(labels))]
    return CellSet.from_arrays(pixels, labels, ["a", "b"], names=names, splits=splits)


def saved(whole: CellSet, file: Path, **words: Any) -> Path:
    made = SplitSettings(**words)
    write_split(file, divide(whole, made), made)
    return file


DESIGNS: list[dict[str, Any]] = [
    {"seed": 4},
    {"folds": 4, "repeats": 2, "fold": 6},
    {"long_tail": LongTailSettings(factor=6)},
    {"folds": 3, "long_tail": LongTailSettings(counts={"b": 2}, seed=3)},
]


@pytest.mark.parametrize("design", DESIGNS)
def test_a_file_makes_the_very_same_split_again(design: dict[str, Any], tmp_path: Path) -> None:
    whole = cells()
    first = divide(whole, SplitSettings(**design))
    file = saved(whole, tmp_path / "split.json", **design)
    turned = whole.subset(np.random.default_rng(0).permutation(len(whole)))
    again = divide(turned, SplitSettings(file=file))
    assert again.digest == first.digest == read_split(file).digest
    for one, other in ((first.train, again.train), (first.val, again.val), (first.test, again.test)):
        assert sorted(one.names) == sorted(other.names)
    assert sorted(again.dropped) == sorted(first.dropped)


def test_a_file_is_written_again_as_it_was(tmp_path: Path) -> None:
    file = saved(cells(), tmp_path / "a.json", folds=3, fold=1)
    follow = SplitSettings(file=file)
    write_split(tmp_path / "b.json", divide(cells(), follow), follow)
    assert (tmp_path / "b.json").read_bytes() == file.read_bytes()
    assert read_split(file).settings["fold"] == 1
    assert str(tmp_path) not in file.read_text(), "no path of this machine is in it"


def test_it_is_small_and_says_what_is_in_it(tmp_path: Path) -> None:
    file = saved(cells(), tmp_path / "split.json", long_tail=LongTailSettings(counts={"b": 4}))
    found = json.loads(file.read_text())
    assert file.stat().st_size < 80 * 72 + 1500
    assert found["counts"] == {"train": {"a": 42, "b": 4}, "val": {"a": 9, "b": 2}, "test": {"a": 9, "b": 2}}
    assert {name: len(lines) for name, lines in found["dropped"]["long_tail"].items()} == {"b": 4}
    assert set(found["versions"]) == {"rarecell", "numpy"}


def test_a_file_overrules_the_split_that_cells_come_with(tmp_path: Path) -> None:
    file = saved(cells(), tmp_path / "split.json")
    premade = cells(splits=(["train"] * 4 + ["val", "test"]) * 12)
    assert divide(premade, SplitSettings(file=file)).digest == read_split(file).digest


def test_a_written_set_is_split_by_its_own_file_though_dropped_cells_are_gone(tmp_path: Path) -> None:
    made = SplitSettings(long_tail=LongTailSettings(factor=5))
    split = divide(cells(size=8), made)
    write_split(tmp_path / "split.json", split, made)
    for side, part in (("train", split.train), ("val", split.val), ("test", split.test)):
        write_set(part, tmp_path / "set" / side)
    back = load(SplitFolderData(root=tmp_path / "set", image_size=8))
    assert divide(back, SplitSettings(file=tmp_path / "split.json")).digest == split.digest


def changed(whole: CellSet, row: int) -> CellSet:
    pixels = whole.pixels.copy()
    pixels[row] ^= 1
    return CellSet.from_arrays(pixels, whole.labels, whole.classes, names=list(whole.names))


def renamed(whole: CellSet, row: int) -> CellSet:
    names = list(whole.names)
    names[row] = "new.png"
    return CellSet.from_arrays(whole.pixels, whole.labels, whole.classes, names=names)


def relabelled(whole: CellSet, row: int) -> CellSet:
    labels = whole.labels.copy()
    labels[row] = 1 - labels[row]
    return CellSet.from_arrays(whole.pixels, labels, whole.classes, names=list(whole.names))


def without(whole: CellSet, row: int) -> CellSet:
    return whole.subset(np.delete(np.arange(len(whole)), row))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(
        [
            (changed, r"x/{row}\.png: its pixels are not those"),
            (renamed, r"new\.png: is not in"),
            (relabelled, r"x/{row}\.png: is of class '.', and in .* of class '.'"),
            (without, r"puts x/{row}\.png in .*no such cell"),
        ]
    ),
    st.integers(0, 71),
)
def test_any_other_cell_is_named(
    tmp_path_factory: pytest.TempPathFactory, way: tuple[Callable[[CellSet, int], CellSet], str], row: int
) -> None:
    file = saved(cells(), tmp_path_factory.mktemp("split") / "split.json")
    spoil, message = way
    with pytest.raises(InputError, match=message.format(row=row)):
        divide(spoil(cells(), row), SplitSettings(file=file))


def test_another_size_is_said_to_be_that(tmp_path: Path) -> None:
    file = saved(cells(), tmp_path / "split.json")
    with pytest.raises(InputError, match="split of cells of 4 px, and these have 8; set image_size=4"):
        divide(cells(size=8), SplitSettings(file=file))


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    file = saved(cells(), tmp_path / "split.json")
    record = json.loads(file.read_text())
    record["cells"]["train"]["a"].append(record["cells"]["test"]["a"].pop())
    file.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"split\.json: says that it is split .* it was edited"):
        divide(cells(), SplitSettings(file=file))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; name a split.json"),
        ("{", "not readable as JSON"),
        ('{"digest": "0"}', "is not a split file"),
        ("[]", "is not a split file"),
        ('{"format": "rarecell split 1"}', "'digest' is missing"),
    ],
)
def test_what_is_no_split_file_is_an_input_error(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "split.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message):
        divide(cells(), SplitSettings(file=file))


def test_two_rows_of_one_file_keep_their_places(tmp_path: Path) -> None:
    twice = cells() + cells().subset([0])  # as a manifest may list a file twice
    file = saved(twice, tmp_path / "split.json")
    again = divide(twice, SplitSettings(file=file))
    assert again.digest == read_split(file).digest
    with pytest.raises(InputError, match=r"puts x/0\.png in"):
        divide(cells(), SplitSettings(file=file))


def leaking() -> CellSet:
    """Two classes; the first cell of train is in test as well."""
    whole = cells((20, 20), splits=(["train"] * 12 + ["val"] * 4 + ["test"] * 4) * 2)
    pixels = whole.pixels.copy()
    pixels[19] = pixels[0]
    return CellSet.from_arrays(
        pixels, whole.labels, whole.classes, names=list(whole.names), splits=list(whole.splits)
    )


def test_dropped_leaks_stay_dropped(tmp_path: Path) -> None:
    file = saved(leaking(), tmp_path / "split.json", leaks="drop")
    again = divide(leaking(), SplitSettings(file=file))
    assert [(cell.name, cell.reason) for cell in again.dropped] == [("x/0.png", "leaking")]


def test_allowed_leaks_must_be_allowed_again(tmp_path: Path) -> None:
    file = saved(leaking(), tmp_path / "split.json", leaks="allow")
    for leaks in ("refuse", "drop"):
        with pytest.raises(LeakError, match=r"x/0\.png: the same image is in train and in test.*leaks=allow"):
            divide(leaking(), SplitSettings(file=file, leaks=leaks))  # type: ignore[arg-type]
    again = divide(leaking(), SplitSettings(file=file, leaks="allow"))
    assert again.digest == read_split(file).digest


def test_real_cells(shared: Path, tmp_path: Path) -> None:
    whole = load(PbcData(root=shared / "data" / "pbc-original-sample", image_size=28))
    file = saved(whole, tmp_path / "split.json", folds=5, fold=3)
    assert divide(whole, SplitSettings(file=file)).digest == read_split(file).digest
    assert file.stat().st_size < 100 * len(whole)
