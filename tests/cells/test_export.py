"""A written set opens in other tools, and reading it gives the set that was written."""

import json
import logging
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets import ImageFolder

import cells.writing
from cells import CellSet
from cells.card import About, escaped, licence_id, read_front_matter
from cells.reading import read_set
from cells.sources import FolderData, SplitFolderData, read
from cells.writing import write_set, write_tree
from runtime.errors import InputError

COLUMNS = ("labels", "names", "groups", "splits", "origins", "provenance")
CLASSES = ("b", "Zelle ü", "empty", "a")
SIDES = ("train", "val", "test")


def made(count: int = 6, origin: str = "synthetic", split: str = "", seed: int = 0) -> CellSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    provenance = [
        {"generator": "gan", "seed": i, "guidance": 1.5, "split_digest": "0f", "scores": {"agree": [i, None]}}
        for i in range(count)
    ]
    return CellSet.from_arrays(
        pixels,
        [(0, 3, 1)[i % 3] for i in range(count)],
        CLASSES,
        names=[f"{split}slide/{i}.png" for i in range(count)],
        groups=[f"{split}patient {i // 2}" for i in range(count)],
        splits=split,
        origin=origin,
        provenance=provenance,
    )


def assert_same(read_back: CellSet, written: CellSet) -> None:
    assert read_back.classes == written.classes
    assert read_back.pixels.shape == written.pixels.shape
    assert np.array_equal(read_back.pixels, written.pixels)
    for column in COLUMNS:
        assert getattr(read_back, column).tolist() == getattr(written, column).tolist(), column


# ---------------------------------------------------------------- round trip

CLASS_NAMES = st.text(
    st.characters(exclude_characters="/\\$", categories=["L", "N", "P", "S"]), min_size=1, max_size=12
)
ODD = "\x85\u2028\u2029\ud800\n\r/\\'\"<"  # what ends a line, is no character alone, or is markup
TEXTS = st.text(st.characters() | st.sampled_from(ODD), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9, allow_subnormal=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["label", "name", "sha256", "provenance", "file_name", "seed"]) | TEXTS


def is_folder_name(name: str) -> bool:
    return not name.startswith(".") and name not in cells.writing.OWN and len(name.encode()) < 200


@st.composite
def sets(draw: st.DrawFn) -> CellSet:
    classes = draw(
        st.lists(CLASS_NAMES.filter(is_folder_name), min_size=2, max_size=4, unique_by=str.casefold)
    )
    count = draw(st.integers(1, 4))
    column = lambda values: draw(st.lists(values, min_size=count, max_size=count))  # noqa: E731
    origins = column(st.sampled_from(["real", "phantom", "synthetic"]))
    parts = [
        CellSet.from_arrays(
            np.full((1, 8, 8, 3), i, np.uint8),
            [label],
            classes,
            names=[name],
            groups=[group],
            splits=split,
            origin=origin,
            provenance=[provenance],
        )
        for i, (label, name, group, split, origin, provenance) in enumerate(
            zip(
                column(st.integers(0, len(classes) - 1)),
                column(TEXTS.filter(is_stable)),
                column(TEXTS.filter(is_stable)),
                column(st.sampled_from(["", *SIDES])),
                origins,
                column(st.dictionaries(KEYS, VALUES, max_size=4).filter(is_stable)),
                strict=True,
            )
        )
    ]
    whole = parts[0]
    for part in parts[1:]:
        whole += part
    return whole


def is_stable(value: Any) -> bool:
    """False for two lone surrogates that JSON reads as one character; such a set is refused."""
    return bool(json.loads(json.dumps(value)) == value)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets())
def test_reading_what_was_written_gives_the_set(
    tmp_path_factory: pytest.TempPathFactory, written: CellSet
) -> None:
    root = tmp_path_factory.mktemp("set")
    write_set(written, root)
    assert_same(read_set(root), written)
    assert_same(read(FolderData(root=root, image_size=8)).cells, written)


def test_a_prepared_tree_reads_back_as_its_parts(tmp_path: Path) -> None:
    parts = {side: made(7, "real", side, seed) for seed, side in enumerate(SIDES)}
    write_tree(parts, tmp_path)
    whole = read(SplitFolderData(root=tmp_path, image_size=8)).cells
    assert_same(whole, parts["train"] + parts["val"] + parts["test"])


