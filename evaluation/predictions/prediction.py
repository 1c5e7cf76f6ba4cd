"""New images to classes: read as the training images were, labelled, and compared with those."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.images import Decoding, decode, fit_square, is_image
from cells.preprocessing import Preprocessing
from classifiers.training import Classifier
from evaluation.predictions.known import VIEWS, Known
from runtime.config import validate
from runtime.errors import InputError
from runtime.parallel import cores
from runtime.progress import progress
from runtime.rundir import write_text

CHUNK = 512  # images in memory at a time
UNLIKE, UNREADABLE = "unlike training cells", "unreadable"
WORDS = {"features": "what the network sees", "appearance": "color and texture"}  # of VIEWS


@dataclass(frozen=True)
class Row:
    """What was found of one file.

    Attributes:
        file: Its path below the folder of images.
        label: Index of the likeliest class; None if it could not be read.
        probabilities: Of each class.
        familiarity: The smaller one of its views; None without such a comparison.
        flag: Empty, `UNLIKE` or `UNREADABLE`.
        reason: Why it is flagged.
    """

    file: str
    label: int | None = None
    probabilities: tuple[float, ...] = ()
    familiarity: float | None = None
    flag: str = ""
    reason: str = ""

    @property
    def probability(self) -> float:
        """That of the likeliest class."""
        return max(self.probabilities)


class Labeler:
    """A trained classifier with all that an image goes through before it.

    Args:
        folder: As train_classifier wrote it.
        rate: Share of cells like the training cells that may be flagged as unlike them.

    Raises:
        InputError: If a file is missing or damaged, or the classifier is one of stacks.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self.classifier = Classifier.load(folder)
        if self.classifier.depth:
            raise InputError(
                f"{folder}: its network takes stacks of {self.classifier.depth} images, and predict labels "
                "single images; use Classifier.load and its probabilities, see docs/data.md."
            )
        self.preprocessing = Preprocessing.load(folder)
        config = _config(folder)
        if self.preprocessing is None and config.get("preprocess"):
            raise InputError(
                f"{folder}: has no preprocessing.json, and the training images were preprocessed; train the "
                "classifier again."
            )
        self.known = Known.load(folder)
        self.threshold = self.known.threshold(rate) if self.known else 0.0
        self.crop, self.decoding = _reading(config, folder)

    def label(self, root: Path, files: Sequence[Path]) -> list[Row]:
        """A row for each file, in their order.

        Raises:
            InputError: If the machine gives out; what is wrong with one file is said in its row.
        """
        rows: list[Row] = []
        with progress(len(files), "labelling images") as bar:
            for begin in range(0, len(files), CHUNK):
                rows += self._label(root, files[begin : begin + CHUNK])
                bar.update(min(CHUNK, len(files) - begin))
        return rows

    def cells(self, files: Sequence[Path]) -> tuple[CellSet, list[str]]:
        """The images as the network sees them, those that can be read, and per file why not (empty: read)."""
        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(self._read, files))
        images = [image for image in found if not isinstance(image, str)]
        size = self.classifier.image_size
        pixels = np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)
        if self.preprocessing is not None and images:
            pixels = np.asarray(self.preprocessing.apply(pixels))
        cells = CellSet.from_arrays(pixels, [0] * len(pixels), self.classifier.classes)
        return cells, [image if isinstance(image, str) else "" for image in found]

    def _read(self, file: Path) -> NDArray[np.uint8] | str:
        """The square image, or what is wrong with it."""
        try:
            return fit_square(decode(file, self.decoding), self.classifier.image_size, self.crop)
        except InputError as error:
            return str(error).removeprefix(f"{file}: ")

    def _label(self, root: Path, files: Sequence[Path]) -> Iterator[Row]:
        cells, reasons = self.cells(files)
        probabilities = iter(self.classifier.probabilities(cells).astype(float).tolist())
        views = self.known.familiarity(self.classifier, cells) if self.known else {}
        familiarity = iter(np.stack([views[name] for name in VIEWS], axis=1).tolist() if views else [])
        for file, reason in zip(files, reasons, strict=True):
            name = file.relative_to(root).as_posix()
            if reason:
                yield Row(name, flag=UNREADABLE, reason=reason)
                continue
            found = tuple(next(probabilities))
            row = Row(name, int(np.argmax(found)), found)
            yield self._compared(row, next(familiarity)) if views else row

    def _compared(self, row: Row, familiarity: Sequence[float]) -> Row:
        """The row with how familiar its image is to each view."""
        strange = [WORDS[name] for name, p in zip(VIEWS, familiarity, strict=True) if p <= self.threshold]
        flag, reason = (UNLIKE, " and ".join(strange)) if strange else ("", "")
        return Row(row.file, row.label, row.probabilities, min(familiarity), flag, reason)


def find_files(root: Path) -> list[Path]:
    """All images in a folder and the folders below it, by path; hidden ones are passed over.

    Raises:
        InputError: If there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set images to a folder of images.")
    found = sorted(path for path in root.rglob("*") if is_image(path) and not _hidden(path, root))
    if not found:
        raise InputError(f"{root}: has no images in it or below it; set images to a folder that has.")
    return found


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _config(folder: Path) -> Mapping[str, Any]:
    """With what the classifier was trained."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise InputError(f"{file}: no such file; give a folder that train_classifier wrote.")
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def _reading(config: Mapping[str, Any], folder: Path) -> tuple[int | None, Decoding]:
    """How the training images were cut out and decoded: of two sites, those trained on."""
    data: Mapping[str, Any] = config.get("data") or {}
    data = data.get("train", data) if data.get("kind") == "cross_site" else data
    return data.get("crop"), validate(Decoding, data.get("decoding") or {}, str(folder / "config.yaml"))


def write_csv(rows: Sequence[Row], classes: Sequence[str], file: Path) -> None:
    """A line for each file: its class, the probability of each, and whether it is flagged, and why."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = ["file", "class", "probability", "flag", "reason", "familiarity"]
    table.writerow([*columns, *(f"probability of {name}" for name in classes)])
    for row in rows:
        if row.label is None:
            table.writerow([row.file, "", "", row.flag, row.reason, "", *[""] * len(classes)])
            continue
        share = "" if row.familiarity is None else f"{row.familiarity:.5f}"
        each = [f"{p:.6f}" for p in row.probabilities]
        found = [classes[row.label], f"{row.probability:.6f}", row.flag, row.reason, share]
        table.writerow([row.file, *found, *each])
    write_text(file, text.getvalue())
