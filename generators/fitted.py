"""What all generators live through alike: built, fitted once, saved, read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from accelerate import PartialState
from torch import Tensor, nn

from cells.cellset import CellSet
from generators.adapting import Start, begin, early, read_start
from generators.choosing import Choosing, Watch
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
        if finished(run.path / MODEL, self.identify(cells, monitor)):
            self._restore(run.path / MODEL)
            return self
        self._learn(cells, run, monitor)
        if run.writes:
            self.save(run.path / MODEL)
        self._settle(run)
        return self

    def identify(self, cells: CellSet, monitor: Monitor | None = None) -> dict[str, Any]:
        """Take these cells as the training's own, and say what makes it this training.

        Args:
            cells: Training cells.
            monitor: As for `fit`.

        Returns:
            JSON values; two trainings in which they are the same are the same one, wherever they lie.
        """
        self.record = self._recorded(cells, monitor)
        return describe(self, self.kind)

    def save(self, folder: Path) -> None:
        """Write the model; see `generators.protocol.Generator.save`."""
        save_model(self, self.kind, self._tensors(), folder, self._beside)

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

    def _recorded(self, cells: CellSet, monitor: Monitor | None) -> FitRecord:
        """What the record of a training says before it begins."""
        return FitRecord.of(cells)

    def _settle(self, run: RunDir) -> None:  # noqa: B027  (nothing to do unless overridden)
        """Be the same on every process, once the model is written."""

    @abstractmethod
    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw images; see `generators.protocol.Generator.sample`."""

    @abstractmethod
    def _learn(self, cells: CellSet, run: RunDir, monitor: Monitor | None) -> None:
        """Fit the cells."""

    @abstractmethod
    def _tensors(self) -> Mapping[str, Tensor]:
        """What `save` keeps."""

    def _beside(self, folder: Path) -> Mapping[str, Any]:
        """Write what else belongs there, once the weights are there; return what config.json says of it."""
        return {}

    @abstractmethod
    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        """Put back what `_tensors` gave; `folder` is named where it does not fit."""


class NetworkGenerator(FittedGenerator):
    """A generator whose `network`, an average over its training, draws the images.

    Attributes:
        class_table: Name of the network's parameter with a row for each class.
    """

    class_table: ClassVar[str]
    network: nn.Module
    _start: Start | None = None

    def _use(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False).to(pick_device())

    @abstractmethod
    def _trainer(self, cells: CellSet) -> Trainer:
        """Networks, optimizers and the step of a training; `network` becomes its average."""

    @abstractmethod
    def _early_layers(self) -> tuple[str, ...]:
        """Names of all layers that may be frozen, from the image on."""

    def _recorded(self, cells: CellSet, monitor: Monitor | None) -> FitRecord:
        record = FitRecord.of(cells)
        self._start = read_start(self, self.kind, cells.modality)
        if self._start is not None:
            record = self._start.extend(record, early(self._early_layers(), self.settings.freeze))
        return replace(record, watch=monitor.words() if isinstance(monitor, Watch) else None)

    @property
    def _frozen(self) -> tuple[str, ...]:
        """Names of the layers that this training does not change."""
        start = self.record.start if self.record is not None else None
        return tuple(start["frozen"]) if start else ()

    def _begin(self, network: nn.Module) -> None:
        """Give a network the weights of the model that the training starts from, if there is one."""
        if self._start is not None:
            begin(network, self._start.tensors, self.class_table, self._start)

    def _learn(self, cells: CellSet, run: RunDir, monitor: Monitor | None) -> None:
        trainer = self._trainer(cells)
        choosing = train(trainer, self, describe(self, self.kind), run, monitor)
        if trainer.class_watch is not None and self.record is not None:
            self.record = replace(self.record, findings=trainer.class_watch.findings)
        if choosing is None:
            self._note({"choose": "last", "step": self.settings.steps, "figures": {}})
        elif run.writes:
            self._choose(trainer, choosing, run)

    def _choose(self, trainer: Trainer, choosing: Choosing, run: RunDir) -> None:
        """Become the moment that the watch wants, and leave the other one beside the model."""
        self._note(choosing.chosen("last"))
        if choosing.best == choosing.last:
            self._note(choosing.chosen(choosing.watch.choose))
            return
        if choosing.watch.choose == "best":
            self.save(run.path / "last")
            choosing.take_best(run.path)
            self._note(choosing.chosen("best"))
            return
        kept = {name: deepcopy(module.state_dict()) for name, module in trainer.kept.items()}
        choosing.take_best(run.path)
        self._note(choosing.chosen("best"))
        self.save(run.path / "best")
        for name, module in trainer.kept.items():
            module.load_state_dict(kept[name])
        self._note(choosing.chosen("last"))

    def _settle(self, run: RunDir) -> None:
        PartialState().wait_for_everyone()
        if not run.writes:
            self._restore(run.path / MODEL)  # only the process that writes knows what was chosen

    def _note(self, chosen: Mapping[str, Any]) -> None:
        assert self.record is not None
        self.record = replace(self.record, chosen=dict(chosen))

    def _tensors(self) -> Mapping[str, Tensor]:
        return self.network.state_dict()

    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        fit_state(self.network, tensors, folder)
        self._use(self.network)
