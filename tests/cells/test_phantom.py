"""The phantom is deterministic, learnable, and not told apart by color."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from cells.cellset import CellSet
from cells.phantom import CLASSES, DEFAULT_COUNTS, draw, phantoms
from runtime.errors import InputError


@pytest.fixture(scope="module")
def plenty() -> CellSet:
    return phantoms(dict.fromkeys(CLASSES, 600), size=32, seed=11, split="train")


@pytest.fixture(scope="module")
def fresh() -> CellSet:
    return phantoms(dict.fromkeys(CLASSES, 100), size=32, seed=11, split="test")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A net this small is slower on two threads when the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_at_least_six_classes_with_a_long_tail() -> None:
    assert len(CLASSES) >= 6
    assert list(CLASSES) == sorted(CLASSES)  # folders are read back in this order
    assert set(DEFAULT_COUNTS) == set(CLASSES)
    assert max(DEFAULT_COUNTS.values()) >= 10 * min(DEFAULT_COUNTS.values())


def test_cell_is_a_function_of_its_own_seed() -> None:
    few = phantoms({"round": 2, "lobed": 1}, size=32, seed=3, split="train")
    many = phantoms({"round": 4, "lobed": 2, "blast": 3}, size=32, seed=3, split="train")
    for name in ("round", "lobed"):
        ours = few.of_class(name).pixels
        np.testing.assert_array_equal(ours, many.of_class(name).pixels[: len(ours)])


def test_splits_seeds_and_indices_share_no_cell() -> None:
    sets = [phantoms({"blast": 20}, 32, seed, split) for seed in (0, 1) for split in ("train", "test")]
    digests = [digest for cells in sets for digest in cells.digests]
    assert len(set(digests)) == 80


def test_table_says_phantom() -> None:
    cells = phantoms({"kidney": 2, "round": 3}, size=24, seed=0, split="val")
    assert cells.classes == CLASSES
    assert cells.counts == {**dict.fromkeys(CLASSES, 0), "kidney": 2, "round": 3}
    assert cells.pixels.shape == (5, 24, 24, 3) and cells.pixels.dtype == np.uint8
    assert set(cells.origins) == {"phantom"} and set(cells.splits) == {"val"}
    assert len(set(cells.names)) == 5 and list(cells.groups) == list(cells.names)


@pytest.mark.parametrize("label", range(len(CLASSES)))
def test_size_changes_the_sampling_and_not_the_cell(label: int) -> None:
    small = draw(label, seed=5, size=16).astype(float)
    large = draw(label, seed=5, size=96).astype(float)
    pooled = large.reshape(16, 6, 16, 6, 3).mean((1, 3))
    other = draw(label, seed=6, size=96).astype(float).reshape(16, 6, 16, 6, 3).mean((1, 3))
    assert np.abs(small - pooled).mean() < 0.35 * np.abs(small - other).mean()


def test_stain_varies_alike_for_every_class() -> None:
    # The corners show background: its color must not depend on the class.
    corner = [
        np.median([draw(label, seed, 32)[:3, :3].mean((0, 1)) for seed in range(60)], axis=0)
        for label in range(len(CLASSES))
    ]
    spread = np.std([draw(0, seed, 32)[:3, :3].mean((0, 1)) for seed in range(60)], axis=0)
    assert (np.ptp(corner, axis=0) < 1.5 * spread).all()
    assert (spread > 5).all()


def test_color_alone_does_not_tell(plenty: CellSet, fresh: CellSet) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(plenty.pixels.mean((1, 2)), plenty.labels)
    predicted = model.predict(fresh.pixels.mean((1, 2)))
    assert balanced_accuracy_score(fresh.labels, predicted) <= 0.6


def _tensor(cells: CellSet) -> Tensor:
    images = torch.from_numpy(cells.pixels.copy()).permute(0, 3, 1, 2).float() / 255 - 0.5
    return images.contiguous(memory_format=torch.channels_last)  # (n, 3, 32, 32)


def _small_cnn() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inside, outside in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers += [nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES))]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _fit(cells: CellSet, steps: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = _small_cnn()
    optimizer = torch.optim.AdamW(net.parameters(), 5e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    images, labels = _tensor(cells), torch.from_numpy(cells.labels.copy())
    for step in range(steps):
        rows = torch.randint(len(labels), (64,), generator=generator)
        batch = torch.rot90(images[rows], step % 4, (2, 3))  # (64, 3, 32, 32)
        batch = batch.flip(3) if step % 8 > 3 else batch
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(batch), labels[rows]).backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def test_small_cnn_learns_the_classes_from_plenty(plenty: CellSet, fresh: CellSet, one_thread: None) -> None:
    net = _fit(plenty, steps=400)
    with torch.no_grad():
        predicted = net(_tensor(fresh)).argmax(1).numpy()
    assert balanced_accuracy_score(fresh.labels, predicted) >= 0.95


def test_bad_input_names_the_fix() -> None:
    with pytest.raises(InputError, match="Did you mean 'lobed'"):
        phantoms({"lobd": 1}, size=32, seed=0)
    with pytest.raises(InputError, match=r"counts\.round"):
        phantoms({"round": -1}, size=32, seed=0)
    with pytest.raises(InputError, match="image_size 8"):
        draw(0, seed=0, size=8)
    with pytest.raises(InputError, match="class 99"):
        draw(99, seed=0, size=32)
