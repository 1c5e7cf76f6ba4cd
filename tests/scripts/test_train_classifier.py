"""The command on a tiny source, run in this process; once as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, recall_score, roc_auc_score

from cells.cellset import CellSet
from cells.preprocessing import Preprocessing
from cells.sources import load
from cells.split import divide
from cells.writing import write_set
from classifiers.training import Classifier
from runtime.command import run_command
from runtime.config import load_config
from scripts.train_classifier import TrainClassifierSettings, main, parser

ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {
    "data": {
        "kind": "phantom",
        "image_size": 16,
        "counts": {"lobed": 24, "blast": 8},
        "val_per_class": 4,
        "test_per_class": 6,
    },
    "classifier": {"network": "fast", "width": 4, "steps": 6, "batch": 8},
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def run(*words: object) -> int:
    """The exit code of the command."""
    with pytest.raises(SystemExit) as stopped:
        run_command(main, parser(), [str(word) for word in words])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def train_cells() -> CellSet:
    settings = TrainClassifierSettings.model_validate(TINY)
    return divide(load(settings.data), settings.split).train


def synthetic(cells: CellSet, split_digest: str, folder: Path) -> Path:
    made = CellSet.from_arrays(
        np.random.default_rng(0).integers(0, 256, (5, *cells.pixels.shape[1:])).astype(np.uint8),
        [cells.index_of("blast")] * 5,
        cells.classes,
        origin="synthetic",
        provenance=[{"generator": "gan", "seed": i, "split_digest": split_digest} for i in range(5)],
    )
    write_set(made, folder)
    return folder


def test_it_writes_a_classifier_and_the_scores_that_sklearn_gives(config: Path, tmp_path: Path) -> None:
    assert run(config, f"out={tmp_path / 'net'}", "seed=3") == 0
    settings = TrainClassifierSettings.model_validate(TINY)
    split = divide(load(settings.data), settings.split)
    net = Classifier.load(tmp_path / "net")
    assert net.origin == {"seed": 3, "cells": split.train.digest}
    found = json.loads((tmp_path / "net" / "scores.json").read_text())
    for side, cells in (("val", split.val), ("test", split.test)):
        predicted = net.predict(cells)
        assert found[side]["accuracy"] == pytest.approx(accuracy_score(cells.labels, predicted))
        assert found[side]["balanced_accuracy"] == pytest.approx(
            balanced_accuracy_score(cells.labels, predicted)
        )
        assert found[side]["macro_f1"] == pytest.approx(f1_score(cells.labels, predicted, average="macro"))
        recall = recall_score(cells.labels, predicted, average=None)
        assert list(found[side]["recall"].values()) == pytest.approx(list(recall))
    log = [json.loads(line) for line in (tmp_path / "net" / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6]
    assert log[-1]["val_balanced_accuracy"] == pytest.approx(found["val"]["balanced_accuracy"], abs=1e-4)


@pytest.mark.parametrize("word", ["synthetic_weight=0.3", "priors=real"])
def test_what_tells_synthetic_cells_apart_asks_for_some(
    word: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, f"out={tmp_path / 'net'}", f"classifier.{word}") == 2
    assert f"classifier.{word.partition('=')[0]}: tells synthetic" in capsys.readouterr().err


def test_a_finished_classifier_is_not_trained_again(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, f"out={tmp_path / 'net'}") == 0
    weights = tmp_path / "net" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    assert run(config, f"out={tmp_path / 'net'}") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == before


def test_an_unfinished_one_is_trained_again_to_the_same_weights(config: Path, tmp_path: Path) -> None:
    assert run(config, f"out={tmp_path / 'net'}") == 0
    first = (tmp_path / "net" / "weights.safetensors").read_bytes()
    (tmp_path / "net" / "scores.json").unlink()  # as if killed before the end
    (tmp_path / "net" / "weights.safetensors").write_bytes(b"half")
    assert run(config, f"out={tmp_path / 'net'}") == 0
    assert (tmp_path / "net" / "weights.safetensors").read_bytes() == first
    assert (tmp_path / "net" / "scores.json").is_file()


def test_synthetic_cells_join_the_training_cells_only(config: Path, tmp_path: Path) -> None:
    cells = train_cells()
    folder = synthetic(cells, cells.digest, tmp_path / "made")
    assert run(config, f"out={tmp_path / 'net'}", f"synthetic={folder}") == 0
    found = json.loads((tmp_path / "net" / "scores.json").read_text())
    assert found["train_counts"] == {"blast": 13, "lobed": 24}


def test_synthetic_cells_of_a_generator_of_other_cells_are_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = synthetic(train_cells(), "0123456789abcdef", tmp_path / "made")
    assert run(config, f"out={tmp_path / 'net'}", f"synthetic={folder}") == 2
    assert "may have seen the test cells" in capsys.readouterr().err
    assert not (tmp_path / "net").exists()


def test_real_cells_as_synthetic_ones_are_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_set(train_cells(), tmp_path / "real")
    assert run(config, f"out={tmp_path / 'net'}", f"synthetic={tmp_path / 'real'}") == 2
    assert "not synthetic" in capsys.readouterr().err


def test_another_config_in_the_same_folder_is_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config, f"out={tmp_path / 'net'}") == 0
    before = (tmp_path / "net" / "scores.json").read_bytes()
    assert run(config, f"out={tmp_path / 'net'}", "classifier.steps=7") == 2
    message = capsys.readouterr().err
    assert "classifier.steps was 6, is 7" in message and "Traceback" not in message
    assert (tmp_path / "net" / "scores.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classifier.stepz=3"], "unknown key 'classifier.stepz'. Did you mean 'steps'"),
        (["classifier.network=resnet"], "'classifier.network' = 'resnet'"),
        (["rare=[blasts]"], "no class 'blasts'. Did you mean 'blast'"),
        (["synthetic=nowhere"], "nowhere"),
        (["classifier.network=resnet18"], "at least 28 px, these have 16 px"),
    ],
)
def test_bad_input_ends_in_one_sentence(
    words: list[str], message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "resnet18" in words[0]:
        words = [*words, "classifier.width=64"]
    assert run(config, f"out={tmp_path / 'net'}", *words) == 2
    printed = capsys.readouterr().err
    assert message in printed and len(printed.strip().splitlines()) == 1
    assert not (tmp_path / "net" / "weights.safetensors").exists()


def test_out_is_asked_for(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config) == 2
    assert "'out=' is missing" in capsys.readouterr().err


def test_the_shipped_config_is_valid() -> None:
    path = ROOT / "configs" / "classifier_pbc.yaml"
    settings = load_config(TrainClassifierSettings, path, [])
    assert settings.classifier.network == "small_resnet" and settings.classifier.width == 16


def test_the_protocol_of_medmnist_is_what_its_config_says() -> None:
    settings = load_config(TrainClassifierSettings, ROOT / "configs" / "medmnist_resnet18.yaml", [])
    net = settings.classifier
    assert (net.network, net.normalization, net.augmentation) == ("resnet18_3x3", "medmnist", "none")
    assert (net.optimizer, net.peak_lr, net.weight_decay) == ("adam", 1e-3, 0)
    assert (net.schedule, net.batch, net.steps) == ("milestones", 128, 100 * 80)  # 10,165 cells: 80 batches
    assert net.keep == "last" and not net.transfers
    small = load_config(TrainClassifierSettings, ROOT / "configs" / "medmnist_small.yaml", [])
    assert (small.classifier.network, small.classifier.width) == ("small_resnet", 16)


def test_a_medmnist_file_is_scored_with_its_auc(tmp_path: Path) -> None:
    cells = train_cells()
    pixels, labels = cells.pixels, cells.labels.reshape(-1, 1)
    arrays = {f"{side}_{what}": found for side in ("train", "val", "test") for what, found in (
        ("images", pixels), ("labels", labels))}  # fmt: skip
    np.savez(tmp_path / "tiny.npz", **arrays)
    words = [f"data.name={tmp_path / 'tiny.npz'}", "data.classes=[a,b]", "data.image_size=16"]
    config = ROOT / "configs" / "medmnist_resnet18.yaml"
    assert run(config, f"out={tmp_path / 'net'}", *words, "classifier.steps=2", "classifier.batch=8") == 0
    found = json.loads((tmp_path / "net" / "scores.json").read_text())
    own = Classifier.load(tmp_path / "net").probabilities(cells)
    expected = [roc_auc_score(cells.labels == k, own[:, k]) for k in range(2)]
    assert found["test"]["auc"] == pytest.approx(np.mean(expected))


def test_it_runs_on_its_own_and_explains_itself() -> None:
    script = str(ROOT / "scripts" / "train_classifier.py")
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "synthetic=DIR" in done.stdout


def test_a_preprocessed_classifier_keeps_what_was_done(config: Path, tmp_path: Path) -> None:
    steps = "preprocess=[{kind: clahe}]"
    assert run(config, f"out={tmp_path / 'out'}", steps) == 0
    done = Preprocessing.load(tmp_path / "out")
    assert done is not None and done.fitted_on == train_cells().digest
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["trained_on"] == done.cells(train_cells()).digest


def test_synthetic_cells_of_other_preprocessing_are_refused(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = train_cells()
    made = synthetic(cells, cells.digest, tmp_path / "made")  # of a generator that saw the cells as they were
    assert run(config, f"out={tmp_path / 'out'}", f"synthetic={made}", "preprocess=[{kind: clahe}]") == 2
    assert "same data, split and preprocess" in capsys.readouterr().err
