"""One contract for every network; tiny widths, tiny cells."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cells.cellset import CellSet
from classifiers.networks import NETWORKS
from classifiers.training import Classifier, ClassifierSettings
from runtime.config import load_config
from runtime.errors import InputError

WIDTHS = {"small_resnet": 4, "fast": 4, "convnet": 4, "mobilenet_v2": 8}
# Depthwise convolutions learn slowly from scratch; the wide ResNet-18 costs most.
STEPS = {"small_resnet": 30, "fast": 30, "convnet": 30, "resnet18": 15, "mobilenet_v2": 150}
LARGE = ("resnet18_3x3", "resnet50", "vgg19_bn", "efficientnet_b0", "convnext_tiny")
SIZES = {name: max(12, architecture.smallest) for name, architecture in NETWORKS.items()}
CLASSES = ("bright", "dark", "striped")


def toy(size: int, counts: tuple[int, ...] = (40, 40, 40), seed: int = 0) -> CellSet:
    """Cells that anything should tell apart: by brightness, and stripes by texture."""
    draws = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), counts)
    pixels = draws.normal(128, 20, (len(labels), size, size, 3))
    pixels[labels == 0] += 60
    pixels[labels == 1] -= 60
    pixels[labels == 2] += 80 * (-1.0) ** (np.arange(size) // 2)[:, None, None]
    return CellSet.from_arrays(pixels.clip(0, 255).astype(np.uint8), labels, CLASSES)


def settings(network: str, **changes: object) -> ClassifierSettings:
    plain = {
        "network": network,
        "width": WIDTHS.get(network),
        "steps": STEPS.get(network, 2),
        "batch": 16,
        **changes,
    }
    return ClassifierSettings.model_validate(plain)


@pytest.mark.parametrize("network", list(STEPS))
class TestContract:
    def test_it_learns_and_its_probabilities_are_probabilities(self, network: str) -> None:
        size = SIZES[network]
        net = Classifier(CLASSES, settings(network)).fit(toy(size), seed=0)
        unseen = toy(size, seed=1)
        probabilities = net.probabilities(unseen)
        assert probabilities.shape == (120, 3) and probabilities.dtype == np.float32
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert probabilities.min() >= 0
        assert net.predict(unseen).dtype == np.int64
        assert (net.predict(unseen) == unseen.labels).mean() > 0.9
        features = net.features(unseen)
        assert features.shape == (120, net.network.head.in_features)
        assert features.dtype == np.float32 and np.isfinite(features).all()

    def test_same_seed_same_result(self, network: str) -> None:
        cells = toy(SIZES[network], (8, 8, 8))
        made = [
            Classifier(CLASSES, settings(network, steps=3)).fit(cells, seed=seed).probabilities(cells)
            for seed in (0, 0, 1)
        ]
        np.testing.assert_array_equal(made[0], made[1])
        assert np.abs(made[0] - made[2]).max() > 0

    def test_save_and_load_is_the_identity(self, network: str, tmp_path: Path) -> None:
        cells = toy(SIZES[network], (8, 8, 8))
        net = Classifier(CLASSES, settings(network, steps=3)).fit(cells, seed=4)
        net.save(tmp_path / "net")
        again = Classifier.load(tmp_path / "net")
        np.testing.assert_array_equal(again.probabilities(cells), net.probabilities(cells))
        np.testing.assert_array_equal(again.features(cells), net.features(cells))
        assert (again.classes, again.settings) == (net.classes, net.settings)
        assert (again.image_size, again.history) == (net.image_size, net.history)
        assert again.origin == {"seed": 4, "cells": cells.digest}

    def test_too_small_an_image_is_refused_with_the_number(self, network: str) -> None:
        smallest = NETWORKS[network].smallest
        net = Classifier(CLASSES, settings(network))
        with pytest.raises(InputError, match=f"at least {smallest} px, these have {smallest - 1} px"):
            net.fit(toy(smallest - 1, (2, 2, 2)), seed=0)

    def test_a_cell_s_answer_does_not_depend_on_its_neighbors(self, network: str) -> None:
        cells = toy(SIZES[network], (8, 8, 8))
        net = Classifier(CLASSES, settings(network, steps=2)).fit(cells, seed=0)
        alone = net.probabilities(cells.subset([5]))[0]
        np.testing.assert_allclose(net.probabilities(cells)[5], alone, atol=1e-5)


@pytest.mark.parametrize("network", LARGE)
def test_a_large_network_trains_at_its_smallest_size_and_is_saved(network: str, tmp_path: Path) -> None:
    cells = toy(NETWORKS[network].smallest, (2, 2, 2))
    net = Classifier(CLASSES, settings(network, batch=2)).fit(cells, seed=0)
    net.save(tmp_path)
    found = net.probabilities(cells)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(Classifier.load(tmp_path).probabilities(cells), found)


def test_every_network_keeps_the_contract() -> None:
    assert {*STEPS, *LARGE} == set(NETWORKS)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "class_weights"},
        {"loss": "logit_adjustment"},
        {"sampler": "balanced"},
        {"augmentation": "none"},
        {"augmentation": "strong", "steps": 60},
    ],
    ids=lambda changes: str(next(iter(changes.values()))),
)
def test_every_way_against_imbalance_trains(changes: dict[str, object]) -> None:
    net = Classifier(CLASSES, settings("fast", **changes)).fit(toy(16, (60, 20, 6)), seed=0)
    unseen = toy(16, (20, 20, 20), seed=1)
    assert (net.predict(unseen) == unseen.labels).mean() > 0.8


def noise(labels: list[int], seed: int) -> CellSet:
    draws = np.random.default_rng(seed)
    pixels = draws.integers(0, 256, (len(labels), 8, 8, 3)).astype(np.uint8)
    return CellSet.from_arrays(pixels, labels, ("common", "rare"))


@pytest.mark.parametrize(
    ("changes", "share"),
    [
        ({}, 0.1),
        ({"loss": "logit_adjustment"}, 0.5),
        ({"loss": "class_weights"}, 0.5),
        ({"sampler": "balanced"}, 0.5),
    ],
    ids=["plain", "logit_adjustment", "class_weights", "balanced"],
)
def test_what_cannot_be_told_apart_gets_the_share_that_it_trains_for(
    changes: dict[str, str], share: float
) -> None:
    recipe = settings("fast", steps=40, batch=64, lr=1e-2, **changes)
    net = Classifier(("common", "rare"), recipe).fit(noise([0] * 360 + [1] * 40, 0), seed=0)
    rare = net.probabilities(noise([0] * 200, 1))[:, 1].mean()
    assert float(rare) == pytest.approx(share, abs=0.06)


@pytest.mark.parametrize("loss", ["cross_entropy", "class_weights", "logit_adjustment"])
@pytest.mark.parametrize("sampler", ["uniform", "balanced"])
def test_a_class_without_training_cells_does_no_harm(loss: str, sampler: str) -> None:
    cells = toy(12, (30, 30, 0))
    net = Classifier(CLASSES, settings("fast", loss=loss, sampler=sampler)).fit(cells, seed=0)
    unseen = toy(12, (20, 20, 0), seed=1)
    assert np.isfinite(net.probabilities(unseen)).all()
    assert (net.predict(unseen) == unseen.labels).mean() > 0.9


def test_cells_of_one_class_are_refused() -> None:
    with pytest.raises(InputError, match=r"1 class\(es\)"):
        Classifier(CLASSES, settings("fast")).fit(toy(12, (9, 0, 0)), seed=0)


def test_cells_of_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="same classes in the same order"):
        Classifier(CLASSES[::-1], settings("fast")).fit(toy(12, (2, 2, 2)), seed=0)


def test_cells_of_another_size_are_refused_with_the_number() -> None:
    net = Classifier(CLASSES, settings("fast", steps=1)).fit(toy(12, (4, 4, 4)), seed=0)
    with pytest.raises(InputError, match=r"trained at 12 px, these cells have 16 px"):
        net.predict(toy(16, (1, 1, 1)))


def test_no_cells_give_no_rows() -> None:
    net = Classifier(CLASSES, settings("fast", steps=1)).fit(toy(12, (4, 4, 4)), seed=0)
    assert net.probabilities(toy(12).subset([])).shape == (0, 3)


def test_history_reads_validation_cells_and_they_change_nothing() -> None:
    cells, val = toy(12), toy(12, (10, 10, 0), seed=2)
    plain = Classifier(CLASSES, settings("fast")).fit(cells, seed=0)
    watched = Classifier(CLASSES, settings("fast")).fit(cells, seed=0, val=val)
    np.testing.assert_array_equal(plain.probabilities(val), watched.probabilities(val))
    assert [row["step"] for row in watched.history] == list(range(3, 31, 3))
    right = watched.predict(val) == val.labels
    expected = (right[:10].mean() + right[10:].mean()) / 2
    assert watched.history[-1]["val_balanced_accuracy"] == pytest.approx(expected, abs=1e-5)
    assert watched.history[-1]["loss"] < watched.history[0]["loss"]


def test_training_that_diverges_says_which_key_to_lower() -> None:
    broken = settings("fast", lr=1e30, steps=20, weight_decay=0.0)
    with pytest.raises(InputError, match=r"diverged.*lower classifier\.lr"):
        Classifier(CLASSES, broken).fit(toy(12, (8, 8, 8)), seed=0)


def test_a_saved_network_of_other_settings_is_refused(tmp_path: Path) -> None:
    Classifier(CLASSES, settings("fast", steps=1)).fit(toy(12, (4, 4, 4)), seed=0).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["settings"]["width"] = 8
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not fit"):
        Classifier.load(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json"):
        Classifier.load(tmp_path)
    Classifier(CLASSES, settings("fast", steps=1)).fit(toy(12, (4, 4, 4)), seed=0).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "kind": "gan"}))
    with pytest.raises(InputError, match="holds a gan, not a classifier"):
        Classifier.load(tmp_path)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("network=resnet", "'network' = 'resnet'.*Did you mean"),
        ("loss=crossentropy", "Did you mean 'cross_entropy'"),
        ("step=3", "unknown key 'step'.*Did you mean 'steps'"),
        ("batch=1", "'batch' = 1"),
        ("lr=0", "'lr' = 0"),
        ("sampler=even", "'sampler' = 'even'"),
    ],
)
def test_settings_name_the_key(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(ClassifierSettings, None, [word])


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    Classifier(CLASSES, settings("fast", steps=2)).fit(toy(12, (4, 4, 4)), seed=0)
    assert torch.equal(torch.rand(1), expected)
