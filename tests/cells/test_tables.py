"""Manifests, Hugging Face's image folder and parquet, and cells cropped by boxes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cells.boxes import BoxesData, square_crop
from cells.collections import BccdData
from cells.decoding import Decoding
from cells.manifest import HfFolderData, ManifestData
from cells.parquet import ParquetData
from cells.sources import FolderData, load, read
from cells.split import SplitSettings, divide
from cells.writing import write_set
from runtime.errors import InputError


def images(folder: Path, count: int = 8, seed: int = 0) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(seed)
    names = [f"{i}.png" for i in range(count)]
    for name in names:
        Image.fromarray(draws.integers(0, 256, (12, 12, 3), np.uint8)).save(folder / name)
    return names


def manifest(root: Path, rows: list[dict[str, Any]], name: str = "cells.csv") -> Path:
    path = root / name
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        tab = "\t" if path.suffix == ".tsv" else ","
        lines = [tab.join(rows[0]), *(tab.join(str(value) for value in row.values()) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def rows_of(names: list[str], **more: Any) -> list[dict[str, Any]]:
    return [{"file": name, "label": "ab"[i % 2], **more} for i, name in enumerate(names)]


@pytest.mark.parametrize("name", ["cells.csv", "cells.tsv", "cells.jsonl"])
def test_a_manifest_is_read(tmp_path: Path, name: str) -> None:
    rows = rows_of(images(tmp_path / "i"))
    rows = [
        {
            **row,
            "file": f"i/{row['file']}",
            "label": "ab"[i // 2 % 2],
            "group": f"p{i // 2}",
            "stack": f"s{i // 2}",
            "index": i % 2,
            "remark": "x",
        }
        for i, row in enumerate(rows)
    ]
    path = manifest(tmp_path, rows, name)
    cells = load(ManifestData(root=path, image_size=12))
    assert cells.counts == {"a": 4, "b": 4}
    assert cells.names[1] == "i/1.png"
    assert sorted(set(cells.groups)) == ["p0", "p1", "p2", "p3"]
    assert cells.provenance[5] == {"stack": "s2", "index": 1}
    assert set(cells.splits) == {""}
    assert load(ManifestData(root=tmp_path, image_size=12)).digest == cells.digest
    elsewhere = ManifestData(root=tmp_path, manifest=path, image_size=12)
    assert load(elsewhere).digest == cells.digest


def test_stack_and_index_outlive_saving(tmp_path: Path) -> None:
    rows = [
        {**row, "stack": f"s{row['label']}", "index": i // 2}
        for i, row in enumerate(rows_of(images(tmp_path / "i")))
    ]
    cells = load(ManifestData(root=manifest(tmp_path / "i", rows), image_size=12))
    write_set(cells, tmp_path / "saved")
    again = load(FolderData(root=tmp_path / "saved", image_size=12))
    assert sorted(map(str, again.provenance)) == sorted(map(str, cells.provenance))


def test_a_manifest_may_come_split(tmp_path: Path) -> None:
    sides = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    rows = [{**row, "split": side} for row, side in zip(rows_of(images(tmp_path)), sides, strict=True)]
    cells = load(ManifestData(root=manifest(tmp_path, rows), image_size=12))
    split = divide(cells, SplitSettings())
    assert [len(part) for part in (split.train, split.val, split.test)] == [4, 2, 2]


def test_synthetic_cells_of_a_manifest_stay_synthetic(tmp_path: Path) -> None:
    rows = rows_of(images(tmp_path), origin="synthetic", seed=1)
    cells = load(ManifestData(root=manifest(tmp_path, rows), image_size=12))
    assert cells.is_synthetic.all()
    with pytest.raises(InputError, match="is synthetic"):
        divide(cells, SplitSettings())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file": "../x.png"}, r"line 3: '\.\./x\.png' lies outside of"),
        ({"file": ""}, "line 3 has no usable 'file'"),
        ({"label": " "}, "line 3 has no usable 'label'"),
        ({"file": "0.png"}, r"line 3 lists .*0\.png again, after .*line 2"),
        ({"file": "gone.png"}, r"gone\.png: .* \[.*cells\.csv: line 3\]"),
        ({"file": '"0,1.png",x,y,z,'}, "line 3 has more cells than the header"),
        ({"label": "a/b"}, r"cells\.csv: line 3: class name 'a/b' has a slash"),
        ({"label": "A"}, r"line 3: classes 'a' and 'A' differ only by case"),
        ({"split": "trian"}, "line 3: split 'trian' is not known.*'train'"),
        ({"index": "one"}, "line 3: index 'one' is not an integer"),
        ({"origin": "dreamt"}, "line 3: origin 'dreamt'"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, change: dict[str, str], message: str) -> None:
    rows = rows_of(images(tmp_path), split="", index="", origin="")
    rows[1] |= change
    path = manifest(tmp_path, rows)
    with pytest.raises(InputError, match=message):
        load(ManifestData(root=path, image_size=12))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"file,lable\n0.png,a\n", "no column 'label'.*'lable'"),
        ("x.csv", b"file;label\n0.png;a\n", "one column, 'file;label', parted by semicolons; save it with"),
        ("x.csv", b"file\tlabel\n0.png\ta\n", r"parted by tabs; .* rename it to \.tsv"),
        ("x.tsv", b"file,label\n0.png,a\n", r"parted by commas; .* rename it to \.csv"),
        ("x.csv", b"", r"x\.csv: is empty"),
        ("x.jsonl", b"\n \n", r"x\.jsonl: is empty"),
        ("x.csv", b"file,label\n0.png,\xe4\n", "line 2 is not UTF-8"),
        ("x.csv", b'file,label\n"0.png,a\n', "line 2 is not readable in columns"),
        ("x.csv", b"file,label\n0.png\n", "line 2 has no usable 'label'"),
        ("x.csv", b"file,label\n", r"x\.csv: lists no images"),
        ("x.jsonl", b"[1]\n", "line 1 is not a JSON object"),
        ("x.jsonl", b'{"file": "0.png", "label": null}\n', "line 1 has no usable 'label'"),
    ],
)
def test_a_bad_manifest_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    images(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(ManifestData(root=tmp_path / name))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(ManifestData(root=tmp_path / "gone.csv"))
    with pytest.raises(InputError, match=r"has 0 \.csv"):
        load(ManifestData(root=tmp_path))


def hf_folder(root: Path, ending: str) -> Path:
    for seed, side in enumerate(("train", "validation", "test")):
        rows = [
            {"file_name": row["file"], "cell": row["label"]}
            for row in rows_of(images(root / side, seed=seed))
        ]
        manifest(root / side, rows, f"metadata.{ending}")
    return root


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_an_image_folder_of_hugging_face(tmp_path: Path, ending: str) -> None:
    cells = load(HfFolderData(root=hf_folder(tmp_path, ending), label="cell", image_size=12))
    assert [sum(cells.splits == side) for side in ("train", "val", "test")] == [8, 8, 8]
    assert cells.names[0] == "train/0.png"
    with pytest.raises(InputError, match=r"no( column)? 'label'"):
        load(HfFolderData(root=tmp_path))


def test_an_image_folder_with_one_table_above(tmp_path: Path) -> None:
    rows = [
        {"file_name": f"train/{row['file']}", "label": row["label"]}
        for row in rows_of(images(tmp_path / "train"))
    ]
    manifest(tmp_path, rows, "metadata.csv")
    assert set(load(HfFolderData(root=tmp_path, image_size=12)).splits) == {""}  # train alone is no split
    (tmp_path / "metadata.csv").unlink()
    with pytest.raises(InputError, match="no metadata"):
        load(HfFolderData(root=tmp_path))


# --------------------------------------------------------------------------------------- parquet


def parquet(
    path: Path, labels: list[Any], names: list[str] | None = None, seed: int = 0, **columns: Any
) -> Path:
    files = images(path.parent / f"i{seed}", len(labels), seed)
    content = [(path.parent / f"i{seed}" / name).read_bytes() for name in files]
    structs = [{"bytes": found, "path": name} for found, name in zip(content, files, strict=True)]
    table = pa.table({"image": structs, "label": labels, **columns})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        described = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": described})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def test_parquet_takes_class_names_from_the_features(tmp_path: Path) -> None:
    for seed, side in enumerate(("train", "validation", "test")):
        parquet(tmp_path / "data" / f"{side}-00000-of-00001.parquet", [0, 1] * 3, ["wbc", "blast"], seed)
    cells = load(ParquetData(root=tmp_path, image_size=12))
    assert cells.classes == ("wbc", "blast")
    assert [sum(cells.splits == side) for side in ("train", "val", "test")] == [6, 6, 6]
    assert "data/train-00000-of-00001.parquet[5]" in set(cells.names)
    with Image.open(tmp_path / "data" / "i0" / "0.png") as first:
        row = list(cells.names).index("data/train-00000-of-00001.parquet[0]")
        assert np.array_equal(cells.pixels[row], np.asarray(first))


def test_parquet_with_words_and_known_columns(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "cells.parquet", ["b", "a"] * 3, group=["p", "p", "q", "q", "r", "r"], other=[1] * 6
    )
    cells = load(ParquetData(root=path, image_size=12))
    assert cells.classes == ("a", "b")
    assert sorted(cells.groups) == ["p", "p", "q", "q", "r", "r"]
    assert load(ParquetData(root=path, image_size=12)).digest == cells.digest


def test_numbers_without_names_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    parquet(tmp_path / "data" / "a.parquet", [10, 2, 0, 11] * 2)
    cells = load(ParquetData(root=tmp_path, image_size=12))
    assert cells.classes == ("class 0", "class 2", "class 10", "class 11")
    assert [cells.classes[label] for label in cells.labels[:2]] == ["class 10", "class 2"]
    parquet(tmp_path / "data" / "b.parquet", [1, 0] * 2, ["wbc", "blast"], seed=1)
    assert load(ParquetData(root=tmp_path, image_size=12)).classes == ("wbc", "blast", *cells.classes)


def test_other_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parquet file"):
        load(ParquetData(root=tmp_path))
    with pytest.raises(InputError, match="row 1 has no usable label"):
        load(ParquetData(root=parquet(tmp_path / "a.parquet", ["a", None])))
    with pytest.raises(InputError, match="row 1 has label 2"):
        load(ParquetData(root=parquet(tmp_path / "b.parquet", [0, 2], ["x", "y"])))
    with pytest.raises(InputError, match=r"no column 'lable'.*'label'"):
        load(ParquetData(root=tmp_path / "a.parquet", label="lable"))
    with pytest.raises(InputError, match="row 0 holds no image bytes"):
        load(ParquetData(root=tmp_path / "a.parquet", image="label", label="label"))
    (tmp_path / "c.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"c\.parquet: cannot be read as parquet"):
        load(ParquetData(root=tmp_path / "c.parquet"))


# ----------------------------------------------------------------------------------------- boxes


def voc(root: Path, name: str, boxes: list[tuple[str, int, int, int, int]], seed: int = 0) -> None:
    for folder in ("Annotations", "JPEGImages"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
    objects = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin>"
        f"<xmax>{right}</xmax><ymax>{bottom}</ymax></bndbox></object>"
        for label, left, top, right, bottom in boxes
    )
    text = f"<annotation><filename>{name}.jpg</filename>{objects}</annotation>"
    (root / "Annotations" / f"{name}.xml").write_text(text)


def bccd(root: Path) -> Path:
    boxes = [("WBC", 4, 4, 24, 20), ("RBC", 30, 20, 46, 36), ("Platelets", 60, 40, 64, 48)]
    for i in range(4):
        voc(root / "BCCD", f"BloodImage_0000{i}", boxes, i)
    return root


def test_cells_are_cropped_out_of_fields(tmp_path: Path) -> None:
    loaded = read(BccdData(root=bccd(tmp_path), image_size=16))
    cells = loaded.cells
    assert cells.classes == ("platelet", "red blood cell", "white blood cell")
    assert set(cells.counts.values()) == {4}
    assert sorted(set(cells.groups)) == [f"BloodImage_0000{i}" for i in range(4)]
    assert cells.names[0] == "BCCD/JPEGImages/BloodImage_00000.png[0]"
    assert cells.provenance[0] == {"box": [4.0, 4.0, 24.0, 20.0]}
    own = load(BoxesData(root=tmp_path, image_size=16, classes=("RBC", "WBC"), margin=0))
    assert own.counts == {"RBC": 4, "WBC": 4}
    with Image.open(tmp_path / "BCCD" / "JPEGImages" / "BloodImage_00002.png") as field:
        row = list(own.names).index("BCCD/JPEGImages/BloodImage_00002.png[1]")
        assert np.array_equal(own.pixels[row], np.asarray(field)[20:36, 30:46])


def test_a_set_of_fields_keeps_its_split(tmp_path: Path) -> None:
    lists = bccd(tmp_path) / "BCCD" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("BloodImage_00000\nBloodImage_00001\n")
    (lists / "val.txt").write_text("BloodImage_00002\n")
    (lists / "test.txt").write_text("BloodImage_00003\n")
    cells = load(BccdData(root=tmp_path, image_size=16))
    assert [sum(cells.splits == side) for side in ("train", "val", "test")] == [6, 3, 3]


def test_what_gave_no_cell_is_said(tmp_path: Path) -> None:
    root = bccd(tmp_path) / "BCCD"
    voc(root, "bad", [("WBC", 5, 5, 5, 9), ("WBC", 70, 5, 80, 9)])
    voc(root, "torn", [("WBC", 4, 4, 24, 20)])
    (root / "JPEGImages" / "torn.png").write_bytes(b"\x89PNG")
    (root / "Annotations" / "alone.xml").write_text("<annotation/>")
    (root / "Annotations" / "broken.xml").write_text("<annotation>")
    (root / "Annotations" / "laughs.xml").write_text('<!DOCTYPE x [<!ENTITY a "b">]><annotation/>')
    with pytest.raises(InputError, match=r"gives no cell \(.*6 fields and boxes.*unreadable=0.02"):
        read(BccdData(root=tmp_path, image_size=16))
    loaded = read(BccdData(root=tmp_path, image_size=16, unreadable=0.5))
    assert len(loaded.cells) == 12
    names = {name.removeprefix("BCCD/Annotations/") for name in loaded.unreadable}
    assert names == {"bad.xml[0]", "bad.xml[1]", "torn.xml", "alone.xml", "broken.xml", "laughs.xml"}


def test_what_the_system_does_not_give_is_set_aside(tmp_path: Path) -> None:
    root = bccd(tmp_path) / "BCCD"
    voc(root, "lost", [("WBC", 4, 4, 24, 20)])
    (root / "JPEGImages" / "lost.png").unlink()
    (root / "JPEGImages" / "lost.png").symlink_to(tmp_path / "nowhere.png")
    (root / "Annotations" / "link.xml").symlink_to(tmp_path / "nowhere.xml")
    with pytest.raises(InputError, match=r"link\.xml: gives no cell \(cannot be read.*2 fields and boxes"):
        read(BccdData(root=tmp_path, image_size=16))
    loaded = read(BccdData(root=tmp_path, image_size=16, unreadable=0.5))
    assert len(loaded.cells) == 12
    reasons = {name.removeprefix("BCCD/Annotations/"): said for name, said in loaded.unreadable.items()}
    assert reasons.keys() == {"lost.xml", "link.xml"}
    assert reasons["lost.xml"].startswith("BCCD/JPEGImages/lost.png: cannot be read (No such file")
    assert reasons["link.xml"].startswith("cannot be read (No such file")


def test_fields_are_decoded_as_the_settings_say(tmp_path: Path) -> None:
    root = bccd(tmp_path) / "BCCD"
    for path in (root / "JPEGImages").iterdir():
        Image.new("RGBA", (80, 60), (0, 0, 0, 0)).save(path, "png")
    for background in ((255, 255, 255), (10, 20, 30)):
        cells = load(BccdData(root=tmp_path, image_size=16, decoding=Decoding(background=background)))
        assert {tuple(pixel) for pixel in cells.pixels.reshape(-1, 3)} == {background}


def test_a_folder_without_boxes_is_refused(tmp_path: Path) -> None:
    images(tmp_path)
    with pytest.raises(InputError, match="no XML files"):
        load(BoxesData(root=tmp_path))


def test_a_crop_is_a_square_inside_the_field() -> None:
    field = np.arange(48 * 64 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 64, 3)
    crop = square_crop(field, (60, 40, 64, 48), 0.25)
    assert crop is not None and crop.shape == (12, 12, 3)
    assert np.array_equal(crop, field[36:48, 52:64])
    whole = square_crop(field, (-5, -5, 90, 90), 0.1)
    assert whole is not None and whole.shape == (48, 48, 3)
    assert square_crop(field, (float("nan"), 0, 10, 10), 0) is None
