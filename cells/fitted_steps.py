"""Steps of preprocessing, fitted to training cells: the same images become the same, wherever they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from cells.cellset import UNPROCESSED, CellSet
from cells.chunked import by_chunk, processes_for
from cells.mapped import Pixels, collected
from cells.steps import Learned, Step, Steps, through
from runtime.errors import InputError
from runtime.parallel import Each, workers
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
        with workers(processes_for(len(train))) as each:
            return cls._fit(steps, train, each)[0]

    @classmethod
    def _fit(cls, steps: Steps, train: CellSet, each: Each) -> tuple[Preprocessing, Pixels]:
        """The same, with the training cells as all steps made them."""
        pixels, learned, notices = train.pixels, list[Learned](), list[str]()
        for step in steps:
            values, said = step.fit(replace(train, pixels=pixels), each)
            pixels = _applied([step], [values], pixels, each)
            learned.append(values)
            notices += said
        return cls(steps, tuple(learned), train.digest, train.image_size, tuple(notices)), pixels

    @classmethod
    def of_sides(
        cls, steps: Steps, train: CellSet, others: Sequence[CellSet], processes: int | None = None
    ) -> tuple[Preprocessing, list[CellSet]]:
        """Fit to the training cells, and apply to them and to others.

        Args:
            steps: In their order.
            train: Training cells alone.
            others: Further sets of the same size in pixels.
            processes: How many work at a time, which changes nothing in the result; None for one a core,
                or one alone for few cells.

        Returns:
            The fitted steps; the training cells and the other sets, in their order, with preprocessed images.

        Raises:
            InputError: If a step does not suit the training cells.
        """
        count = len(train) + sum(map(len, others))
        with workers(processes or processes_for(count)) as each:
            fitted, pixels = cls._fit(steps, train, each)
            made = [_made_of(cells, fitted._apply(cells.pixels, each)) for cells in others]
        return fitted, [_made_of(train, pixels), *made]

    @property
    def digest(self) -> str:
        """16 hex digits over the steps and what they learned."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]

    def apply(self, pixels: Pixels) -> Pixels:
        """Images to images: uint8 (n, h, h, 3).

        Raises:
            InputError: If the images have another size than those that it was fitted to.
        """
        with workers(processes_for(len(pixels))) as each:
            return self._apply(pixels, each)

    def _apply(self, pixels: Pixels, each: Each) -> Pixels:
        if pixels.shape[1] != self.image_size:
            raise InputError(
                f"the preprocessing was fitted to {self.image_size} px, these images have "
                f"{pixels.shape[1]} px; read them with data.image_size={self.image_size}."
            )
        return _applied(self.steps, self.learned, pixels, each)

    def cells(self, cells: CellSet) -> CellSet:
        """The same cells with preprocessed images; each keeps the digest of what it was before."""
        return _made_of(cells, self.apply(cells.pixels))

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


def _made_of(cells: CellSet, pixels: Pixels) -> CellSet:
    """The cells with these images, each with the digest of what it was before."""
    before = np.empty(len(cells), dtype=object)
    before[:] = [
        {**said, UNPROCESSED: str(digest)}
        for said, digest in zip(cells.provenance, cells.original_digests, strict=True)
    ]
    return replace(cells, pixels=pixels, provenance=before)


def _applied(
    steps: Sequence[Step], learned: Sequence[Mapping[str, Any]], pixels: Pixels, each: Each
) -> Pixels:
    kinds = ", ".join(str(getattr(step, "kind", "")) for step in steps)
    made = by_chunk(partial(through, steps, learned), pixels, each, f"preprocessing: {kinds}")
    return collected(made, pixels.shape)
