"""A set with morphology.csv beside it opens in other tools as before."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from cells.morphology import read_morphology
from cells.reading import read_set
from cells.sources import SplitFolderData, load
from cells.writing import write_set

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare.py"
WORDS = ("source=phantom", "image_size=32", "morphology=true", "split.near_duplicates=false")
COUNTS = ("counts.lobed=6", "counts.round=6", "counts.kidney=4", "counts.bilobed=4", "counts.granular=4")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "set"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr("sys.argv", ["prepare.py", *WORDS, *COUNTS, "counts.blast=4", f"out={out}"])
        patch.setenv("RARECELL_CACHE", str(out.parent / "cache"))
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert not end.value.code
    return out


def total(root: Path) -> int:
    return sum(len(read_morphology(root / side)[0]) for side in ("train", "val", "test"))


def test_each_side_has_its_numbers(prepared: Path) -> None:
    for side in ("train", "val", "test"):
        names, numbers = read_morphology(prepared / side)
        lines = (prepared / side / "metadata.jsonl").read_text().splitlines()
        assert names == [json.loads(line)["file_name"] for line in lines]
        assert np.nanmax(numbers["nucleus_share"]) > 0.05
    facts = json.loads((prepared / "audit.json").read_text())["morphology"]
    assert set(facts["medians"]) >= {"lobed", "blast"}
    html = (prepared / "audit.html").read_text()
    assert "Masks and morphology" in html and "outlines on some cells of lobed" in html


def test_checksums_name_it(prepared: Path) -> None:
    done = subprocess.run(["sha256sum", "-c", "--strict", "checksums.txt"], cwd=prepared, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert b"train/morphology.csv: OK" in done.stdout


def test_image_folder_and_our_own_reader_open_it(prepared: Path) -> None:
    assert len(ImageFolder(str(prepared / "train"))) == len(read_set(prepared / "train"))
    assert len(load(SplitFolderData(root=prepared, image_size=32))) == total(prepared)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_hugging_face_opens_it(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    import datasets

    datasets.disable_progress_bars()
    opened: Any = datasets.load_dataset("imagefolder", data_dir=str(prepared), cache_dir=str(tmp_path / "c"))
    assert sum(len(rows) for rows in opened.values()) == total(prepared)
    assert "image" in opened["train"].features and "label" in opened["train"].features


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
def test_croissant_is_valid_and_names_it(prepared: Path) -> None:
    import mlcroissant

    opened = mlcroissant.Dataset(jsonld=str(prepared / "croissant.json"))
    assert not opened.metadata.ctx.issues.errors
    named = {entry["name"] for entry in json.loads((prepared / "croissant.json").read_text())["distribution"]}
    assert "test/morphology.csv" in named


def test_writing_without_it_takes_an_older_one_away(prepared: Path, tmp_path: Path) -> None:
    cells = read_set(prepared / "test")
    write_set(cells, tmp_path)
    (tmp_path / "morphology.csv").write_text("file_name\n")
    write_set(cells, tmp_path)
    assert not (tmp_path / "morphology.csv").exists()
