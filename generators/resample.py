"""The control: real training cells again, behind the protocol of a generator.

A study that adds generated cells also changes how many cells of each class a classifier sees.
Adding copies of real cells in the same numbers changes only that, so what a generator is worth is
what it gains beyond this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor

from cells.cellset import CellSet
from generators.protocol import (
    MODEL,
    FitRecord,
    Monitor,
    as_tensor,
    check_cells,
    check_request,
    describe,
    finished,
    load_model,
    save_model,
)
from runtime.config import Settings, validate
from runtime.errors import InputError
from runtime.rundir import RunDir
from runtime.seeds import seed_of

KIND: Literal["repeat"] = "repeat"


class RepeatSettings(Settings):
    """The control has nothing to set."""

    kind: Literal["repeat"] = KIND


class Repeat:
    """Draws training cells; see `generators.protocol.Generator`.

    Args:
        settings: Nothing to set.
        classes: Class names.
        image_size: Edge in pixels.
        seed: Recorded; the drawn cell depends on the class and the image's own seed.
    """

    def __init__(
        self, settings: RepeatSettings, classes: tuple[str, ...], image_size: int, seed: int = 0
    ) -> None:
        self.settings = settings
        self.classes = tuple(classes)
        self.image_size = image_size
        self.seed = seed
        self.record: FitRecord | None = None
        self._images = torch.zeros((0, 3, image_size, image_size), dtype=torch.uint8)
        self._labels = torch.zeros(0, dtype=torch.int64)

    def fit(self, cells: CellSet, run: RunDir, monitor: Monitor | None = None) -> Self:
        """Keep the cells; see `generators.protocol.Generator.fit`. There is nothing to monitor."""
        check_cells(self, cells)
        self.record = FitRecord.of(cells)
        if finished(run.path / MODEL, describe(self, KIND)):
            self._restore(run.path / MODEL)
            return self
        self._images, self._labels = as_tensor(cells)
        self.save(run.path / MODEL)
        return self

    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw training cells; see `generators.protocol.Generator.sample`."""
        check_request(self, labels, seeds)
        if self.record is None:
            raise InputError("the generator has no cells yet; call fit() before sample().")
        members = [torch.nonzero(self._labels == label).flatten() for label in range(len(self.classes))]
        rows = [
            int(members[int(label)][seed_of(int(seed), "repeat") % len(members[int(label)])])
            for label, seed in zip(labels, seeds, strict=True)
        ]
        return self._images[rows]

    def save(self, folder: Path) -> None:
        """Write the cells; see `generators.protocol.Generator.save`."""
        save_model(self, KIND, {"images": self._images, "labels": self._labels}, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read saved cells; see `generators.protocol.Generator.load`."""
        _, config, _ = load_model(folder, KIND)
        settings = validate(RepeatSettings, config["settings"], str(folder / "config.json"))
        made = cls(settings, tuple(config["classes"]), config["image_size"], config["seed"])
        made._restore(folder)
        return made

    def _restore(self, folder: Path) -> None:
        tensors, _, self.record = load_model(folder, KIND)
        expected = (3, self.image_size, self.image_size)
        if set(tensors) != {"images", "labels"} or tuple(tensors["images"].shape[1:]) != expected:
            raise InputError(f"{folder}: weights.safetensors holds no cells of {self.image_size} px.")
        self._images, self._labels = tensors["images"], tensors["labels"]
