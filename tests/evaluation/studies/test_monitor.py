"""The monitor: figures on validation cells, by networks of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cells.cellset import CellSet
from classifiers.training import Classifier, ClassifierSettings
from evaluation.features.encoders import DomainEncoder
from evaluation.studies.monitor import MonitorSettings, ValidationMonitor, WatchSettings, own_watch, watch
from generators import build
from generators.resample import RepeatSettings
from runtime.errors import InputError
from runtime.rundir import RunDir

CLASSES = ("pale", "dark")
NET = ClassifierSettings(network="fast", width=4, steps=30, batch=16, sampler="balanced", lr=0.01)


def shades(count: int, seed: int, levels: tuple[int, int] = (200, 60), **extra: Any) -> CellSet:
    """Noisy squares, `count` of each of two brightnesses."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], count)
    level = np.array(levels)[labels][:, None, None, None]
    pixels = (level + random.integers(-40, 40, (len(labels), 16, 16, 3))).astype(np.uint8)
    return CellSet.from_arrays(pixels, labels, CLASSES, **{"splits": "train", **extra})


@pytest.fixture(scope="module")
def judge() -> Classifier:
    return Classifier(CLASSES, NET).fit(shades(24, 0), seed=1)


def repeating(cells: CellSet, folder: Path) -> Any:
    """A generator that draws these very cells."""
    return build(RepeatSettings(), CLASSES, 16).fit(cells, RunDir(folder))


def test_a_generator_of_the_right_cells_looks_better(judge: Classifier, tmp_path: Path) -> None:
    monitor = ValidationMonitor(shades(30, 2, splits="val"), DomainEncoder(judge), judge, 24, 0)
    good = monitor(1, repeating(shades(40, 3), tmp_path / "good"))
    off = monitor(2, repeating(shades(40, 4, levels=(150, 110)), tmp_path / "off"))
    swapped = monitor(3, repeating(shades(40, 5, levels=(60, 200)), tmp_path / "swapped"))
    assert good["kid"] < off["kid"]
    assert good["label_agreement"] > 0.9 > 0.1 > swapped["label_agreement"]
    assert good["label_agreement"] == np.mean([good[f"label_agreement/{name}"] for name in CLASSES])
    assert monitor(4, repeating(shades(40, 3), tmp_path / "good")) == good, (
        "the same moment, the same figures"
    )
    chosen = watch(WatchSettings(every=7), monitor)
    assert chosen.every == 7 and chosen.rank(good) < chosen.rank(off)
    agreeing = watch(WatchSettings(decide_by="label_agreement"), monitor)
    assert agreeing.decide_by == (("label_agreement", "high"), ("kid", "low"))
    assert agreeing.rank(good) < agreeing.rank(swapped)


def test_fingerprint_says_what_was_compared(judge: Classifier) -> None:
    val = shades(30, 2, splits="val")
    found = ValidationMonitor(val, DomainEncoder(judge), judge, 24, 0).fingerprint
    assert found["reference_split"] == "val" and found["encoder"] == "domain CNN"
    assert (found["n_reference"], found["n_synthetic"], found["classes"]) == (48, 48, list(CLASSES))
    other = ValidationMonitor(shades(30, 9, splits="val"), DomainEncoder(judge), judge, 24, 0).fingerprint
    assert found["reference"] != other["reference"]


def test_a_class_with_few_validation_cells_does_not_shrink_the_comparison(judge: Classifier) -> None:
    val = shades(30, 2, splits="val").subset(np.arange(33))  # three dark ones
    monitor = ValidationMonitor(val, DomainEncoder(judge), judge, 64, 0)
    assert monitor.mix == ("pale",) and len(monitor.reference) == 30
    both = ValidationMonitor(val.subset(np.arange(15, 33)), DomainEncoder(judge), judge, 64, 0)
    assert both.mix == CLASSES and len(both.reference) == 6


def test_cells_that_cannot_serve_are_refused(judge: Classifier) -> None:
    encoder = DomainEncoder(judge)
    with pytest.raises(InputError, match="validation"):
        ValidationMonitor(shades(5, 2, origin="synthetic"), encoder, judge, 8, 0)
    with pytest.raises(InputError, match="no class has two validation cells"):
        ValidationMonitor(shades(1, 2), encoder, judge, 8, 0)
    renamed = CellSet.from_arrays(shades(5, 2).pixels, shades(5, 2).labels, ("a", "b"))
    with pytest.raises(InputError, match="monitor: knows classes"):
        ValidationMonitor(renamed, encoder, judge, 8, 0)


def test_own_networks_are_trained_once_and_a_start_that_saw_validation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"network": "fast", "width": 4, "steps": 3, "batch": 8}
    settings = MonitorSettings.model_validate(
        {"encoder": {"kind": "domain", "classifier": small}, "classifier": small, "cells": 4}
    )
    train, val = shades(12, 0), shades(6, 1, splits="val")
    first = own_watch(settings, train, val, 0, tmp_path / "nets", None)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Classifier, "fit", refuse)
    again = own_watch(settings, train, val, 0, tmp_path / "nets", None)
    assert again.words() == first.words()
    nets = [Classifier.load(path.parent) for path in (tmp_path / "nets").rglob("config.json")]
    assert len({net.origin["seed"] for net in nets}) == 2, "encoder and judge are trained apart"
    assert all(net.origin["cells"] == train.digest for net in nets), "on training cells alone"
    repeating(val, tmp_path / "start")
    with pytest.raises(InputError, match="was trained on this cell"):
        own_watch(settings, train, val, 0, tmp_path / "nets", tmp_path / "start")
    assert torch.isfinite(torch.tensor(first(1, repeating(train, tmp_path / "one"))["kid"]))
