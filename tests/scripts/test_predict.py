"""A tiny classifier is trained and asked about a folder of images, in this process."""

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from cells.cellset import CellSet
from cells.phantom import phantoms
from cells.preprocessing import Preprocessing
from classifiers.training import Classifier
from runtime.command import run_command
from scripts import predict, train_classifier

CROP = 36  # of phantoms of 40 px


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, *words: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        run_command(main, parser, [str(word) for word in words])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def ask(*words: object) -> int:
    return run(predict.main, predict.parser(), *words)


def save_phantoms(folder: Path, count: int, seed: int) -> None:
    cells = phantoms({"lobed": count, "blast": count}, 40, seed)
    for number, (pixels, label) in enumerate(zip(cells.pixels, cells.labels, strict=True)):
        (folder / cells.classes[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / cells.classes[label] / f"{number:03d}.png")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of a tree of images, cropped and preprocessed."""
    folder = tmp_path_factory.mktemp("trained")
    save_phantoms(folder / "cells", 60, 0)
    config = {
        "data": {"kind": "folder", "root": str(folder / "cells"), "image_size": 16, "crop": CROP},
        "split": {"fractions": [0.4, 0.5, 0.1], "near_duplicates": False},
        "preprocess": [{"kind": "gamma", "gamma": 0.8}],
        "classifier": {"network": "fast", "width": 4, "steps": 40, "batch": 16},
    }
    (folder / "net.yaml").write_text(yaml.safe_dump(config))
    main, parser = train_classifier.main, train_classifier.parser()
    assert run(main, parser, folder / "net.yaml", f"out={folder / 'net'}") == 0
    return folder / "net"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """New cells, in class folders and beside them; noise, and files that cannot be read."""
    folder = tmp_path / "images"
    save_phantoms(folder, 8, 7)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    Image.fromarray(noise[:20, :20]).save(folder / "small.png")  # smaller than the crop
    return folder


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_every_file_is_labelled_as_the_classifier_would(trained: Path, images: Path, tmp_path: Path) -> None:
    assert ask(f"classifier={trained}", f"images={images}", f"out={tmp_path / 'out'}", "rate=0.05") == 0
    rows, net = table(tmp_path / "out"), Classifier.load(trained)
    assert len(rows) == 19
    cells = phantoms({"lobed": 8, "blast": 8}, 40, 7)
    cut = cells.pixels[:, 2:38, 2:38]
    shrunk = np.stack([np.array(Image.fromarray(x).resize((16, 16), Image.Resampling.BICUBIC)) for x in cut])
    done = Preprocessing.load(trained)
    assert done is not None
    read = CellSet.from_arrays(done.apply(shrunk), [0] * len(shrunk), net.classes)
    expected = net.probabilities(read)
    for number, label in enumerate(cells.labels):
        row = rows[f"{cells.classes[label]}/{number:03d}.png"]
        found = [float(row[f"probability of {name}"]) for name in net.classes]
        assert found == pytest.approx(expected[number].tolist(), abs=2e-6)
        assert row["class"] == net.classes[int(expected[number].argmax())]
        assert float(row["probability"]) == pytest.approx(expected[number].max(), abs=2e-6)
    assert rows["noise.png"]["flag"] == "unlike training cells"
    assert sum(row["flag"] == "unlike training cells" for row in rows.values()) <= 3
    for name, reason in (("broken.jpg", "not a readable image"), ("small.png", "larger than an image")):
        assert rows[name]["flag"] == "unreadable" and reason in rows[name]["reason"]
        assert rows[name]["class"] == rows[name]["probability"] == ""


def test_the_page_stands_alone_and_says_what_it_leaves_out(
    trained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "<b>&.png").write_bytes((images / "noise.png").read_bytes())
    words = (f"classifier={trained}", f"images={images}", f"out={tmp_path / 'out'}", "rate=0.05", "shown=2")
    assert ask(*words) == 0
    assert "20 images: " in capsys.readouterr().out
    page = (tmp_path / "out" / "predictions.html").read_text()
    assert "shows only the first ones" in page and ", 2 shown" in page
    assert "broken.jpg" in page and "not a readable image" in page
    assert "&lt;b&gt;&amp;.png" in page and "<b>&.png" not in page
    shown = re.findall(r'<img src="(.{22})', page)
    assert 2 * 2 <= len(shown) <= 2 * 2 * 3 and set(shown) == {"data:image/png;base64,"}
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert ask(*words) == 0  # the same again


def test_a_classifier_from_before_says_that_nothing_is_flagged(
    trained: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tmp_path / "old"
    old.mkdir()
    for name in ("weights.safetensors", "config.json", "config.yaml", "preprocessing.json"):
        (old / name).write_bytes((trained / name).read_bytes())
    assert ask(f"classifier={old}", f"images={images}", f"out={tmp_path / 'out'}") == 0
    assert "has no known.json, so nothing is flagged" in capsys.readouterr().out
    rows = table(tmp_path / "out")
    assert rows["noise.png"]["flag"] == rows["noise.png"]["familiarity"] == ""
    assert "known.json is missing" in (tmp_path / "out" / "predictions.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["images=x"], "'classifier' is missing"),
        (["classifier=nowhere", "images=x"], "nowhere/config.json: no such file"),
        (["classifier=NET", "images=nowhere"], "nowhere: no such folder; set images"),
        (["classifier=NET", "images=x", "rate=2"], "'rate' = '2'"),
        (["classifier=NET", "images=x", "shwn=2"], "unknown key 'shwn'. Did you mean 'shown'"),
        (["classifier=NET", "x"], "predict takes key=value words only"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    words: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.replace("NET", str(trained)) for word in words]
    assert ask(*words, f"out={tmp_path / 'out'}") == 2
    printed = capsys.readouterr().err
    assert message.replace("'2'", "2") in printed.replace("'2'", "2")
    assert len(printed.strip().splitlines()) == 1 and "Traceback" not in printed
    assert not (tmp_path / "out").exists()


def test_out_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("classifier=x", "images=y") == 2
    assert "'out=' is missing" in capsys.readouterr().err
