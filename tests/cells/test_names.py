import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cells import CellSet
from cells.names import check_class_names
from cells.reading import read_set
from cells.sources import FolderData, load
from cells.writing import write_set
from runtime.errors import InputError


@pytest.mark.parametrize(
    "name",
    ["", "  ", ".", "..", ".git", "a/b", "a\\b", "$HOME", "a\0", "a\nb", "a\x1b[1m", "a\u2028b", "é" * 200],
)
def test_what_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"data\.csv: class name .*rename"):
        check_class_names([name], "data.csv")


def test_quotes_and_markup_are_legal() -> None:
    check_class_names(
        ["it's", '"x"', "<script>alert(1)</script>".replace("/", ""), "Größe", "細胞", "a b"], "x"
    )


@pytest.mark.parametrize(
    ("one", "other"), [("Blast", "blast"), ("é", "e\u0301"), ("straße", "STRASSE"), ("Å", "a\u030a")]
)
def test_twins_are_refused_by_name(one: str, other: str) -> None:
    with pytest.raises(InputError, match="differ only by case or Unicode form") as error:
        check_class_names([one, "else", other], "root")
    first, second = (
        (ascii(one), ascii(other)) if unicodedata.normalize("NFC", other) == one else (repr(one), repr(other))
    )
    assert first in str(error.value) and second in str(error.value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(max_size=12) | st.sampled_from(["..", "<script>", "a/b", '"']), min_size=2, max_size=3
    )
)
def test_legal_names_are_folders_inside_the_set_and_come_back(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    root = tmp_path_factory.mktemp("names") / "set"
    try:
        check_class_names(names, "test")
    except InputError:
        return
    if len(set(names)) < len(names):
        return
    pixels = np.random.default_rng(0).integers(0, 256, (2 * len(names), 8, 8, 3), dtype=np.uint8)
    made = CellSet.from_arrays(pixels, [i // 2 for i in range(len(pixels))], names)
    write_set(made, root)
    assert sorted(path.name for path in root.parent.iterdir()) == ["set"]
    assert {path.name for path in root.iterdir() if path.is_dir()} == set(names)
    assert load(FolderData(root=root, image_size=8)).digest == made.digest
    assert read_set(root).digest == made.digest


def test_class_folders_that_are_twins_are_refused(tmp_path: Path) -> None:
    for name in ("Blast", "blast"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="'Blast' and 'blast'"):
        load(FolderData(root=tmp_path))
