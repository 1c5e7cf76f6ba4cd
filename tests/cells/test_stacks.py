from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cells.cellset import CellSet, Loaded
from cells.cross_site import joined
from cells.manifest import ManifestData
from cells.partition import image_clusters
from cells.reading import read_set
from cells.sources import load
from cells.split import SplitSettings, divide
from cells.stacks import by_stack, is_stacked, rows_of_stacks
from cells.trees import FolderData
from cells.writing import write_set
from runtime.errors import InputError

Row = dict[str, Any]


def rows_of(stacks: int, depth: int = 2) -> list[Row]:
    """Rows of a manifest: stacks of classes a and b by turns, their images in reverse order."""
    return [
        {"file": f"{stack}-{index}.png", "label": "ab"[stack % 2], "stack": f"s{stack}", "index": index}
        for stack in range(stacks)
        for index in reversed(range(depth))
    ]


def manifest(root: Path, rows: list[Row], blank: int | None = None) -> ManifestData:
    """Files and table; the images of index `blank` are all white."""
    draws = np.random.default_rng(0)
    for row in rows:
        pixels = draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels | 255 if row["index"] == blank else pixels).save(root / row["file"])
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    (root / "cells.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ManifestData(root=root / "cells.csv", image_size=16)


def stacks_on(cells: CellSet) -> set[str]:
    return {said["stack"] for said in cells.provenance}


def test_a_manifest_of_stacks_is_read_in_the_order_of_the_indices(tmp_path: Path) -> None:
    cells = load(manifest(tmp_path, rows_of(3, depth=3)))
    assert is_stacked(cells) and len(cells) == 9
    assert rows_of_stacks(cells).tolist() == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]
    assert cells.names[rows_of_stacks(cells)[1]].tolist() == ["1-0.png", "1-1.png", "1-2.png"]


def test_stacks_outlive_saving_subsets_and_sums(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    cells = load(manifest(tmp_path / "in", rows_of(4)))
    write_set(cells, tmp_path / "saved")
    as_tree = load(FolderData(root=tmp_path / "saved", image_size=16))
    halves = cells.subset(range(4)) + cells.subset(range(4, 8))
    for same in (read_set(tmp_path / "saved"), as_tree, halves):
        np.testing.assert_array_equal(rows_of_stacks(same), rows_of_stacks(cells))
        assert same.groups.tolist() == cells.groups.tolist()


def test_a_stack_is_on_one_side_of_a_split_and_of_every_fold(tmp_path: Path) -> None:
    cells = load(manifest(tmp_path, rows_of(12)))
    for settings in (SplitSettings(), SplitSettings(folds=3, fold=1)):
        split = divide(cells, settings)
        sides = [stacks_on(part) for part in (split.train, split.val, split.test)]
        assert sum(map(len, sides)) == 12 and len(set.union(*sides)) == 12
        assert all(rows_of_stacks(part).shape[1] == 2 for part in (split.train, split.val, split.test))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "b"}, r"line 3: stack 's0' has class 'b' here and 'a' at .*line 2; give all images"),
        ({"group": "q"}, r"line 3: stack 's0' has group 'q' here and 'p' at"),
        ({"split": "test"}, r"line 3: stack 's0' has split 'test' here and 'train' at"),
        ({"stack": ""}, r"line 3: has no stack, and other images have one; fill in"),
        ({"index": ""}, r"line 3: has no index \(an integer\); number the images of stack 's0'"),
        ({"index": 1}, r"line 3: index 1 of stack 's0' is that of .*line 2 as well"),
        ({"index": 5}, r"line 2: stack 's0' has no readable image of index 0, and other stacks have; add it"),
    ],
    ids=lambda value: next(iter(value)) + str(next(iter(value.values()))) if isinstance(value, dict) else "",
)
def test_a_contradiction_is_named_with_its_row(tmp_path: Path, change: Row, message: str) -> None:
    rows = [{**row, "group": "p", "split": "train"} for row in rows_of(4)]
    rows[1] |= change
    with pytest.raises(InputError, match=message):
        load(manifest(tmp_path, rows))


def test_an_index_alone_is_no_stack(tmp_path: Path) -> None:
    rows = [{**row, "stack": ""} for row in rows_of(4)]
    assert not is_stacked(load(manifest(tmp_path, rows)))


def test_an_unreadable_image_leaves_no_stack_that_lacks_it(tmp_path: Path) -> None:
    settings = manifest(tmp_path, rows_of(4))
    (tmp_path / "2-0.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="stack 's2' has no readable image of index 0"):
        load(settings.model_copy(update={"unreadable": 0.5}))


def test_groups_of_stacks_may_be_patients(tmp_path: Path) -> None:
    rows = [{**row, "group": f"p{i // 4}"} for i, row in enumerate(rows_of(4))]
    assert sorted(set(load(manifest(tmp_path, rows)).groups)) == ["p0", "p1"]


def test_a_blank_slice_in_all_stacks_is_no_leak_and_a_copied_stack_is(tmp_path: Path) -> None:
    sides = ["train"] * 4 + ["val"] * 2 + ["test"] * 2
    rows = [{**row, "split": sides[i // 3]} for i, row in enumerate(rows_of(8, depth=3))]
    cells = load(manifest(tmp_path, rows, blank=0))
    assert len(set(cells.digests)) == 17
    split = divide(cells, SplitSettings())
    assert [len(part) for part in (split.train, split.val, split.test)] == [12, 6, 6]
    pixels = cells.pixels.copy()
    pixels[18:20] = pixels[0:2]  # two of three images of a test stack are those of a training stack
    copied = CellSet.from_arrays(
        pixels,
        cells.labels,
        cells.classes,
        groups=list(cells.groups),
        splits=list(cells.splits),
        provenance=list(cells.provenance),
    )
    with pytest.raises(InputError, match=r"is in train and in test \(3 such cells\)"):
        divide(copied, SplitSettings())
    rest = divide(copied, SplitSettings(leaks="drop", near_duplicates=False))
    assert stacks_on(rest.train) == {"s1", "s2", "s3"}


def test_single_images_count_as_before() -> None:
    cells = CellSet.from_arrays(np.zeros((3, 8, 8, 3), np.uint8), [0, 0, 1], ("a", "b"))
    images = image_clusters(cells, ())
    assert by_stack(cells, images) is images


def test_stacks_of_two_sites_are_not_one_stack(tmp_path: Path) -> None:
    loaded = []
    for site in ("one", "other"):
        (tmp_path / site).mkdir()
        loaded.append(Loaded(load(manifest(tmp_path / site, rows_of(2)))))
    both = joined(loaded[0], loaded[1], {}, drop_unmatched=False).cells
    assert stacks_on(both) == {"train/s0", "train/s1", "test/s0", "test/s1"}


def broken(cells: CellSet) -> CellSet:
    return cells.subset([0, 1, 2])


def mixed(cells: CellSet) -> CellSet:
    return cells + CellSet.from_arrays(cells.pixels[:1], [0], cells.classes)


@pytest.mark.parametrize(("change", "message"), [(broken, "not whole stacks"), (mixed, "is of no stack")])
def test_parts_of_stacks_are_refused(
    tmp_path: Path, change: Callable[[CellSet], CellSet], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        rows_of_stacks(change(load(manifest(tmp_path, rows_of(4)))))


def test_trimming_is_refused(tmp_path: Path) -> None:
    cells = load(manifest(tmp_path, rows_of(12)))
    with pytest.raises(InputError, match=r"trimming of stacks .* is not supported; leave the columns"):
        divide(cells, SplitSettings.model_validate({"long_tail": {"counts": {"a": 2}}}))
