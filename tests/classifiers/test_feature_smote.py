"""SMOTE on features: which points the last layer learns from, and that nothing else learns."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from cells.cellset import CellSet
from classifiers.batches import Batch
from classifiers.feature_smote import features_of, filled, filled_counts, smote_batches
from classifiers.networks import build_network
from classifiers.phases import SMOTED, Phase
from classifiers.training import Classifier, ClassifierSettings
from runtime.errors import InputError

CLASSES = ("common", "rare", "rarest")
COUNTS = (30, 9, 3)


@pytest.fixture(scope="module")
def cells() -> CellSet:
    """Noise of three brightnesses."""
    labels = np.repeat([0, 1, 2], COUNTS)
    level = np.array([60, 130, 200])[labels][:, None, None, None]
    noise = np.random.default_rng(0).integers(-30, 30, (len(labels), 12, 12, 3))
    return CellSet.from_arrays((level + noise).astype(np.uint8), labels, CLASSES)


def settings(**changes: object) -> ClassifierSettings:
    plain = {"network": "fast", "width": 4, "steps": 10, "batch": 16, "phases": SMOTED}
    return ClassifierSettings.model_validate({**plain, **changes})


def batches_of(cells: CellSet, steps: int, augmentation: str = "none", seed: int = 5) -> list[Batch]:
    network = build_network("fast", 3, 4, seed=1).eval()
    pixels = torch.from_numpy(np.ascontiguousarray(cells.pixels.transpose(0, 3, 1, 2)))
    made = smote_batches(
        network,
        pixels,
        torch.from_numpy(cells.labels.copy()),
        augmentation=augmentation,
        modality="microscopy",
        batch=16,
        steps=steps,
        seed=seed,
    )
    return list(made)


def test_filled_points_lie_between_points_of_their_class(cells: CellSet) -> None:
    points = np.random.default_rng(1).normal(size=(42, 4)).astype(np.float32)
    more, labels = filled(points, cells.labels, seed=3)
    assert np.bincount(labels).tolist() == [30, 30, 30] and more.dtype == np.float32
    np.testing.assert_array_equal(more[:42], points)
    for label in (1, 2):
        known = points[cells.labels == label].astype(np.float64)
        for point in more[42:][labels[42:] == label]:
            ways = known[None] - known[:, None]  # (from, to, d)
            squared = (ways**2).sum(axis=2) + np.eye(len(known))
            share = (((point - known)[:, None] * ways).sum(axis=2) / squared).clip(0, 1)
            off = np.abs(known[:, None] + share[..., None] * ways - point).max(axis=2)
            assert off.min() < 1e-5
            assert np.abs(known - point).max(axis=1).min() > 1e-5, "no copy"
    again, _ = filled(points, cells.labels, seed=3)
    other, _ = filled(points, cells.labels, seed=4)
    np.testing.assert_array_equal(more, again)
    assert np.abs(more - other).max() > 0


def test_batches_are_balanced_and_each_round_hands_out_every_point_once(cells: CellSet) -> None:
    made = batches_of(cells, steps=45)  # 8 rounds of 90 points
    targets = torch.cat([batch.targets for batch in made])
    assert targets.shape == (720,)
    for begin in range(0, 720, 90):
        assert targets[begin : begin + 90].bincount().tolist() == [30, 30, 30]
    assert all(batch.images.shape == (16, 16) and batch.images.dtype == torch.float32 for batch in made)
    first = torch.cat([batch.images for batch in made])[:90].numpy()
    network = build_network("fast", 3, 4, seed=1).eval()
    images = torch.from_numpy(np.ascontiguousarray(cells.pixels.transpose(0, 3, 1, 2))).float() / 255
    for row in features_of(network, images):
        assert np.abs(first - row).max(axis=1).min() < 1e-4


def test_rounds_are_augmented_anew(cells: CellSet) -> None:
    def common(augmentation: str) -> set[tuple[float, ...]]:
        made = batches_of(cells, 12, augmentation)
        rows, labels = torch.cat([b.images for b in made]), torch.cat([b.targets for b in made])
        halves = [rows[:90][labels[:90] == 0], rows[90:180][labels[90:180] == 0]]
        return set.intersection(*({tuple(row.tolist()) for row in half} for half in halves))

    assert len(common("none")) == 30 and not common("mild")


def test_same_seed_same_batches(cells: CellSet) -> None:
    one, same, other = (batches_of(cells, 3, "mild", seed)[2].images for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_only_the_head_learns_in_the_last_phase_and_the_steps_are_all_there(cells: CellSet) -> None:
    whole = Classifier(CLASSES, settings()).fit(cells, seed=2)
    assert whole.history[-1]["step"] == 10
    body = {name: value for name, value in whole.network.state_dict().items() if name.startswith("body")}
    elsewhere = (SMOTED[0], SMOTED[1].model_copy(update={"smote": False}))
    other = Classifier(CLASSES, settings(phases=elsewhere)).fit(cells, seed=2)
    others = other.network.state_dict()
    assert all(torch.equal(value, others[name]) for name, value in body.items())
    assert not torch.equal(whole.network.head.weight, other.network.head.weight)
    again = Classifier(CLASSES, settings()).fit(cells, seed=2)
    assert torch.equal(whole.network.head.weight, again.network.head.weight)


def test_it_lifts_the_recall_of_rare_classes() -> None:
    """Two overlapping classes, one of them ten times as common: the common one takes nearly all."""
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 30])
    level = np.array([118, 138])[labels] + random.normal(0, 12, 330)
    pixels = np.broadcast_to(level.clip(0, 255).astype(np.uint8)[:, None, None, None], (330, 8, 8, 3))
    cells = CellSet.from_arrays(pixels, labels, ("common", "rare"))
    recall = {}
    for name, phases in (("plain", ()), ("smote", SMOTED)):
        asked = settings(steps=60, batch=32, augmentation="none", phases=phases)
        net = Classifier(cells.classes, asked).fit(cells, seed=1)
        recall[name] = float((net.predict(cells.of_class("rare")) == 1).mean())
    assert recall["smote"] > recall["plain"] + 0.2, recall


def test_post_hoc_adjustment_sees_the_filled_counts(cells: CellSet) -> None:
    assert filled_counts(torch.tensor([5, 0, 2])).tolist() == [5, 0, 5]
    net = Classifier(CLASSES, settings(post_hoc=1.0)).fit(cells, seed=0)
    assert net.shift.std() == 0


def test_what_makes_no_sense_is_refused(cells: CellSet) -> None:
    with pytest.raises(ValidationError, match="trains: head"):
        Phase(share=1.0, smote=True)
    with pytest.raises(InputError, match="'rarest' has one training cell"):
        Classifier(CLASSES, settings()).fit(cells.subset(np.arange(40)), seed=0)
    light = settings(synthetic_weight=0.5)
    with pytest.raises(InputError, match="synthetic_weight"):
        Classifier(CLASSES, light).fit(cells, seed=0)
