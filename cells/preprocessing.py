"""Preprocessing: named steps, fitted on the training cells alone, then applied to any cells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from cells.cellset import UNPROCESSED, CellSet
from cells.split import Split
from cells.steps import Learned, Step, Steps, StepSettings
from runtime.errors import InputError
from runtime.progress import progress
from runtime.rundir import read_json, write_json

FILE = "preprocessing.json"
FORMAT = 1


@dataclass(frozen=True)
class Preprocessing:
    """Steps with what they learned: the same images become the same, whenever and wherever.

    Attributes:
        steps: In their order.
        learned: What each of them learned.
        fitted_on: Digest of the training cells, as they were before.
        image_size: Edge of those in pixels; others are refused.
        notices: What must be said beside any result.
    """

    steps: Steps
    learned: tuple[Learned, ...]
    fitted_on: str
    image_size: int
    notices: tuple[str, ...] = field(default=())

    @classmethod
    def fit(cls, steps: Steps, train: CellSet) -> Preprocessing:
        """Fit step after step, each to what the ones before it made of the training cells.

        Args:
            steps: In their order.
            train: Training cells alone.

        Raises:
            InputError: If a step does not suit the cells.
        """
        pixels, learned, notices = train.pixels, list[Learned](), list[str]()
        for step in steps:
            values, said = step.fit(replace(train, pixels=pixels))
            pixels = _applied(step, values, pixels)
            learned.append(values)
            notices += said
        return cls(steps, tuple(learned), train.digest, train.image_size, tuple(notices))

    @property
    def digest(self) -> str:
        """16 hex digits over the steps and what they learned."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def apply(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Images to images: uint8 (n, h, h, 3).

        Raises:
            InputError: If the images have another size than those that it was fitted to.
        """
        if pixels.shape[1] != self.image_size:
            raise InputError(
                f"the preprocessing was fitted to {self.image_size} px, these images have "
                f"{pixels.shape[1]} px; read them with data.image_size={self.image_size}."
            )
        for step, values in zip(self.steps, self.learned, strict=True):
            pixels = _applied(step, values, pixels)
        return pixels

    def cells(self, cells: CellSet) -> CellSet:
        """The same cells with preprocessed images; each keeps the digest of what it was before."""
        before = np.empty(len(cells), dtype=object)
        before[:] = [
            {**said, UNPROCESSED: str(digest)}
            for said, digest in zip(cells.provenance, cells.original_digests, strict=True)
        ]
        return replace(cells, pixels=self.apply(cells.pixels), provenance=before)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "format": FORMAT,
            "image_size": self.image_size,
            "fitted_on": self.fitted_on,
            "steps": [
                {"settings": step.model_dump(mode="json"), "learned": values}
                for step, values in zip(self.steps, self.learned, strict=True)
            ],
            "notices": list(self.notices),
        }

    def save(self, folder: Path) -> None:
        """Write ``preprocessing.json`` into a folder."""
        write_json(folder / FILE, self.to_json())

    @classmethod
    def load(cls, folder: Path) -> Preprocessing | None:
        """Read what `save` wrote; None where the folder has none.

        Raises:
            InputError: If the file is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        found = read_json(path)
        try:
            steps = TypeAdapter(Steps).validate_python([row["settings"] for row in found["steps"]])
            learned = tuple(dict(row["learned"]) for row in found["steps"])
            about = (str(found["fitted_on"]), int(found["image_size"]), tuple(found["notices"]))
        except (ValidationError, KeyError, TypeError, ValueError):
            raise InputError(f"{path}: is not what rarecell writes; make it again.") from None
        return cls(steps, learned, *about)


def preprocessed(split: Split, steps: Sequence[StepSettings]) -> Split:
    """A split whose three sides went through steps that were fitted to its training cells.

    Args:
        split: As `divide` returns it.
        steps: None: the split is returned as it is.

    Returns:
        A split with another digest; `preprocessing` says what was done.

    Raises:
        InputError: If a step does not suit the training cells.
    """
    if not steps:
        return split
    fitted = Preprocessing.fit(tuple(steps), split.train)
    train, val, test = (fitted.cells(side) for side in (split.train, split.val, split.test))
    digest = hashlib.sha256(f"{split.digest} {fitted.digest}".encode()).hexdigest()[:16]
    return replace(split, train=train, val=val, test=test, digest=digest, preprocessing=fitted)


def _applied(step: Step, learned: Mapping[str, Any], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made = np.empty_like(pixels)
    with progress(len(pixels), f"preprocessing: {getattr(step, 'kind', '')}") as bar:
        for row, image in enumerate(pixels):
            made[row] = step.apply(image, learned)
            bar.update()
    return made