def test_a_set_without_cells_keeps_its_classes_and_size(tmp_path: Path) -> None:
    write_set(made(3).subset([]), tmp_path, parquet=True)
    assert_same(read_set(tmp_path), made(3).subset([]))


@pytest.mark.parametrize("value", [float("nan"), (1, 2), {1: "a"}, np.int64(3), b"x"])
def test_a_provenance_that_is_not_json_is_refused(value: Any, tmp_path: Path) -> None:
    odd = CellSet.from_arrays(made(1).pixels, [0], CLASSES, names=["n7"], provenance=[{"x": value}])
    with pytest.raises(InputError, match="n7: its provenance cannot be written as JSON"):
        write_set(odd, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("name", ["a/b", "..", ".", "", ".x", "a\\b", "a\nb", "metadata.jsonl"])
def test_a_class_that_cannot_be_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    odd = CellSet.from_arrays(made(2).pixels, [0, 1], [name, "b"])
    with pytest.raises(InputError, match="rename the class"):
        write_set(odd, tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- interrupted, and again


def test_an_interrupted_writing_is_refused_and_then_made_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells_before = made(6)
    real = cells.writing._write_png

    def killed(image: Any, path: Path, **words: Any) -> None:
        if path.name == "000003.png":
            raise KeyboardInterrupt
        real(image, path, **words)

    monkeypatch.setattr(cells.writing, "_write_png", killed)
    with pytest.raises(KeyboardInterrupt):
        write_set(cells_before, tmp_path)
    for reader in (read_set, lambda root: read(FolderData(root=root))):
        with pytest.raises(InputError, match="run the command that wrote it again"):
            reader(tmp_path)
    monkeypatch.undo()
    (tmp_path / "notes.txt").write_text("mine")
    fewer = made(2)
    write_set(fewer, tmp_path)
    assert_same(read(FolderData(root=tmp_path, image_size=8)).cells, fewer)
    assert len(list(tmp_path.glob("*/*.png"))) == 2, "the interrupted writing left images"
    assert not (tmp_path / cells.writing.MARK).exists()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_set(made(2), tmp_path / "file" / "set")


# ---------------------------------------------------------------- other tools


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("single") / "set"
    write_set(made(6), root, About(licence="CC BY 4.0", citation="Someone 2020"), parquet=True)
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tree") / "set"
    write_tree({side: made(6, "phantom", side, i) for i, side in enumerate(SIDES)}, root, parquet=True)
    return root


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hugging Face's `datasets`, offline and with a cache of its own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    datasets.disable_progress_bars()
    return datasets


def test_image_folder_opens_it(single: Path) -> None:
    opened = ImageFolder(str(single))
    assert opened.classes == sorted(set(CLASSES) - {"empty"})
    assert len(opened) == 6
    image, label = opened[0]
    assert opened.classes[label] == "Zelle ü"  # sorted by code point: "Z" < "a"
    assert np.array_equal(np.asarray(image), made(6).pixels[2])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_hugging_face_opens_it_as_image_folder(single: Path, tree: Path, hub: Any, tmp_path: Path) -> None:
    opened = hub.load_dataset("imagefolder", data_dir=str(single), cache_dir=str(tmp_path / "c"))["train"]
    written = made(6)
    found = {row["name"]: row for row in opened}
    for i, name in enumerate(written.names):
        assert found[name]["label"] == CLASSES[written.labels[i]]
        assert found[name]["seed"] == written.provenance[i]["seed"]
        assert found[name]["group"] == written.groups[i]
        assert found[name]["scores"] == written.provenance[i]["scores"]
        assert np.array_equal(np.asarray(found[name]["image"]), written.pixels[i])
    sides = hub.load_dataset("imagefolder", data_dir=str(tree), cache_dir=str(tmp_path / "c"))
    assert {side: len(rows) for side, rows in sides.items()} == {"train": 6, "validation": 6, "test": 6}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_hugging_face_opens_its_parquet(single: Path, hub: Any, tmp_path: Path) -> None:
    file, written = str(single / "cells.parquet"), made(6)
    opened = hub.Dataset.from_parquet(file, cache_dir=str(tmp_path / "c"))
    assert opened.features["label"].names == list(CLASSES)
    assert opened["label"] == written.labels.tolist()
    assert opened["seed"] == [row["seed"] for row in written.provenance]
    assert [json.loads(text) for text in opened["scores"]] == [row["scores"] for row in written.provenance]
    assert np.array_equal(np.stack([np.asarray(image) for image in opened["image"]]), written.pixels)
    again = hub.load_dataset("parquet", data_files=file, cache_dir=str(tmp_path / "c"))["train"]
    assert again.features == opened.features


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("kind", ["single", "tree"])
def test_mlcroissant_validates_and_reads_it(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    import mlcroissant

    root = request.getfixturevalue(kind)
    with caplog.at_level(logging.WARNING):
        opened = mlcroissant.Dataset(jsonld=str(root / "croissant.json"))
        assert not opened.metadata.ctx.issues.errors
        assert not opened.metadata.ctx.issues.warnings
        name, written = (
            ("cells", made(6)) if kind == "single" else ("val/cells", made(6, "phantom", "val", 1))
        )
        rows = {row[f"{name}/name"].decode(): row for row in opened.records(name)}
    assert caplog.messages == []
    assert set(rows) == set(written.names)
    for i, cell in enumerate(written.names):
        assert rows[cell][f"{name}/label"].decode() == CLASSES[written.labels[i]]
        assert np.array_equal(np.asarray(rows[cell][f"{name}/image"]), written.pixels[i])


def test_croissant_says_what_the_specification_asks(single: Path) -> None:
    said = json.loads((single / "croissant.json").read_text())
    assert "http://mlcommons.org/croissant/1.0" in said["conformsTo"]
    assert "http://mlcommons.org/croissant/RAI/1.0" in said["conformsTo"]
    assert said["license"] == "https://spdx.org/licenses/CC-BY-4.0"
    assert said["citeAs"] == "Someone 2020"
    assert "Generated by a model" in said["rai:dataCollection"]


def test_every_file_has_its_checksum(single: Path, tree: Path, tmp_path: Path) -> None:
    for root in (single, tree):
        done = subprocess.run(["sha256sum", "-c", "--strict", "checksums.txt"], cwd=root, capture_output=True)
        assert done.returncode == 0, done.stdout
        named = {line.split("  ", 1)[1] for line in (root / "checksums.txt").read_text().splitlines()}
        files = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
        assert files - named == {"checksums.txt"}
    copy = shutil.copytree(tree, tmp_path / "copy")
    with (copy / "val/b/000000.png").open("ab") as file:
        file.write(b"x")
    done = subprocess.run(["sha256sum", "-c", "checksums.txt"], cwd=copy, capture_output=True)
    assert done.returncode == 1 and b"val/b/000000.png: FAILED" in done.stdout


def test_each_synthetic_image_says_what_it_is_and_no_other_does(tmp_path: Path) -> None:
    written = made(4, "real") + made(3, "synthetic")
    write_set(written, tmp_path)
    for i, label in enumerate(written.labels):
        with Image.open(tmp_path / CLASSES[label] / f"{i:06d}.png") as image:
            tag = image.info.get("XML:com.adobe.xmp", "")
        assert ("DigitalSourceType" in tag and "trainedAlgorithmicMedia" in tag) == (i >= 4)


# ---------------------------------------------------------------- the card


def test_the_card_has_front_matter_and_facts(single: Path, tree: Path) -> None:
    text = (single / "README.md").read_text()
    fields = read_front_matter(text)
    assert fields["license"] == "cc-by-4.0"
    assert fields["task_categories"] == ["image-classification"]
    assert fields["size_categories"] == ["n<1K"]
    assert "synthetic" in fields["tags"] and "phantom" not in fields["tags"]
    assert "| b | 2 |" in text and "| empty | 0 |" in text
    assert "- Generator: gan (6 images)" in text and "0f" in text and "6 from 0 to 5" in text
    text = (tree / "README.md").read_text()
    assert "phantom" in read_front_matter(text)["tags"]
    assert "Phantom data" in text and "| class | train | val | test |" in text


def test_words_from_outside_are_not_markup(tmp_path: Path) -> None:
    write_set(CellSet.from_arrays(made(2).pixels, [0, 1], ["<script>|x", "a: b"]), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert "<script>" not in text
    assert f"| {escaped('<script>|x')} | 1 |" in text
    assert yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    ("licence", "word"),
    [
        ("CC BY 4.0", "cc-by-4.0"),
        ("Apache-2.0", "apache-2.0"),
        ("not known: the folder does not say", "unknown"),
        ("CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)", "other"),
    ],
)
def test_licences_have_the_word_that_hugging_face_uses(licence: str, word: str) -> None:
    assert licence_id(licence) == word
