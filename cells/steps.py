"""The steps of a preprocessing: each is a settings class with a `kind`, a `fit` and an `apply`.

`fit` says what was learned from training cells as plain values; `apply` is a function of an image, the
settings and those values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Literal, Protocol, TypeAlias

import numpy as np
import PIL.Image
from numpy.typing import NDArray
from pydantic import Field

from cells import filters
from cells.cellset import XRAY, CellSet
from cells.chunked import by_chunk
from cells.mapped import Pixels, chunks
from cells.masks import METHODS, cell_boxes, nucleus_and_cytoplasm
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
from runtime.parallel import Each
from runtime.seeds import numpy_generator

SAMPLE = 500_000  # pixels of the training cells that stains are fitted to
UNSUITED = 0.05  # share of the training cells that may be left as they are without a warning
UNSUITED_CLASS = 0.2  # and of those of any one class: few cells must not hide behind many

Image = NDArray[np.uint8]
Learned: TypeAlias = dict[str, Any]
Method = Literal["otsu", "hsv"]
Level = Annotated[int, Field(ge=0, le=255)]


class Step(Protocol):
    """What every step can do; `kind` names it."""

    def fit(self, train: CellSet, each: Each = map) -> tuple[Learned, list[str]]:
        """Learn from training cells: plain JSON values, and sentences that must be said of them.

        Args:
            train: The cells.
            each: Maps over chunks of their images; see `runtime.parallel.workers`.

        Raises:
            InputError: If the step does not suit the cells.
        """

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """One image, uint8 (h, w, 3), to another of the same shape."""


class PlainStep(Settings):
    """A step that learns nothing."""

    def fit(self, train: CellSet, each: Each = map) -> tuple[Learned, list[str]]:
        """Nothing to learn."""
        return {}, []


class CropToCell(Settings):
    """The square around the central cell, resized to the edge that the image had.

    All cells then fill their images alike: what a class says by its size is lost. An image in which no
    cell is found stays as it is.

    Attributes:
        method: How the cell is found; see `cells.masks`.
    """

    kind: Literal["crop_to_cell"] = "crop_to_cell"
    method: Method = "otsu"

    def fit(self, train: CellSet, each: Each = map) -> tuple[Learned, list[str]]:
        """Nothing to learn; refuses X-rays and other gray images."""
        return {}, _without_cell(train, self.kind, self.method, each)

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The cell, larger."""
        top, left, bottom, right = cell_boxes(image[None], self.method)[0]
        square = PIL.Image.fromarray(np.ascontiguousarray(image[top:bottom, left:right]))
        return np.array(square.resize(image.shape[1::-1], PIL.Image.Resampling.BICUBIC))


