import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

from cells import CellSet
from cells.medmnist import MedmnistData
from cells.sources import (
    CREDITS,
    PBC_CLASSES,
    TREE_KINDS,
    DataSettings,
    FolderData,
    HfFolderData,
    ParquetData,
    PbcData,
    PhantomData,
    SplitFolderData,
    load,
)
from cells.split import SplitSettings, divide
from cells.writing import write_set
from runtime.errors import InputError


def tree(root: Path, counts: dict[str, int], size: int = 16, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"p{i // 2}_{i}.png")
    return root


def split_tree(root: Path, val: str = "val") -> Path:
    for seed, side in enumerate(("train", val, "test")):
        tree(root / side, {"a": 3, "b": 2}, seed=seed)
    return root


def npz(path: Path, grey: bool = False, **changed: Any) -> Path:
    rng = np.random.default_rng(0)
    shape = (28, 28) if grey else (28, 28, 3)
    arrays: dict[str, Any] = {}
    for side, count in (("train", 12), ("val", 4), ("test", 6)):
        arrays[f"{side}_images"] = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
        arrays[f"{side}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    arrays.update(changed)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


# --------------------------------------------------------------------------------------- trees


def test_a_tree_becomes_cells(tmp_path: Path) -> None:
    cells = load(FolderData(root=tree(tmp_path / "t", {"b": 3, "a": 2}), image_size=8))
    assert cells.classes == ("a", "b")
    assert cells.counts == {"a": 2, "b": 3}
    assert cells.image_size == 8
    assert cells.names[0] == "a/p0_0.png"
    assert list(cells.groups) == list(cells.names)
    assert set(cells.splits) == {""}
    assert set(cells.origins) == {"real"}


def test_classes_pick_and_order(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", {"a": 2, "b": 3, "c": 2})
    cells = load(FolderData(root=root, image_size=8, classes=("c", "a")))
    assert cells.counts == {"c": 2, "a": 2}
    with pytest.raises(InputError, match=r"no class 'bb'.*'b'"):
        load(FolderData(root=root, classes=("a", "bb")))


def test_groups_come_out_of_the_names(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", {"a": 4, "b": 2})
    cells = load(FolderData(root=root, image_size=8, group=r"/(p\d+)_"))
    assert list(cells.groups) == ["p0", "p0", "p1", "p1", "p0", "p0"]
    with pytest.raises(InputError, match=r"a/p0_0\.png: data\.group"):
        load(FolderData(root=root, image_size=8, group=r"(slide\d)"))
    with pytest.raises(ValueError, match="parenthesis"):
        FolderData(root=root, group="p0")


@pytest.mark.parametrize("val", ["val", "valid", "validation"])
def test_a_split_tree_keeps_its_sides(tmp_path: Path, val: str) -> None:
    cells = load(SplitFolderData(root=split_tree(tmp_path, val), image_size=8))
    assert [sum(cells.splits == side) for side in ("train", "val", "test")] == [5, 5, 5]
    assert cells.names[0] == "train/a/p0_0.png"
    assert divide(cells, SplitSettings()).val.counts == {"a": 3, "b": 2}


def test_a_split_tree_needs_no_val(tmp_path: Path) -> None:
    for seed, side in enumerate(("train", "test")):
        tree(tmp_path / side, {"a": 9, "b": 9}, seed=seed)
    cells = load(SplitFolderData(root=tmp_path, image_size=8))
    assert set(cells.splits) == {"train", "test"}
    assert divide(cells, SplitSettings()).val.counts == {"a": 2, "b": 2}


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder.*data\.root"):
        load(FolderData(root=tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere: no such folder.*data\.root"):
        load(SplitFolderData(root=tmp_path / "nowhere"))
    with pytest.raises(InputError, match="no class folders"):
        load(FolderData(root=tmp_path))
    with pytest.raises(InputError, match=r"train: no such folder.*kind=folder"):
        load(SplitFolderData(root=tree(tmp_path / "t", {"a": 2})))


def test_empty_and_lonely_classes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"b: has no images"):
        load(FolderData(root=tree(tmp_path / "empty", {"a": 2, "b": 0})))
    with pytest.raises(InputError, match=r"b: has one image"):
        load(FolderData(root=tree(tmp_path / "one", {"a": 2, "b": 1})))
    with pytest.raises(InputError, match="two or more"):
        load(FolderData(root=tree(tmp_path / "single", {"a": 2}), image_size=8))


def test_sides_must_have_the_classes_of_train(tmp_path: Path) -> None:
    root = split_tree(tmp_path)
    tree(root / "test", {"bb": 2})
    with pytest.raises(InputError, match=r"bb: unknown class, train has no 'bb'.*'b'"):
        load(SplitFolderData(root=root))
    (root / "test" / "bb").rename(tmp_path / "gone")
    (root / "val" / "b").rename(tmp_path / "gone-too")
    with pytest.raises(InputError, match=r"val/b: has no images"):
        load(SplitFolderData(root=root))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n"])
def test_a_damaged_image_in_a_tree_is_named(tmp_path: Path, content: bytes) -> None:
    root = tree(tmp_path / "t", {"a": 3, "b": 3})
    (root / "b" / "p0_1.png").write_bytes(content)
    with pytest.raises(InputError, match=r"b/p0_1\.png"):
        load(FolderData(root=root))


def test_a_saved_set_keeps_what_is_known_of_its_cells(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    made = CellSet.from_arrays(
        pixels, [0, 1] * 3, ["b", "a"], groups=["p1", "p1", "p2", "p2", "p3", "p3"]
    ) + CellSet.from_arrays(
        pixels + 1,
        [0, 1] * 3,
        ["b", "a"],
        origin="synthetic",
        provenance=[{"generator": "gan", "seed": i} for i in range(6)],
    )
    write_set(made, tmp_path / "set")
    read = load(FolderData(root=tmp_path / "set", image_size=8))
    assert read.classes == ("b", "a")
    assert read.digest == made.digest
    assert sorted(read.groups) == sorted(made.groups)
    assert read.is_synthetic.sum() == 6
    assert {p["seed"] for p in read.provenance if p} == set(range(6))
    with pytest.raises(InputError, match="is synthetic"):
        divide(read, SplitSettings())


def test_bad_metadata_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", {"a": 2, "b": 2})
    (root / "metadata.jsonl").write_text('{"name": 1}\n')
    with pytest.raises(InputError, match=r"metadata\.jsonl"):
        load(FolderData(root=root))
    row = {"file_name": "a/p0_0.png", "origin": "dreamt"}
    (root / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(InputError, match="'dreamt'"):
        load(FolderData(root=root))


def test_pbc_knows_its_classes(tmp_path: Path) -> None:
    root = tree(tmp_path / "t", {"ig": 2, "basophl": 2}, size=210)
    with pytest.raises(InputError, match=r"basophl: not a class of PBC.*'basophil'"):
        load(PbcData(root=root))
    (root / "basophl").rename(root / "basophil")
    assert load(PbcData(root=root, image_size=28)).counts == {"basophil": 2, "ig": 2}


# ------------------------------------------------------------------------------------ phantoms


def test_phantoms_come_split_and_say_what_they_are() -> None:
    data = PhantomData(image_size=16, counts={"lobed": 6, "granular": 3}, val_per_class=2, test_per_class=2)
    cells = load(data)
    assert set(cells.origins) == {"phantom"}
    split = divide(cells, SplitSettings())
    assert split.train.counts == {"lobed": 6, "granular": 3}
    assert split.test.counts == {"lobed": 2, "granular": 2}
    assert load(data).digest == cells.digest
    assert load(data.model_copy(update={"seed": 1})).digest != cells.digest


def test_phantom_counts_are_checked() -> None:
    with pytest.raises(InputError, match="lobd"):
        load(PhantomData(counts={"lobd": 5, "round": 5}))
    with pytest.raises(InputError, match=r"counts\.round = 1"):
        load(PhantomData(counts={"lobed": 5, "round": 1}))


# ------------------------------------------------------------------------------------ MedMNIST


def test_an_npz_is_read_with_its_split(tmp_path: Path) -> None:
    cells = load(MedmnistData(name=str(npz(tmp_path / "x.npz")), classes=("n", "y")))
    assert cells.classes == ("n", "y")
    assert [sum(cells.splits == side) for side in ("train", "val", "test")] == [12, 4, 6]
    assert cells.names[12] == "val_images[0]"
    with np.load(tmp_path / "x.npz") as file:
        assert np.array_equal(cells.pixels[:12], file["train_images"])


def test_grey_becomes_three_channels_and_is_resized(tmp_path: Path) -> None:
    path = npz(tmp_path / "pneumoniamnist.npz", grey=True)
    cells = load(MedmnistData(name=str(path), image_size=16))
    assert cells.classes == ("normal", "pneumonia")
    assert cells.pixels.shape == (22, 16, 16, 3)
    assert (cells.pixels[..., 0] == cells.pixels[..., 2]).all()


def test_a_set_by_name_is_read_from_its_folder(tmp_path: Path) -> None:
    npz(tmp_path / "bloodmnist.npz")
    cells = load(MedmnistData(root=tmp_path))
    assert cells.classes[:4] == ("basophil", "eosinophil", "erythroblast", "immature granulocytes")
    assert len(cells) == 22


@pytest.mark.parametrize(
    ("size", "file"),
    [(28, r"bloodmnist\.npz \(or bloodmnist_64\.npz"), (64, r"bloodmnist_64\.npz")],
)
def test_without_a_network_it_says_which_file_goes_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, file: str
) -> None:
    def unreachable(*args: Any, **options: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    folder = tmp_path / "downloads"
    with pytest.raises(InputError, match=rf"put {file}.* into {folder}"):
        load(MedmnistData(root=folder, image_size=size))


def test_a_download_is_verified_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fetch(url: str, known_hash: str, fname: str, path: Path, progressbar: bool) -> str:
        asked.append((fname, known_hash[:4], len(known_hash)))
        return str(npz(path / fname))

    monkeypatch.setattr("pooch.retrieve", fetch)
    assert len(load(MedmnistData(root=tmp_path))) == 22
    assert len(load(MedmnistData(root=tmp_path))) == 22
    assert asked == [("bloodmnist.npz", "md5:", 36)]


def test_unknown_sets_sizes_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'bloodmnst'.*'bloodmnist'"):
        load(MedmnistData(name="bloodmnst"))
    with pytest.raises(InputError, match="28, 64, 128 and 224"):
        load(MedmnistData(image_size=32))
    with pytest.raises(InputError, match=r"gone\.npz: no such file"):
        load(MedmnistData(name=str(tmp_path / "gone.npz")))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"test_images": None}, "no array 'test_images'"),
        ({"val_labels": np.zeros((3, 1), int)}, "differ in length"),
        ({"train_labels": np.zeros((12, 14), int)}, "several labels"),
        ({"train_images": np.zeros((12, 28, 28, 28, 1), np.uint8)}, "not 2D"),
        ({"train_images": np.zeros((12, 28, 28), float)}, "not 2D"),
    ],
)
def test_other_npz_layouts_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    path = npz(tmp_path / "x.npz", **changed)
    with pytest.raises(InputError, match=rf"x\.npz.*{message}"):
        load(MedmnistData(name=str(path)))


def test_a_torn_npz_is_named(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"x\.npz: not a readable"):
        load(MedmnistData(name=str(path)))


def test_too_few_class_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.classes: names 1 classes.*label 1"):
        load(MedmnistData(name=str(npz(tmp_path / "x.npz")), classes=("n",)))


# ------------------------------------------------------------------------------------ the rest


def test_every_kind_is_credited_and_validates() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(DataSettings)
    for kind, credit in CREDITS.items():
        assert adapter.validate_python({"kind": kind, "root": "x"} if kind in TREE_KINDS else {"kind": kind})
        assert credit.licence and credit.citation
    with pytest.raises(ValueError, match="phantm"):
        adapter.validate_python({"kind": "phantm"})


def test_real_trees(shared: Path) -> None:
    cells = load(PbcData(root=shared / "data" / "pbc-original-sample", image_size=28))
    assert cells.classes == PBC_CLASSES
    assert set(cells.counts.values()) == {40}
    assert divide(cells, SplitSettings()).train.counts["ig"] == 28


def test_the_long_tailed_tree(shared: Path) -> None:
    cells = load(SplitFolderData(root=shared / "data" / "pbc-lt-128", image_size=28))
    with pytest.raises(InputError, match=r"IG_855229\.jpg: nearly the same image .*IG_466905"):
        divide(cells, SplitSettings())  # one cell of PBC was photographed twice
    split = divide(cells, SplitSettings(leaks="drop"))
    assert list(split.train.counts.values()) == [45, 1207, 168, 624, 23, 87, 2330, 324]
    assert set(split.val.counts.values()) == {100}
    assert split.test.counts["neutrophil"] == 233


def test_real_npz(shared: Path) -> None:
    blood = MedmnistData(name=str(shared / "data" / "pbc-natural-28.npz"), classes=PBC_CLASSES)
    split = divide(load(blood), SplitSettings())
    assert [len(part) for part in (split.train, split.val, split.test)] == [10165, 1712, 1794]
    chest = load(MedmnistData(name=str(shared / "data" / "pneumoniamnist.npz")))
    assert chest.pixels.shape == (5856, 28, 28, 3)
    with pytest.raises(InputError, match=r"the same image is in train and in val.*leaks=drop"):
        divide(chest, SplitSettings())
    assert len(divide(chest, SplitSettings(leaks="drop")).train) < 4708


def test_the_modality_is_known_set_or_read_back(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (8, 28, 28), dtype=np.uint8), np.arange(8)[:, None] % 2
    arrays = {
        f"{side}_{k}": v
        for side in ("train", "val", "test")
        for k, v in (("images", images), ("labels", labels))
    }
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    np.savez(tmp_path / "other.npz", **arrays)
    known = MedmnistData(name=str(tmp_path / "pneumoniamnist.npz"))
    other = MedmnistData(name=str(tmp_path / "other.npz"))
    assert load(known).modality == "xray" and load(other).modality == "microscopy"
    assert load(other.model_copy(update={"modality": "xray"})).modality == "xray"
    assert load(known.model_copy(update={"modality": "microscopy"})).modality == "microscopy"
    load(known).subset(np.arange(8)).save(tmp_path / "set", parquet=True)
    for data in (
        FolderData(root=tmp_path / "set", image_size=28),
        HfFolderData(root=tmp_path / "set", image_size=28),
        ParquetData(root=tmp_path / "set" / "cells.parquet", image_size=28),
    ):
        assert load(data).modality == "xray", data.kind
    assert (
        load(FolderData(root=tmp_path / "set", image_size=28, modality="microscopy")).modality == "microscopy"
    )
