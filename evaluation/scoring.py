"""Score synthetic cells from Python or from folders, and write the result as JSON and as pages.

from evaluation.scoring import ScoreSettings, score

found = score((real, real_labels), (made, made_labels), (unseen, unseen_labels), classes=names)
found.result["fidelity"]["overall"]["kid"]
found.write(Path("scores.json"))  # and scores.md, scores.html, scores-figures/
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from evaluation.features.encoders import Encoder
from evaluation.scores.folders import FLAT
from evaluation.scores.page import figures_folder, write_pages
from evaluation.scores.suite import (
    EvaluateSettings,
    ScoreSettings,
    Sides,
    evaluate_sets,
    read_sides,
    refuse_own_reference,
    suite_encoder,
)
from runtime.errors import InputError
from runtime.rundir import read_json, write_json

__all__ = ["Cells", "EvaluateSettings", "Score", "ScoreSettings", "refuse_taken", "score", "score_folders"]

Labels = Sequence[int] | NDArray[np.integer[Any]]
Cells = CellSet | NDArray[np.uint8] | tuple[NDArray[np.uint8], Labels]


@dataclass(frozen=True)
class Score:
    """What came out, and the cells behind it.

    Attributes:
        result: JSON values; see `evaluation.scores.suite.evaluate_sets`.
        sides: The cells, in the classes that were scored.
        encoder: What the features are.
    """

    result: dict[str, Any]
    sides: Sides
    encoder: Encoder

    def write(self, file: Path, *, overwrite: bool = False) -> None:
        """Write `file`, and beside it the same as Markdown and HTML, with figures.

        Args:
            file: Ends in ``.json``; FILE.md, FILE.html and FILE-figures/ lie beside it.
            overwrite: Replace what is there.

        Raises:
            InputError: If the name does not end in ``.json``, or one of the four exists.
        """
        refuse_taken(file, None, overwrite)
        write_json(file, self.result)
        write_pages(self.result, self.sides, self.encoder, file)


def score(
    real: Cells,
    synthetic: Cells,
    holdout: Cells | None = None,
    *,
    classes: Sequence[str] | None = None,
    settings: ScoreSettings | None = None,
    cache: Path | None = None,
) -> Score:
    """Score synthetic cells against real ones, as `scripts/evaluate.py` does with folders.

    Each side is a `CellSet`, an array of images (no classes: scored overall only), or a pair of
    images and labels. Images are uint8 RGB, shape (n, h, w, 3), h = w; labels are integers from 0, shape
    (n,). Real images are brought to the synthetic ones' size.

    Args:
        real: Real cells; with `holdout`, those that the generator was trained on.
        synthetic: The cells to score.
        holdout: Real cells that generator and encoder have not seen: the reference. Without it `real`
            is, and copies cannot be judged.
        classes: Names of the labels of arrays; None takes the numbers.
        settings: Default: a domain encoder, fitted on `real`, which needs `holdout`.
        cache: For features and fitted encoders; default `cells.images.cache_folder`.

    Raises:
        InputError: If an array is not as described, or the encoder is not usable.
    """
    settings = settings or ScoreSettings()
    refuse_own_reference(settings, holdout is not None)
    names = tuple(classes) if classes is not None else _numbered([real, synthetic, holdout])
    made = _as_cells(synthetic, "synthetic", names)
    parts = [
        None if side is None else _as_cells(side, role, names).resized(made.image_size)
        for side, role in ((real, "real"), (holdout, "holdout"))
    ]
    assert parts[0] is not None
    return _scored(Sides(parts[0], made, parts[1]).as_modality(settings.modality), settings, cache)


def score_folders(settings: EvaluateSettings, cache: Path | None = None) -> Score:
    """Read folders and score them.

    Args:
        settings: Name the folders.
        cache: As for `score`.

    Raises:
        InputError: If a folder, an image, a class, the encoder or the preprocessing is not usable.
    """
    sides, said = read_sides(settings, cache)
    found = _scored(sides, settings, cache)
    return Score({**found.result, **said}, found.sides, found.encoder)


def refuse_taken(file: Path, config: Mapping[str, Any] | None, overwrite: bool) -> None:
    """Refuse to write over a result, unless it is of the same config or may be lost.

    Args:
        file: Where the JSON goes.
        config: What is about to be scored; None is never the same.
        overwrite: Whether what is there may be lost.

    Raises:
        InputError: If the name does not end in ``.json``, or something else is there.
    """
    if file.suffix != ".json":
        raise InputError(f"out={file}: name a file that ends in .json.")
    if overwrite:
        return
    way = "choose another out=, or add overwrite=true."
    if not file.exists():
        for path in (file.with_suffix(".md"), file.with_suffix(".html"), figures_folder(file)):
            if path.exists():
                raise InputError(f"{path} exists; {way}")
        return
    if config is None:
        raise InputError(f"{file} exists; {way}")
    found = read_json(file)
    found = found.get("config", {}) if isinstance(found, dict) else {}
    for key, value in config.items():
        if found.get(key) != value:
            raise InputError(f"{file} holds a result with another '{key}'; {way}")


def _scored(sides: Sides, settings: ScoreSettings, cache: Path | None) -> Score:
    sides = sides.of_same_classes()
    encoder = suite_encoder(sides.real, settings, cache)
    result = evaluate_sets(sides.real, sides.synthetic, sides.holdout, settings, cache, encoder, sides.known)
    return Score(result, sides, encoder)


def _numbered(sides: Sequence[Cells | None]) -> tuple[str, ...]:
    """Names for the labels of all sides: their numbers."""
    most = [int(np.max(side[1])) for side in sides if isinstance(side, tuple) and len(side[1])]
    return tuple(map(str, range(max(most, default=0) + 1)))


def _as_cells(side: Cells, role: str, classes: tuple[str, ...]) -> CellSet:
    if isinstance(side, CellSet):
        return side
    images, labels = side if isinstance(side, tuple) else (side, None)
    images = np.asarray(images)
    square = images.ndim == 4 and images.shape[1] == images.shape[2] and images.shape[3] == 3
    if images.dtype != np.uint8 or not square or not len(images):
        raise InputError(
            f"{role}: images must be uint8 of shape (n, h, h, 3), n at least 1, but are {images.dtype} of "
            f"shape {images.shape}; convert them to square RGB bytes."
        )
    origin = "synthetic" if role == "synthetic" else "real"
    names = [f"{role}[{i}]" for i in range(len(images))]
    if labels is None:
        return CellSet.from_arrays(images, np.zeros(len(images), int), (FLAT,), names=names, origin=origin)
    given = np.asarray(labels)
    if given.shape != (len(images),) or given.dtype.kind not in "iu":
        raise InputError(
            f"{role}: labels must be integers of shape ({len(images)},), one an image, but are "
            f"{given.dtype} of shape {given.shape}."
        )
    if given.min() < 0 or given.max() >= len(classes):
        raise InputError(
            f"{role}: labels run from {given.min()} to {given.max()}, but there are {len(classes)} classes; "
            "number them from 0, and name each in classes=."
        )
    return CellSet.from_arrays(images, given, classes, names=names, origin=origin)
