"""What is to be labelled, and what is refused before it."""

from pathlib import Path

import pytest

from evaluation.predictions.inputs import find_samples
from runtime.errors import InputError

HEADER = "file,stack,index"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files with names of images."""
    for name in ("a0", "a1", "b0", "b1"):
        (tmp_path / f"{name}.png").touch()
    return tmp_path


def table(folder: Path, *lines: str, name: str = "new.csv") -> Path:
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def test_stacks_are_in_the_order_of_the_table_and_their_images_in_that_of_the_indices(folder: Path) -> None:
    rows = table(folder, HEADER, "b1.png,b,10", "a0.png,a,9", "b0.png,b,9", "a1.png,a,10")
    found = find_samples(rows, 2)
    assert [sample.name for sample in found] == ["b", "a"]
    assert [[file.name for file in sample.files] for sample in found] == [
        ["b0.png", "b1.png"],
        ["a0.png", "a1.png"],
    ]


def test_a_table_may_list_single_images_from_anywhere(folder: Path) -> None:
    (folder / "tables").mkdir()
    rows = table(folder, "file,label", "../b1.png,?", "../a0.png,?", name="tables/new.csv")
    found = find_samples(rows, 0)
    assert [sample.name for sample in found] == ["../b1.png", "../a0.png"]
    assert [sample.files for sample in found] == [(folder / "b1.png",), (folder / "a0.png",)]


def lines(*said: str) -> list[str]:
    return [
        f'{{"file_name": "{file}.png", "stack": "{stack}", "index": {index}}}'
        for file, stack, index in map(str.split, said)
    ]


def test_a_folder_that_prepare_wrote_says_what_its_stacks_are(folder: Path) -> None:
    table(folder, *lines("a0 a 0", "a1 a 1", "b0 b 0", "b1 b 1"), name="metadata.jsonl")
    assert [sample.name for sample in find_samples(folder, 2)] == ["a", "b"]
    with pytest.raises(InputError, match="lists stacks, and this classifier takes single images"):
        find_samples(folder, 0)
    table(folder, *lines("a0 a 0", "a1 a 1", "b0 b 0"), name="metadata.jsonl")
    with pytest.raises(InputError, match=r"b1\.png: is in no stack, and metadata\.jsonl lists others"):
        find_samples(folder, 2)


@pytest.mark.parametrize("text", ["no JSON", '{"note": 1}', '{"file_name": "a0.png"}'])
def test_any_other_file_of_that_name_changes_nothing(folder: Path, text: str) -> None:
    table(folder, text, name="metadata.jsonl")
    assert [sample.name for sample in find_samples(folder, 0)] == ["a0.png", "a1.png", "b0.png", "b1.png"]
    with pytest.raises(
        InputError, match="has single images, and this classifier takes stacks of 2; set images"
    ):
        find_samples(folder, 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([HEADER, "a0.png,a,0", "a1.png,a,1", "b0.png,b,0"], "stack 'b' has no readable image of index 1"),
        ([HEADER, "a0.png,a,0", "a1.png,a,0"], "line 3: index 0 of stack 'a' is that of"),
        ([HEADER, "a0.png,a,0", "a1.png,a,x"], "line 3: has no index"),
        ([HEADER, "a0.png,a,0", "a1.png,,"], "line 3: has no stack, and other images have one"),
        ([HEADER, "a0.png,a,0", "a0.png,a,1"], "line 3 lists .*a0.png again, after .*line 2"),
        ([HEADER, ",a,0"], "line 2 has no usable 'file'"),
        ([HEADER], "lists no images, it has a header only"),
        (["image,stack,index", "a0.png,a,0"], "has no column 'file'"),
        ([HEADER, "a0.png,,", "a1.png,,"], "has single images, and this classifier takes stacks of 2"),
        (
            [HEADER, *(f"{n}.png,a,{n}" for n in range(3))],
            "its stacks have 3 images, .* trained on stacks of 2",
        ),
    ],
)
def test_a_table_that_contradicts_itself_or_the_classifier_is_refused(
    folder: Path, rows: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        find_samples(table(folder, *rows), 2)


def test_a_file_that_is_no_table_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"a0\.png: is no table; set images to a folder"):
        find_samples(folder / "a0.png", 0)
