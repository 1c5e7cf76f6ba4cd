"""Stacks from a table to a trained classifier, and the recipe for stacks that docs/data.md prints."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cells.manifest import ManifestData
from cells.sources import load
from cells.stacks import rows_of_stacks
from classifiers.training import Classifier
from runtime.command import run_command
from runtime.config import load_config
from scripts import predict, prepare, train_classifier

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "classifier_stacks.yaml"
SMALL = ("data.image_size=16", "classifier.width=4", "classifier.steps=4", "classifier.batch=4")


def run(script: object, *words: object) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as stopped:
        run_command(script.main, script.parser(), [str(word) for word in words])  # type: ignore[attr-defined]
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images of each of two classes, in the folder where commands run."""
    monkeypatch.chdir(tmp_path)
    draws = np.random.default_rng(0)
    for name in ("blast", "lobed"):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(10):
            pixels = draws.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "in" / name / f"{number}.png")
    return tmp_path


def manifest(folder: Path, columns: str = "file,label,stack,index") -> Path:
    """Five stacks of two images of each class."""
    lines = [
        f"in/{name}/{number}.png,{name},{name}{number // 2},{number % 2}"
        for name in ("blast", "lobed")
        for number in range(10)
    ]
    (folder / "cells.csv").write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
    return folder / "cells.csv"


@pytest.mark.parametrize("network", ["cnn3d", "cnn_gru"])
def test_a_table_of_stacks_becomes_a_classifier_that_labels_stacks(
    folder: Path, network: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"root={manifest(folder)}", "out=runs/stacks", "image_size=16"]
    assert run(prepare, "source=manifest", *words) == 0
    words = ["data.root=runs/stacks", "out=net", f"classifier.network={network}", *SMALL]
    assert run(train_classifier, CONFIG, *words) == 0
    assert Classifier.load(folder / "net").depth == 2
    scores = json.loads((folder / "net" / "scores.json").read_text())
    assert {round(2 * scores["test"]["accuracy"], 6)} <= {0, 1, 2}  # of two stacks, one of each class
    assert run(predict, "classifier=net", "images=in", "out=found") == 2
    assert "has single images, and this classifier takes stacks of 2" in capsys.readouterr().err
    new = load(ManifestData(root=Path("cells.csv"), image_size=16))
    expected = Classifier.load(folder / "net").probabilities(new)
    lines = (folder / "cells.csv").read_text().replace("in/lobed/3.png", "in/lobed/broken.png").splitlines()
    table = [",".join((file, stack, index)) for file, _, stack, index in (line.split(",") for line in lines)]
    (folder / "new.csv").write_text("\n".join([table[0], *reversed(table[1:])]))  # without classes
    (folder / "in" / "lobed" / "broken.png").write_bytes(b"no image")
    assert run(predict, "classifier=net", "images=new.csv", "out=found", "shown=3") == 0
    assert "10 stacks: " in capsys.readouterr().out
    with (folder / "found" / "predictions.csv").open(newline="") as file:
        rows = {row["stack"]: row for row in csv.DictReader(file)}
    assert list(rows) == [f"{name}{number}" for name in ("lobed", "blast") for number in range(4, -1, -1)]
    for number, name in enumerate(f"{name}{number}" for name in ("blast", "lobed") for number in range(5)):
        if name == "lobed1":
            assert rows[name]["flag"] == "unreadable" and "broken.png: not a read" in rows[name]["reason"]
            continue
        found = [float(rows[name][f"probability of {label}"]) for label in ("blast", "lobed")]
        assert found == pytest.approx(expected[number].tolist(), abs=2e-6)
        assert rows[name]["familiarity"]
    page = (folder / "found" / "predictions.html").read_text()
    assert "Above, the images of the stack in their order" in page and "at most" in page
    assert re.search(r'alt="(\w+), image 1"><img src="[^"]*" alt="\1, image 2"></div><div>', page)
    assert run(predict, "classifier=net", "images=runs/stacks/test", "out=prepared") == 0
    assert "2 stacks: " in capsys.readouterr().out


def test_a_network_of_single_images_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["data.kind=manifest", f"data.root={manifest(folder)}", "out=net", *SMALL]
    assert run(train_classifier, CONFIG, *words, "classifier.network=fast") == 2
    assert "use network=cnn3d or cnn_gru, or leave the columns stack and index out" in capsys.readouterr().err
    manifest(folder, "file,label,series,place")
    assert run(train_classifier, CONFIG, *words, "classifier.network=fast") == 0
    assert run(predict, "classifier=net", "images=cells.csv", "out=found") == 0
    manifest(folder)
    assert run(predict, "classifier=net", "images=cells.csv", "out=other") == 2
    assert (
        "lists stacks, and this classifier takes single images; use one that was" in capsys.readouterr().err
    )


def test_the_recipe_for_several_preprocessings_of_one_image(folder: Path) -> None:
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "runs/both.csv" in block)
    words = ["source=folder", "root=in", "image_size=16"]
    assert run(prepare, *words, "out=runs/plain") == 0
    assert run(prepare, *words, "out=runs/clahe", "preprocess=[{kind: clahe}]") == 0
    exec(code, {})
    words = ["data.kind=manifest", "data.root=runs/both.csv", *SMALL]
    assert run(train_classifier, CONFIG, *words, "out=net") == 0
    settings = load_config(train_classifier.TrainClassifierSettings, CONFIG, words)
    cells = load(settings.data)
    plain, clahe = rows_of_stacks(cells).T
    assert len(plain) == 20 and cells.splits[plain].tolist() == cells.splits[clahe].tolist()
    for one, other in zip(plain, clahe, strict=True):
        assert cells.names[one].replace("plain/", "clahe/", 1) == cells.names[other]
    assert (cells.pixels[plain] != cells.pixels[clahe]).any(axis=(1, 2, 3)).all()