class Mask(Settings):
    """The nucleus or the cell alone, on one color.

    An image in which no cell is found stays as it is.

    Attributes:
        what: What stays.
        method: How it is found; see `cells.masks`.
        background: Color of all else, RGB.
    """

    kind: Literal["mask"] = "mask"
    what: Literal["nucleus", "cell"] = "cell"
    method: Method = "otsu"
    background: tuple[Level, Level, Level] = (255, 255, 255)

    def fit(self, train: CellSet, each: Each = map) -> tuple[Learned, list[str]]:
        """Nothing to learn; refuses X-rays and other gray images."""
        return {}, _without_cell(train, self.kind, self.method, each)

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image with all else painted over."""
        found = nucleus_and_cytoplasm(image[None], METHODS[self.method]())
        kept = (found.nucleus if self.what == "nucleus" else found.cell)[0]
        if not kept.any():
            return image
        return np.where(kept[..., None], image, np.array(self.background, np.uint8))


def _without_cell(train: CellSet, kind: str, method: Method, each: Each) -> list[str]:
    """A sentence where too many training cells are not found."""
    _refuse_gray(train, kind)
    found = by_chunk(partial(_with_cell, method), train.pixels, each, f"{kind}: looking for cells")
    share = float(1 - np.concatenate([*found]).mean())
    if share <= UNSUITED:
        return []
    return [f"{kind} finds no cell in {share:.0%} of the training images by {method}: such stay as they are."]


def _with_cell(method: Method, images: Pixels) -> NDArray[np.bool_]:
    """True for each image in which a cell is found, shape (k,)."""
    return np.asarray(nucleus_and_cytoplasm(images, METHODS[method]()).cell.any(axis=(1, 2)))


def _refuse_gray(train: CellSet, kind: str) -> None:
    gray = [is_gray(images) for images in chunks(train.pixels)]
    if train.modality == XRAY or bool(np.concatenate(gray).mean() > 0.5):
        raise InputError(
            f"preprocess: {kind} needs stained cells, and these are X-rays or other gray "
            "images; leave it out (clahe, equalize, gamma, denoise and unsharp suit them)."
        )


class StainNormalization(Settings):
    """Every image gets the colors of the training cells.

    Attributes:
        method: ``reinhard``: mean and spread of each channel of CIELAB; ``macenko``: two stains.
        seed: Which pixels of the training cells the stains are fitted to.
    """

    kind: Literal["stain_normalization"] = "stain_normalization"
    method: Literal["reinhard", "macenko"] = "reinhard"
    seed: int = 0

    def fit(self, train: CellSet, each: Each = map) -> tuple[Learned, list[str]]:
        """The colors of the training cells; refuses X-rays and other gray images."""
        _refuse_gray(train, self.kind)
        learned = self._reinhard(train, each) if self.method == "reinhard" else self._macenko(train, each)
        found = by_chunk(partial(self._kept, learned), train.pixels, each, f"{self.kind}: trying")
        kept = np.concatenate([*found])
        if kept.all():
            raise InputError(
                f"preprocess: stain_normalization by {self.method} suits none of the training cells; "
                "leave it out, or use the other method (reinhard, macenko)."
            )
        return learned, self._warnings(train, kept)

    def apply(self, image: Image, learned: Mapping[str, Any]) -> Image:
        """The image in the learned colors; one that the model does not suit stays as it is."""
        changed = self._changed(image, learned)
        return image if changed is None else changed

    def _kept(self, learned: Mapping[str, Any], images: Pixels) -> NDArray[np.bool_]:
        """True for each image that stays as it is, shape (k,)."""
        return np.array([self._changed(image, learned) is None for image in images])

    def _changed(self, image: Image, learned: Mapping[str, Any]) -> Image | None:
        if self.method == "reinhard":
            return recolor(image, learned["mean"], learned["spread"])
        return restain(image, _stains(learned))

    def _warnings(self, train: CellSet, kept: NDArray[np.bool_]) -> list[str]:
        """One sentence where too many cells stay as they are, of all or of a class."""
        shares = {
            c: float(kept[train.labels == k].mean()) for k, c in enumerate(train.classes) if train.counts[c]
        }
        worst = max(shares, key=lambda name: shares[name])
        if kept.mean() <= UNSUITED and shares[worst] <= UNSUITED_CLASS:
            return []
        why = "two stains, those of most cells, do not describe them"
        return [
            f"Stain normalization by {self.method} does not suit {kept.mean():.0%} of the training cells, "
            f"and {shares[worst]:.0%} of class '{worst}' "
            f"({why if self.method == 'macenko' else 'a channel of them is flat'}): "
            "such images stay as they are, so colors differ more than it seems."
        ]

    def _reinhard(self, train: CellSet, each: Each) -> Learned:
        parts = by_chunk(_lab, train.pixels, each, f"{self.kind}: fitting")
        found = [statistics for part in parts for statistics in part]
        mean, spread = (np.mean(column, axis=0) for column in zip(*found, strict=True))
        return {"mean": mean.tolist(), "spread": spread.tolist()}

    def _macenko(self, train: CellSet, each: Each) -> Learned:
        """Stains of pixels drawn from all training cells that suit, each relative to its own light."""
        random, wanted = numpy_generator(self.seed, "stains"), -(-SAMPLE // len(train))
        parts = by_chunk(_lights, train.pixels, each, f"{self.kind}: fitting")
        lights, drawn, found = [], [], None
        for image, light in zip(train.pixels, (light for part in parts for light in part), strict=True):
            if light is not None:
                flat = optical_density(image, light).reshape(-1, 3)
                lights.append(light)
                drawn.append(flat if len(flat) <= wanted else random.choice(flat, wanted, replace=False))
        if not drawn:
            found = _own_stains(train.pixels[-1])
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


def _lab(images: Pixels) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    return [lab_statistics(image) for image in images]


def _lights(images: Pixels) -> list[NDArray[np.float64] | None]:
    """The light of each image that the model of two stains suits; None for the others."""
    found = [_own_stains(image) for image in images]
    return [stains.light if stains is not None and stains.suit else None for stains in found]


def _own_stains(image: Image) -> Stains | None:
    light = light_of(image)
    return stains_of(optical_density(image, light).reshape(-1, 3), light)


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
    CropToCell | Mask | StainNormalization | Clahe | Equalize | Gamma | Denoise | Unsharp,
    Field(discriminator="kind"),
]
Steps: TypeAlias = tuple[StepSettings, ...]


def through(steps: Sequence[Step], learned: Sequence[Mapping[str, Any]], images: Pixels) -> Pixels:
    """A chunk of images after all steps; here, where no import is heavy, for processes to find it.

    Args:
        steps: In their order.
        learned: What each of them learned.
        images: uint8, shape (k, h, h, 3).
    """
    made = np.empty_like(images)
    for row, image in enumerate(images):
        for step, values in zip(steps, learned, strict=True):
            image = step.apply(image, values)
        made[row] = image
    return made
