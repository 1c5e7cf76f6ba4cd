"""The control: real training cells again, behind the protocol of a generator.

A study that adds generated cells also changes how many cells of each class a classifier sees.
Adding copies of real cells in the same numbers changes only that, so what a generator is worth is
what it gains beyond this.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from cells.cellset import CellSet
from generators.fitted import FittedGenerator
from generators.protocol import Monitor, as_tensor, check_request
from runtime.config import Settings
from runtime.errors import InputError
from runtime.rundir import RunDir
from runtime.seeds import seed_of

KIND: Literal["repeat"] = "repeat"


class RepeatSettings(Settings):
    """The control has nothing to set."""

    kind: Literal["repeat"] = KIND


class Repeat(FittedGenerator):
    """Draws training cells; see `generators.protocol.Generator`.

    Args:
        settings: Nothing to set.
        classes: Class names.
        image_size: Edge in pixels.
        seed: Recorded; the drawn cell depends on the class and the image's own seed.
    """

    kind: ClassVar[str] = KIND
    settings_type: ClassVar[type[RepeatSettings]] = RepeatSettings

    def __init__(
        self, settings: RepeatSettings, classes: tuple[str, ...], image_size: int, seed: int = 0
    ) -> None:
        super().__init__(settings, classes, image_size, seed)
        self._images = torch.zeros((0, 3, image_size, image_size), dtype=torch.uint8)
        self._labels = torch.zeros(0, dtype=torch.int64)

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

    def _learn(self, cells: CellSet, run: RunDir, monitor: Monitor | None) -> None:
        """Keep the cells; there is nothing to monitor."""
        self._images, self._labels = as_tensor(cells)

    def _tensors(self) -> Mapping[str, Tensor]:
        return {"images": self._images, "labels": self._labels}

    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        expected = (3, self.image_size, self.image_size)
        if set(tensors) != {"images", "labels"} or tuple(tensors["images"].shape[1:]) != expected:
            raise InputError(f"{folder}: weights.safetensors holds no cells of {self.image_size} px.")
        self._images, self._labels = tensors["images"], tensors["labels"]
