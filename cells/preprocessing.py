"""Preprocessing: named steps, fitted on the training cells alone, then applied to any cells.

Each step is a settings class with a `kind`, a `fit` that says what it learned as plain values, and an
`apply` that is a function of an image, the settings and those values. What was fitted is kept as JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from cells import filters
from cells.cellset import UNPROCESSED, XRAY, CellSet
from cells.split import Split
from cells.stain import (
    Stains,
    is_gray,
    lab_statistics,
    light_of,
    optical_density,
    recolor,
    restain,
    stains_of,
)
from runtime.config import Settings
from runtime.errors import InputError
from runtime.progress import progress
from runtime.rundir import read_json, write_json
from runtime.seeds import numpy_generator

FILE = "preprocessing.json"
FORMAT = 1
SAMPLE = 500_000  # pixels of the training cells that stains are fitted to
UNSUITED = 0.05  # share of the training cells that may be left as they are without a warning

Image = NDArray[np.uint8]
Learned: TypeAlias = dict[str, Any]


class Step(Protocol):
    """What every step can do; `kind` names it."""

    def fit(self, train: CellSet) -> tuple[Learned, list[str]]:
        """Learn from training cells: plain JSON values, and sentences that must be said of them.

        Raises:
            InputError: If the step does not suit the cells.
        """

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """One image, uint8 (h, w, 3), to another of the same shape."""


class PlainStep(Settings):
    """A step that learns nothing."""

    def fit(self, train: CellSet) -> tuple[Learned, list[str]]:
        """Nothing to learn."""
        return {}, []


class StainNormalization(Settings):
    """Every image gets the colors of the training cells.

    Attributes:
        method: ``reinhard``: mean and spread of each channel of CIELAB; ``macenko``: two stains.
        seed: Which pixels of the training cells the stains are fitted to.
    """

    kind: Literal["stain_normalization"] = "stain_normalization"
    method: Literal["reinhard", "macenko"] = "reinhard"
    seed: int = 0

    def fit(self, train: CellSet) -> tuple[Learned, list[str]]:
        """The colors of the training cells; refuses X-rays and other gray images."""
        if train.modality == XRAY or bool(is_gray(train.pixels).mean() > 0.5):
            raise InputError(
                "preprocess: stain_normalization needs stained cells, and these are X-rays or other gray "
                "images; leave it out (clahe, equalize, gamma, denoise and unsharp suit them)."
            )
        learned = self._reinhard(train) if self.method == "reinhard" else self._macenko(train)
        kept = np.mean([self._changed(image, learned) is None for image in train.pixels])
        if kept == 1:
            raise InputError(
                f"preprocess: stain_normalization by {self.method} suits none of the training cells; "
                "leave it out, or use the other method (reinhard, macenko)."
            )
        return learned, [self._warning(float(kept))] if kept > UNSUITED else []

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image in the learned colors; one that the model does not suit stays as it is."""
        changed = self._changed(image, learned)
        return image if changed is None else changed

    def _changed(self, image: Image, learned: Mapping[str, Any]) -> Image | None:
        if self.method == "reinhard":
            return recolor(image, learned["mean"], learned["spread"])
        return restain(image, _stains(learned))

    def _warning(self, share: float) -> str:
        why = "two stains do not describe them" if self.method == "macenko" else "a channel of them is flat"
        return (
            f"Stain normalization by {self.method} does not suit {share:.0%} of the training cells ({why}): "
            "such images stay as they are, so colors differ more than it seems."
        )

    def _reinhard(self, train: CellSet) -> Learned:
        found = [lab_statistics(image) for image in train.pixels]
        mean, spread = (np.mean(column, axis=0) for column in zip(*found, strict=True))
        return {"mean": mean.tolist(), "spread": spread.tolist()}

    def _macenko(self, train: CellSet) -> Learned:
        """Stains of pixels drawn from all training cells that suit, each relative to its own light."""
        random, each = numpy_generator(self.seed, "stains"), -(-SAMPLE // len(train))
        lights, drawn, found = [], [], None
        for image in train.pixels:
            light = light_of(image)
            flat = optical_density(image, light).reshape(-1, 3)
            found = stains_of(flat, light)
            if found is not None and found.suit:
                lights.append(light)
                drawn.append(flat if len(flat) <= each else random.choice(flat, each, replace=False))
        if drawn:
            found = stains_of(np.concatenate(drawn), np.median(lights, axis=0))
        if found is None or not found.suit:
            raise InputError(
                "preprocess: stain_normalization by macenko does not suit the training cells "
                f"({_described(found)}); use method reinhard, or leave it out."
            )
        return {
            "vectors": found.vectors.tolist(),
            "amounts": found.amounts.tolist(),
            "light": found.light.tolist(),
            "angle": found.angle,
            "share": found.share,
            "black": found.black,
        }


def _described(found: Stains | None) -> str:
    if found is None:
        return "too few stained pixels"
    return (
        f"angle between the stains {found.angle:.0f}°, share of their plane {found.share:.3f}, "
        f"black pixels {found.black:.0%}, light {found.light.min():.0f} of 256"
    )


def _stains(learned: Mapping[str, Any]) -> Stains:
    vectors, amounts, light = (np.array(learned[key]) for key in ("vectors", "amounts", "light"))
    return Stains(vectors, amounts, light, learned["angle"], learned["share"], learned["black"])


class Clahe(PlainStep):
    """Contrast-limited adaptive histogram equalization; see `cells.filters.clahe`."""

    kind: Literal["clahe"] = "clahe"
    clip: Annotated[float, Field(gt=0, le=1)] = 0.01
    tiles: Annotated[int, Field(ge=1, le=64)] = 8

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image with more local contrast."""
        return filters.clahe(image, self.clip, self.tiles)


class Equalize(PlainStep):
    """Histogram equalization of each image."""

    kind: Literal["equalize"] = "equalize"

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image with all levels equally frequent."""
        return filters.equalize(image)


class Gamma(PlainStep):
    """Levels to a power; below 1 brightens."""

    kind: Literal["gamma"] = "gamma"
    gamma: Annotated[float, Field(gt=0, le=10)] = 0.8

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image, brighter or darker in the middle levels."""
        return filters.gamma(image, self.gamma)


class Denoise(PlainStep):
    """Less noise.

    Attributes:
        method: ``median``, ``bilateral``, ``nl_means`` (non-local means) or ``tv`` (total variation).
        radius: Of the median, in pixels.
        strength: Of the others, see `cells.filters`; None for 0.1 (bilateral, tv) or 0.8 (nl_means).
    """

    kind: Literal["denoise"] = "denoise"
    method: Literal["median", "bilateral", "nl_means", "tv"] = "median"
    radius: Annotated[int, Field(ge=1, le=16)] = 1
    strength: Annotated[float, Field(gt=0, le=10)] | None = None

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image, smoother but for its edges."""
        if self.method == "median":
            return filters.median(image, self.radius)
        methods: dict[str, tuple[Callable[[Image, float], Image], float]] = {
            "bilateral": (filters.bilateral, 0.1),
            "nl_means": (filters.nl_means, 0.8),
            "tv": (filters.tv, 0.1),
        }
        function, usual = methods[self.method]
        return function(image, self.strength or usual)


class Unsharp(PlainStep):
    """Unsharp masking; `radius` in pixels."""

    kind: Literal["unsharp"] = "unsharp"
    radius: Annotated[float, Field(gt=0, le=50)] = 1.0
    amount: Annotated[float, Field(gt=0, le=10)] = 1.0

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image with sharper edges."""
        return filters.unsharp(image, self.radius, self.amount)


StepSettings: TypeAlias = Annotated[
    StainNormalization | Clahe | Equalize | Gamma | Denoise | Unsharp,
    Field(discriminator="kind"),
]
Steps: TypeAlias = tuple[StepSettings, ...]


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
    return Split(train, val, test, digest, fitted)


def _applied(step: Step, learned: Mapping[str, Any], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    made = np.empty_like(pixels)
    with progress(len(pixels), f"preprocessing: {getattr(step, 'kind', '')}") as bar:
        for row, image in enumerate(pixels):
            made[row] = step.apply(image, learned)
            bar.update()
    return made
