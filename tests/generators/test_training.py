from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from generators import DiffusionSettings, GanSettings
from generators.ema import Ema
from generators.grids import labelled_grid
from generators.training import (
    TrainingSettings,
    balanced_indices,
    grid_due,
    learning_rate,
)

LABELS = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_class_probability_follows_the_balance(balance: float) -> None:
    drawn = torch.cat([LABELS[balanced_indices(LABELS, 64, balance, 1, step)] for step in range(300)])
    counts = torch.tensor([900.0, 90.0, 10.0])
    expected = counts ** (1 - balance) / (counts ** (1 - balance)).sum()
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    assert torch.allclose(shares, expected, atol=0.02)


def test_cells_within_a_class_are_drawn_evenly() -> None:
    index = torch.cat([balanced_indices(LABELS, 64, 0.5, 1, step) for step in range(500)])
    rare = torch.bincount(index, minlength=1000)[990:].float()
    assert rare.std() / rare.mean() < 0.15


def test_batch_is_a_function_of_seed_and_step() -> None:
    one = balanced_indices(LABELS, 32, 0.5, 1, 7)
    assert torch.equal(one, balanced_indices(LABELS, 32, 0.5, 1, 7))
    assert not torch.equal(one, balanced_indices(LABELS, 32, 0.5, 1, 8))
    assert not torch.equal(one, balanced_indices(LABELS, 32, 0.5, 2, 7))


def test_learning_rate_rises_then_falls() -> None:
    settings = TrainingSettings(steps=100, warmup=10, learning_rate=1.0)
    rates = [learning_rate(step, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.02, abs=0.002)


def _constant(value: float) -> nn.Linear:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.constant_(layer.weight, value)
    return layer


def test_average_halves_its_distance_in_a_half_life() -> None:
    ema = Ema(_constant(0.0), half_life=320)
    for step in range(10):
        ema.update(_constant(1.0), images=10_000 + step * 32, batch=32)
    assert ema.average.weight.item() == pytest.approx(0.5, abs=1e-5)


def test_young_average_forgets_its_random_start() -> None:
    ema = Ema(_constant(100.0), half_life=100_000)
    for step in range(100):
        ema.update(_constant(1.0), images=step * 32, batch=32)
    assert ema.average.weight.item() == pytest.approx(1.0)
    assert ema.decay(images=3200, batch=32) == pytest.approx(0.5 ** (32 / 320))
    assert ema.decay(images=10**9, batch=32) == pytest.approx(0.5 ** (32 / 100_000))


def test_average_copies_buffers_and_needs_no_gradient() -> None:
    ema, network = Ema(nn.BatchNorm1d(2), half_life=10), nn.BatchNorm1d(2)
    network(torch.randn(8, 2))
    ema.update(network, 100, 8)
    assert torch.equal(ema.average.running_mean, network.running_mean)
    assert not any(parameter.requires_grad for parameter in ema.average.parameters())
    assert not ema.average.training


def test_grids_come_early_then_regularly_then_last() -> None:
    settings = TrainingSettings(steps=1050, grid_every=400)
    assert [s for s in range(1, 1051) if grid_due(s, settings)] == [100, 400, 800, 1050]
    only_last = TrainingSettings(steps=1050, grid_every=0)
    assert [s for s in range(1, 1051) if grid_due(s, only_last)] == [1050]


def test_grid_has_a_row_per_class_beside_its_name() -> None:
    images = np.zeros((2, 3, 28, 28, 3), dtype=np.uint8)
    images[1, 2] = 255
    page = np.asarray(labelled_grid(images, ("round", "lobed nucleus")))
    assert page.shape[0] == 2 * 28 * 3
    sheet = page[:, -3 * 28 * 3 :]
    assert (sheet[84:, -84:] == 255).all()
    assert (sheet[:84] == 0).all()
    margin = page[:, : -3 * 28 * 3]
    assert (margin < 128).any(axis=(1, 2))[:84].any()
    assert (margin < 128).any(axis=(1, 2))[84:].any()


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (GanSettings, {"transforms": 0.8}),
        (GanSettings, {"channels": (16,)}),
        (DiffusionSettings, {"channels": (12, 16)}),
        (DiffusionSettings, {"guidance": 2.0, "class_dropout": 0.0}),
        (DiffusionSettings, {"sigma_min": 90.0}),
        (DiffusionSettings, {"balance": 1.5}),
        (DiffusionSettings, {"augmentation": "rotate"}),
    ],
)
def test_settings_that_cannot_work_are_refused(settings: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**values)
