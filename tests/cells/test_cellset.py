import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from cells import CellSet
from cells.reading import read_set
from cells.writing import write_set
from runtime.errors import InputError


def made(count: int = 6, origin: str = "real", size: int = 8) -> CellSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    provenance = [{"generator": "g", "seed": i} if origin == "synthetic" else {} for i in range(count)]
    return CellSet.from_arrays(
        pixels, [i % 2 for i in range(count)], ["b", "a"], origin=origin, provenance=provenance
    )


def test_the_algebra() -> None:
    cells = made(6)
    assert cells.counts == {"b": 3, "a": 3}
    assert cells.subset(cells.labels == 1).counts == {"b": 0, "a": 3}
    assert list(cells.subset([4, 0]).names) == ["image[4]", "image[0]"]
    both = cells + made(2, origin="synthetic")
    assert both.counts == {"b": 4, "a": 4}
    assert both.is_synthetic.tolist() == [False] * 6 + [True] * 2
    assert len(cells.subset([])) == 0
    assert cells.of_class("a").labels.tolist() == [1, 1, 1]


def test_it_cannot_be_written_to() -> None:
    cells = made()
    with pytest.raises(ValueError, match="read-only"):
        cells.pixels[0, 0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        cells.labels[0] = 1


def test_the_digest_follows_pixels_and_labels_but_not_order() -> None:
    cells = made()
    assert cells.digest == cells.subset([5, 4, 3, 2, 1, 0]).digest
    changed = cells.pixels.copy()
    changed[0, 0, 0, 0] ^= 1
    assert CellSet.from_arrays(changed, cells.labels, cells.classes).digest != cells.digest
    assert CellSet.from_arrays(cells.pixels, 1 - cells.labels, cells.classes).digest != cells.digest


def test_save_and_load_keep_everything(tmp_path: Path) -> None:
    cells = made(4, origin="synthetic")
    write_set(cells, tmp_path)
    loaded = read_set(tmp_path)
    assert loaded.classes == ("b", "a")  # in the order given, not sorted
    assert np.array_equal(loaded.pixels, cells.pixels)
    assert np.array_equal(loaded.labels, cells.labels)
    assert loaded.provenance[3] == {"generator": "g", "seed": 3}
    assert loaded.is_synthetic.all()


def test_other_tools_open_a_saved_set(tmp_path: Path) -> None:
    write_set(made(4), tmp_path)
    folder = ImageFolder(str(tmp_path))
    assert folder.classes == ["a", "b"]
    assert len(folder) == 4
    records = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert {"file_name", "label", "group", "split", "origin", "sha256"} <= set(records[0])


def test_only_synthetic_images_say_that_they_are(tmp_path: Path) -> None:
    write_set(made(2, origin="synthetic"), tmp_path / "synthetic")
    write_set(made(2), tmp_path / "real")
    with Image.open(tmp_path / "synthetic/b/000000.png") as image:
        assert "trainedAlgorithmicMedia" in image.info["XML:com.adobe.xmp"]
    with Image.open(tmp_path / "real/b/000000.png") as image:
        assert "XML:com.adobe.xmp" not in image.info


def test_an_altered_image_is_refused_by_name(tmp_path: Path) -> None:
    write_set(made(2), tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "b/000000.png")
    with pytest.raises(InputError, match=r"b/000000\.png: differs from metadata"):
        read_set(tmp_path)
    (tmp_path / "b/000000.png").unlink()
    with pytest.raises(InputError, match=r"b/000000\.png: missing or unreadable"):
        read_set(tmp_path)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown class 'c'"):
        made().index_of("c")
    with pytest.raises(InputError, match="cannot be joined"):
        made() + made(size=16)
    escaping = CellSet.from_arrays(made().pixels, made().labels, ["../b", "a"])
    with pytest.raises(InputError, match="begins with a dot"):
        write_set(escaping, tmp_path)


def test_resizing_keeps_the_table() -> None:
    small = made().resized(4)
    assert small.pixels.shape == (6, 4, 4, 3)
    assert small.counts == made().counts
    assert made().resized(8).digest == made().digest


def test_the_modality_goes_wherever_the_cells_go(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3)).astype(np.uint8)
    cells = CellSet.from_arrays(pixels, [0, 1, 0, 1], ("a", "b"), provenance=[{"stack": "x"}] * 4)
    assert cells.modality == "microscopy"
    xrays = cells.with_modality("xray")
    write_set(xrays, tmp_path / "set")
    for same in (xrays.subset([2]), xrays + cells, xrays.resized(16), read_set(tmp_path / "set")):
        assert same.modality == "xray" and same.provenance[0]["stack"] == "x"
    assert xrays.with_modality("microscopy").provenance.tolist() == cells.provenance.tolist()
    assert xrays.digest == cells.digest
