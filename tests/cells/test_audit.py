import datetime
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from cells import CellSet
from cells.audit import Audited, audit, page
from cells.boxes import BoxesData
from cells.cellset import Loaded
from cells.duplicates import NearDuplicate, near_duplicates
from cells.parquet import ParquetData
from cells.sources import CrossSiteData, FolderData, PhantomData, load, read
from cells.split import SplitSettings, divide
from runtime.config import load_config
from runtime.errors import InputError

CLASSES = ("a", "b")


def patchy(count: int, splits: Sequence[str] | str = "", groups: Sequence[str] | None = None) -> CellSet:
    coarse = np.random.default_rng(0).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    pixels = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return CellSet.from_arrays(pixels, [0, 1] * (count // 2), CLASSES, splits=splits, groups=groups)


def with_pixels(cells: CellSet, row: int, pixels: NDArray[np.uint8]) -> CellSet:
    changed = cells.pixels.copy()
    changed[row] = pixels
    return CellSet.from_arrays(
        changed, cells.labels, cells.classes, splits=list(cells.splits), groups=list(cells.groups)
    )


def facts_of(
    cells: CellSet, near: Sequence[NearDuplicate] | None = None, leaks: str = "refuse"
) -> dict[str, Any]:
    near = near_duplicates(cells) if near is None else near
    split = divide(cells, load_config(SplitSettings, None, [f"leaks={leaks}"]), near)
    return audit(Audited(Loaded(cells), near, split, leaks=leaks), PhantomData())


PREMADE = ["train"] * 12 + ["val"] * 4 + ["test"] * 4


def test_a_clean_source_has_nothing_to_report() -> None:
    facts = facts_of(patchy(40))
    keys = (
        "unreadable",
        "ignored",
        "exact_duplicates",
        "near_duplicates",
        "label_conflicts",
        "across_splits",
    )
    assert not any(facts[key] for key in keys)
    assert facts["counts"] == {name: {"train": 14, "val": 3, "test": 3} for name in CLASSES}
    assert facts["imbalance_factor"] == 1.0 and facts["kept"] == facts["cells"] == 40


def test_exact_duplicates_are_pairs_and_conflicts_are_told() -> None:
    cells = patchy(20)
    cells = with_pixels(with_pixels(cells, 5, cells.pixels[0]), 6, cells.pixels[0])
    facts = facts_of(cells)
    assert [pair["names"] for pair in facts["exact_duplicates"]] == [
        ["image[0]", "image[5]"],
        ["image[0]", "image[6]"],
    ]
    (conflict,) = facts["label_conflicts"]
    assert conflict["names"] == ["image[0]", "image[5]"] and conflict["labels"] == ["a", "b"]
    assert len(set(facts["exact_duplicates"][1]["splits"])) == 1


def test_a_turned_copy_under_another_label_is_a_conflict() -> None:
    cells = patchy(20)
    facts = facts_of(with_pixels(cells, 7, np.rot90(cells.pixels[2])))
    (pair,) = facts["near_duplicates"]
    assert pair["names"] == ["image[2]", "image[7]"] and pair["agreement"] > 0.99
    assert facts["label_conflicts"] == [pair]
    assert facts["exact_duplicates"] == []


def test_what_is_on_both_sides_of_a_premade_split_is_told() -> None:
    groups = [f"p{i}" for i in range(20)]
    groups[18] = "p4"
    cells = patchy(20, PREMADE, groups)
    cells = with_pixels(cells, 13, cells.pixels[1])
    cells = with_pixels(cells, 17, cells.pixels[3, ::-1])
    facts = facts_of(cells, leaks="drop")
    found = [(leak["kind"], leak["names"], leak["splits"]) for leak in facts["across_splits"]]
    assert found == [
        ("exact", ["image[1]", "image[13]"], ["train", "val"]),
        ("near", ["image[3]", "image[17]"], ["train", "test"]),
        ("group", ["image[4]", "image[18]"], ["train", "test"]),
    ]
    assert facts["across_splits"][2]["group"] == "p4"
    assert facts["exact_duplicates"][0]["splits"] == ["dropped", "val"]
    assert facts["kept"] == 17
    allowed = page(facts_of(cells, leaks="allow"), cells)
    assert "Leaks were allowed: 3 pairs or groups" in allowed


def test_a_refused_split_has_an_audit() -> None:
    cells = patchy(20, PREMADE)
    facts = audit(Audited(Loaded(cells), [], None, refused="because <it> leaks."), PhantomData())
    assert facts["split_digest"] is None
    assert facts["counts"]["a"] == {"train": 6, "val": 2, "test": 2}
    html = page(facts, cells)
    assert "because &lt;it&gt; leaks." in html and "was refused" in html


def test_unreadable_and_ignored_files_are_reported_escaped() -> None:
    cells = patchy(20)
    loaded = Loaded(cells, {"a/<script>.png": "cut <short>"}, ("a/.DS_Store", "a/<b>.txt"))
    split = divide(cells, SplitSettings())
    facts = audit(Audited(loaded, [], split), PhantomData())
    assert facts["unreadable"] == {"a/<script>.png": "cut <short>"}
    assert facts["ignored"] == ["a/.DS_Store", "a/<b>.txt"]
    assert [group["kind"] for group in facts["ignored_groups"]] == [".txt", "hidden"]
    html = page(facts, cells)
    assert "a/&lt;script&gt;.png" in html and "cut &lt;short&gt;" in html and "a/&lt;b&gt;.txt" in html
    assert "<script" not in html and "<b>" not in html


def test_hundreds_of_similar_ignored_files_are_one_row_of_the_page() -> None:
    cells = patchy(20)
    names = tuple(f"Patient_{i:03d}/Unsigned slides/x.jpg" for i in range(300))
    facts = audit(Audited(Loaded(cells, {}, names), [], divide(cells, SplitSettings())), PhantomData())
    html = page(facts, cells)
    assert facts["ignored"] == list(names), "each name stays in audit.json"
    assert html.count("Unsigned slides") == 2, "of one row: its folder and the first file"
    assert '<td class="n">300</td><td><code>Patient_000/' in html


def test_every_near_pair_has_a_picture_and_the_page_needs_nothing_else() -> None:
    cells = patchy(20)
    cells = with_pixels(cells, 7, np.rot90(cells.pixels[2]))
    html = page(facts_of(cells), cells)
    assert 'alt="image[2] and image[7]"' in html
    assert html.count('src="data:image/png;base64,') == html.count("<img ")
    assert "http" not in html and "<link" not in html


def test_sizes_and_modes_of_the_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (tmp_path / label).mkdir()
        for i, mode in enumerate(["RGB", "RGB", "RGB", "L", "RGBA"]):
            edge = 20 if mode == "RGB" else 24
            pixels = rng.integers(0, 256, (edge, edge, 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(tmp_path / label / f"{i}.png")
    data = FolderData(root=tmp_path, image_size=16)
    loaded = read(data)
    facts = audit(Audited(loaded, [], divide(loaded.cells, SplitSettings())), data)
    assert facts["source_sizes"] == {"20×20": 6, "24×24": 4}
    assert facts["source_modes"] == {"RGB": 6, "L": 2, "RGBA": 2}
    (tmp_path / "a" / "0.png").write_bytes(b"no more")
    with pytest.raises(InputError, match=r"a/0\.png: cannot be read any more"):
        audit(Audited(loaded, [], None), data)


def test_sizes_of_parquet_are_those_of_its_images_and_of_boxes_those_of_the_crops(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fields = [Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)) for _ in range(4)]
    images = []
    for number, field in enumerate(fields):
        field.save(tmp_path / f"{number}.png")
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>2</ymin><xmax>{left + edge}</xmax>"
            f"<ymax>{2 + edge}</ymax></bndbox></object>"
            for label, left, edge in (("a", 2, 10), ("b", 20, 15))
        )
        (tmp_path / f"{number}.xml").write_text(f"<annotation>{objects}</annotation>")
        file = io.BytesIO()
        field.convert("L" if number else "RGB").crop((0, 0, 30, 20 + number // 2)).save(file, "png")
        images.append({"bytes": file.getvalue(), "path": None})
    pq.write_table(pa.table({"image": images, "label": ["a", "b", "a", "b"]}), tmp_path / "cells.parquet")
    data = ParquetData(root=tmp_path / "cells.parquet", image_size=16)
    facts = audit(Audited(read(data), [], None), data)
    assert facts["source_sizes"] == {"30×20": 2, "30×21": 2}
    assert facts["source_modes"] == {"L": 3, "RGB": 1}
    boxes = BoxesData(root=tmp_path, image_size=16, margin=0)
    facts = audit(Audited(read(boxes), [], None), boxes)
    assert facts["source_sizes"] == {"10×10": 4, "15×15": 4}
    assert facts["source_modes"] == {"RGB": 8}


def test_drawn_cells_are_said_to_be_drawn() -> None:
    data = PhantomData(image_size=16, counts={"lobed": 4, "round": 4}, val_per_class=2, test_per_class=2)
    cells = load(data)
    facts = audit(Audited(Loaded(cells), [], divide(cells, SplitSettings())), data)
    assert facts["source_sizes"] == {"16×16": 16}
    assert "drawings, not cells" in page(facts, cells)


def deep_tree(root: Path, largest: int, count: int = 6) -> FolderData:
    """16-bit gray TIFF and PNG files, one of which has a value `largest`, and one RGB file."""
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (root / label).mkdir(parents=True)
        for i in range(count):
            gray = rng.integers(0, largest // 2, (16, 16)).astype(np.uint16)
            if (label, i) == ("b", count - 1):
                gray[3, 5] = largest
            Image.fromarray(gray).save(root / label / f"{i}.{('png', 'tif')[i % 2]}")
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / label / "rgb.png")
    return FolderData(root=root, image_size=16)


def shallow_of(data: Any) -> list[dict[str, Any]]:
    loaded = read(data)
    return list(audit(Audited(loaded, [], None), data)["shallow"])


@pytest.mark.parametrize(
    ("largest", "bits"), [(1023, 10), (1024, 12), (4095, 12), (4096, 14), (16383, 14), (200, 8)]
)
def test_16_bit_files_of_fewer_bits_are_told_with_the_key_to_set(
    tmp_path: Path, largest: int, bits: int
) -> None:
    data = deep_tree(tmp_path / "set", largest)
    (finding,) = shallow_of(data)
    assert {key: finding[key] for key in ("files", "largest", "bits")} == {
        "files": 12,
        "largest": largest,
        "bits": bits,
    }
    assert finding["key"] == f"data.decoding.depth=[0,{2**bits - 1}]" and finding["key"] in finding["says"]
    words = [f"root={tmp_path / 'set'}", finding["key"].removeprefix("data."), "image_size=16"]
    changed = load_config(FolderData, None, words)
    gray = [not name.endswith("rgb.png") for name in load(data).names]
    assert load(changed).pixels[gray].mean() > 3 * load(data).pixels[gray].mean()
    assert shallow_of(changed) == [], "the key mends it"
    html = page(audit(Audited(read(data), [], None), data), load(data))
    assert finding["key"] in html and "Dark images" in html


def test_16_bit_files_that_need_their_range_and_8_bit_files_are_not_told(tmp_path: Path) -> None:
    assert shallow_of(deep_tree(tmp_path / "deep", 16384)) == []
    rng = np.random.default_rng(0)
    for label in CLASSES:
        (tmp_path / "plain" / label).mkdir(parents=True)
        for i in range(3):
            dark = rng.integers(0, 20, (16, 16), dtype=np.uint8)
            Image.fromarray(dark).save(tmp_path / "plain" / label / f"{i}.png")
    assert shallow_of(FolderData(root=tmp_path / "plain", image_size=16)) == []


def test_of_two_sites_each_is_told_by_its_own_key(tmp_path: Path) -> None:
    train, test = deep_tree(tmp_path / "one", 60000), deep_tree(tmp_path / "two", 4000)
    (finding,) = shallow_of(CrossSiteData(train=train, test=test))
    assert finding["key"] == "data.test.decoding.depth=[0,4095]" and finding["files"] == 12


def test_the_title_says_what_was_audited_and_when(tmp_path: Path) -> None:
    data = deep_tree(tmp_path / "a & b", 60000)
    cells = load(data)
    html = page(audit(Audited(Loaded(cells), [], None), data), cells)
    (title,) = re.findall("<title>(.*)</title>", html)
    assert title == f"Audit of {tmp_path}/a &amp; b, {datetime.date.today().isoformat()}"


def test_what_was_not_found_is_one_line() -> None:
    cells = patchy(20)
    html = page(facts_of(cells), cells)
    assert (
        "None found: unreadable files, ignored files, label conflicts, cells on several sides of the split "
        "they came with, near duplicates, exact duplicates." in html
    )
    assert not re.search("<h2 id=", html) and "href=" not in html
    cells = with_pixels(cells, 4, cells.pixels[0])
    html = page(facts_of(cells), cells)
    assert re.findall('<h2 id="(.*?)">', html) == ["exact_duplicates"] == re.findall('href="#(.*?)"', html)
    assert "near duplicates." in html and "exact duplicates." not in html
