"""The contract of classifiers, for networks of stacks: tiny widths, stacks of three images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cells.cellset import CellSet
from classifiers.batches import batches
from classifiers.networks import STACK_NETWORKS, build_network
from classifiers.samples import Samples
from classifiers.training import Classifier, ClassifierSettings
from generators import RepeatSettings, build
from runtime.errors import InputError
from runtime.rundir import RunDir

SIZE, DEPTH = 16, 3
CLASSES = ("falling", "rising", "striped")
NAMES = list(STACK_NETWORKS)


def toy(
    counts: tuple[int, ...] = (24, 24, 24), seed: int = 0, depth: int = DEPTH, size: int = SIZE
) -> CellSet:
    """Stacks whose images get darker or brighter, alike in all but the order; or with stripes in one."""
    draws = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), counts)
    pixels = draws.normal(128, 10, (len(labels), depth, size, size, 3))
    ramp = np.linspace(50, -50, depth)[:, None, None, None]
    pixels[labels == 0] += ramp
    pixels[labels == 1] -= ramp
    pixels[labels == 2, depth // 2] += 60 * (-1.0) ** (np.arange(size) // 2)[:, None, None]
    flat = pixels.clip(0, 255).astype(np.uint8).reshape(-1, size, size, 3)
    said = [{"stack": f"s{i // depth}", "index": i % depth} for i in range(len(flat))]
    return CellSet.from_arrays(flat, labels.repeat(depth), CLASSES, provenance=said)


def settings(network: str, **changes: object) -> ClassifierSettings:
    plain = {"network": network, "width": 4, "steps": 60, "batch": 16, **changes}
    return ClassifierSettings.model_validate(plain)


@pytest.mark.parametrize("network", NAMES)
class TestContract:
    def test_it_learns_the_order_and_one_image_and_is_saved(self, network: str, tmp_path: Path) -> None:
        net = Classifier(CLASSES, settings(network)).fit(toy(), seed=0, val=toy((4, 4, 4), seed=2))
        unseen = toy(seed=1)
        truth = Samples(unseen).labels.numpy()
        found = net.probabilities(unseen)
        assert found.shape == (72, 3) and found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        recall = [(net.predict(unseen) == truth)[truth == label].mean() for label in range(3)]
        assert min(recall) > 0.9, recall
        assert net.history[-1]["val_balanced_accuracy"] > 0.8
        features = net.features(unseen)
        assert features.shape == (72, net.network.head.in_features) and np.isfinite(features).all()
        net.save(tmp_path)
        again = Classifier.load(tmp_path)
        np.testing.assert_array_equal(again.probabilities(unseen), found)
        assert (again.depth, again.image_size, again.settings) == (DEPTH, SIZE, net.settings)

    def test_same_seed_same_result(self, network: str) -> None:
        cells = toy((4, 4, 4))
        made = [
            Classifier(CLASSES, settings(network, steps=2)).fit(cells, seed=seed).probabilities(cells)
            for seed in (0, 0, 1)
        ]
        np.testing.assert_array_equal(made[0], made[1])
        assert np.abs(made[0] - made[2]).max() > 0

    def test_a_stack_s_answer_does_not_depend_on_its_neighbors_or_the_order_of_rows(
        self, network: str
    ) -> None:
        cells = toy((4, 4, 4))
        net = Classifier(CLASSES, settings(network, steps=2)).fit(cells, seed=0)
        found = net.probabilities(cells)
        alone = net.probabilities(cells.subset([17, 15, 16]))[0]
        np.testing.assert_allclose(found[5], alone, atol=1e-5)

    def test_it_declares_the_smallest_image_and_the_fewest_images(self, network: str) -> None:
        architecture = STACK_NETWORKS[network]
        smallest, least = architecture.smallest, architecture.depth
        net = Classifier(CLASSES, settings(network, steps=1))
        with pytest.raises(InputError, match=f"at least {smallest} px, these have {smallest - 1} px"):
            net.fit(toy((2, 2, 2), size=smallest - 1), seed=0)
        with pytest.raises(InputError, match=f"at least {least} images, these have {least - 1}; add images"):
            net.fit(toy((2, 2, 2), depth=least - 1), seed=0)
        cells = toy((2, 2, 2), size=smallest, depth=least)
        assert np.isfinite(net.fit(cells, seed=0).probabilities(cells)).all()

    def test_what_does_not_fit_is_refused(self, network: str) -> None:
        cells = toy((2, 2, 2))
        net = Classifier(CLASSES, settings(network, steps=1)).fit(cells, seed=0)
        single = CellSet.from_arrays(cells.pixels, cells.labels, CLASSES)
        with pytest.raises(InputError, match="takes stacks, and these cells are single images; give each"):
            net.predict(single)
        with pytest.raises(InputError, match="takes stacks, and these cells are single images; give each"):
            Classifier(CLASSES, settings(network)).fit(single, seed=0)
        with pytest.raises(InputError, match="trained on stacks of 3 images, these have 4"):
            net.predict(toy((1, 1, 1), depth=4))
        assert net.probabilities(cells.subset([])).shape == (0, 3)


def test_a_network_of_single_images_refuses_stacks_with_the_fix() -> None:
    with pytest.raises(
        InputError, match=r"these cells are stacks of 3 .*; use network=cnn3d or cnn_gru, or leave"
    ):
        Classifier(CLASSES, settings("fast")).fit(toy((2, 2, 2)), seed=0)


def test_the_mean_of_a_stack_does_not_tell_its_order() -> None:
    """What the two networks learn above is not in any single image that a 2-D network could be given."""
    means = []
    for seed in (0, 1):
        cells = toy((24, 24, 0), seed)
        mean = cells.pixels.reshape(-1, DEPTH, SIZE, SIZE, 3).mean(axis=1).astype(np.uint8)
        means.append(CellSet.from_arrays(mean, cells.labels[::DEPTH], CLASSES))
    net = Classifier(CLASSES, settings("fast")).fit(means[0], seed=0)
    assert (net.predict(means[1]) == means[1].labels).mean() < 0.75


@pytest.mark.parametrize("augmentation", ["none", "mild", "strong"])
def test_the_images_of_a_stack_are_augmented_alike(augmentation: str) -> None:
    draws = torch.Generator().manual_seed(0)
    single = torch.randint(0, 256, (6, 1, 3, SIZE, SIZE), dtype=torch.uint8, generator=draws)
    alike = single.expand(-1, DEPTH, -1, -1, -1)
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    stream = batches(alike, labels, "uniform", augmentation, modality="microscopy", batch=4, steps=3, seed=0)
    for images, targets, _ in stream:
        assert images.shape == (4, DEPTH, 3, SIZE, SIZE) and targets.shape == (4,)
        for index in range(1, DEPTH):
            assert torch.equal(images[:, index], images[:, 0])


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "balanced"},
        {"loss": "logit_adjustment"},
        {"mixing": "cutmix"},
        {"keep": "best"},
        {
            "phases": [{"share": 0.8}, {"share": 0.2, "trains": "head", "fresh_head": True, "smote": True}],
            "steps": 150,
        },
    ],
    ids=["balanced", "logit_adjustment", "cutmix", "best", "smote"],
)
def test_every_way_against_imbalance_trains_on_stacks(changes: dict[str, object]) -> None:
    recipe = settings("cnn3d", **{"steps": 60, **changes})
    net = Classifier(CLASSES, recipe).fit(toy((40, 16, 6)), seed=0, val=toy((4, 4, 4), seed=2))
    unseen = toy((12, 12, 12), seed=1)
    assert (net.predict(unseen) == Samples(unseen).labels.numpy()).mean() > 0.8


def test_the_width_is_a_setting_and_weights_follow_the_seed() -> None:
    for name in NAMES:
        weights = [build_network(name, 3, 4, seed).state_dict() for seed in (0, 0, 1)]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
        assert any(not torch.equal(weights[0][key], weights[2][key]) for key in weights[0])
        assert build_network(name, 3, 6, 0).head.in_features == 24


def test_generators_refuse_stacks(tmp_path: Path) -> None:
    cells = toy((2, 2, 2))
    with (
        RunDir(tmp_path / "run", {}) as run,
        pytest.raises(InputError, match="synthesis of stacks"),
    ):
        build(RepeatSettings(), CLASSES, SIZE, 0).fit(cells, run)
