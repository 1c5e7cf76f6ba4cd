"""What all generators live through alike: built, fitted once, saved, read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from cells.cellset import CellSet
from generators.protocol import (
    MODEL,
    FitRecord,
    Monitor,
    check_cells,
    describe,
    finished,
    load_model,
    save_model,
)
from generators.training import Trainer, train
from runtime.checkpoint import fit_state
from runtime.config import Settings, validate
from runtime.devices import pick_device
from runtime.rundir import RunDir


class FittedGenerator(ABC):
    """A `generators.protocol.Generator` but for `sample`.

    Args:
        settings: Of the type `settings_type`.
        classes: Class names.
        image_size: Edge in pixels.
        seed: Of initialization and training.
    """

    kind: ClassVar[str]
    settings_type: ClassVar[type[Settings]]

    def __init__(self, settings: Any, classes: tuple[str, ...], image_size: int, seed: int = 0) -> None:
        self.settings = settings
        self.classes = tuple(classes)
        self.image_size = image_size
        self.seed = seed
        self.record: FitRecord | None = None

    def fit(self, cells: CellSet, run: RunDir, monitor: Monitor | None = None) -> Self:
        """Train on cells; see `generators.protocol.Generator.fit`."""
        check_cells(self, cells)
        self.record = FitRecord.of(cells)
        if finished(run.path / MODEL, describe(self, self.kind)):
            self._restore(run.path / MODEL)
            return self
        self._learn(cells, run, monitor)
        if run.writes:
            self.save(run.path / MODEL)
        return self

    def save(self, folder: Path) -> None:
        """Write the model; see `generators.protocol.Generator.save`."""
        save_model(self, self.kind, self._tensors(), folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a saved model; see `generators.protocol.Generator.load`."""
        _, config, _ = load_model(folder, cls.kind)
        settings = validate(cls.settings_type, config["settings"], str(folder / "config.json"))
        made = cls(settings, tuple(config["classes"]), config["image_size"], config["seed"])
        made._restore(folder)
        return made

    def _restore(self, folder: Path) -> None:
        tensors, _, self.record = load_model(folder, self.kind)
        self._take(tensors, folder)

    @abstractmethod
    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw images; see `generators.protocol.Generator.sample`."""

    @abstractmethod
    def _learn(self, cells: CellSet, run: RunDir, monitor: Monitor | None) -> None:
        """Fit the cells."""

    @abstractmethod
    def _tensors(self) -> Mapping[str, Tensor]:
        """What `save` keeps."""

    @abstractmethod
    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Put back what `_tensors` gave; `folder` is named where it does not fit."""


class NetworkGenerator(FittedGenerator):
    """A generator whose `network`, an average over its training, draws the images."""

    network: nn.Module

    def _use(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False).to(pick_device())

    @abstractmethod
    def _trainer(self, cells: CellSet) -> Trainer:
        """Networks, optimizers and the step of a training; `network` becomes its average."""

    def _learn(self, cells: CellSet, run: RunDir, monitor: Monitor | None) -> None:
        trainer = self._trainer(cells)
        train(trainer, self, describe(self, self.kind), run, monitor)
        if trainer.watch is not None and self.record is not None:
            self.record = replace(self.record, findings=trainer.watch.findings)

    def _tensors(self) -> Mapping[str, Tensor]:
        return self.network.state_dict()

    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        fit_state(self.network, tensors, folder)
        self._use(self.network)
