"""Generators small enough for a test, and cells to train them on."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cells.cellset import CellSet
from generators import DiffusionSettings, GanSettings, GeneratorSettings, RepeatSettings, SmoteSettings
from runtime.rundir import RunDir

CLASSES = ("pale", "dark", "rare")
SIZE = 8
COMMON = {"batch": 4, "warmup": 1, "grid_columns": 2, "log_every": 1, "checkpoint_every": 2}
SETTINGS = {
    "repeat": RepeatSettings(),
    "smote": SmoteSettings(neighbors=3, components=6),
    "gan": GanSettings(
        **COMMON, steps=5, channels=(8, 16), latent=4, grid_every=3, penalty_every=2, transforms=0.5
    ),
    "diffusion": DiffusionSettings(
        **COMMON, steps=5, channels=(8, 16), grid_every=3, sampling_steps=4, sampling_batch=3
    ),
}


@pytest.fixture(scope="session")
def settings_of() -> dict[str, GeneratorSettings]:
    """Settings of a tiny generator of each kind."""
    return SETTINGS


@pytest.fixture(scope="session")
def make_cells() -> Callable[..., CellSet]:
    """Twenty-three noisy squares of three brightnesses."""

    def make(origin: str = "real", size: int = SIZE, classes: tuple[str, ...] = CLASSES) -> CellSet:
        rng = np.random.default_rng(5)
        labels = np.repeat([0, 1, 2], [12, 8, 3])
        level = np.array([200, 60, 130])[labels][:, None, None, None]
        pixels = (level + rng.integers(-40, 40, (len(labels), size, size, 3))).astype(np.uint8)
        return CellSet.from_arrays(pixels, labels, classes, splits="train", origin=origin)

    return make


@pytest.fixture(scope="session")
def cells(make_cells: Callable[..., CellSet]) -> CellSet:
    return make_cells()


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


@pytest.fixture(scope="session")
def request_of() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Labels and seeds of some images."""

    def make(count: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.arange(count) % len(CLASSES), 1000 + torch.arange(count) ** 5

    return make
