"""New images or stacks to classes: read as the training images were, labelled, and compared with those."""

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
from cells.images import Decoding, decode, fit_square
from cells.preprocessing import Preprocessing
from cells.stacks import INDEX, STACK
from classifiers.training import Classifier
from evaluation.predictions.inputs import Sample
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
    """What was found of one image or stack.

    Attributes:
        name: Of an image its path, of a stack its name.
        label: Index of the likeliest class; None if it could not be read.
        probabilities: Of each class.
        familiarity: The smaller one of its views; None without such a comparison.
        flag: Empty, `UNLIKE` or `UNREADABLE`.
        reason: Why it is flagged.
    """

    name: str
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
        InputError: If a file is missing or damaged.
    """

    def __init__(self, folder: Path, rate: float) -> None:
        self.classifier = Classifier.load(folder)
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

    @property
    def unit(self) -> str:
        """What gets one class, in a word."""
        return "stack" if self.classifier.depth else "image"

    def label(self, samples: Sequence[Sample]) -> list[Row]:
        """A row for each sample, in their order.

        Raises:
            InputError: If the machine gives out; what is wrong with one file is said in its row.
        """
        rows: list[Row] = []
        at_a_time = max(1, CHUNK // max(1, self.classifier.depth))
        with progress(len(samples), f"labelling {self.unit}s") as bar:
            for begin in range(0, len(samples), at_a_time):
                rows += self._label(part := samples[begin : begin + at_a_time])
                bar.update(len(part))
        return rows

    def cells(self, samples: Sequence[Sample]) -> tuple[CellSet, list[str]]:
        """The images of the samples that can be read, as the network sees them, and per sample why it cannot
        be (empty: it can).
        """
        with ThreadPoolExecutor(cores()) as pool:
            found = iter(list(pool.map(self._read, [file for sample in samples for file in sample.files])))
        images: list[NDArray[np.uint8]] = []
        said: list[dict[str, Any]] = []
        reasons = []
        for sample in samples:
            read = dict(zip(sample.files, found, strict=False))
            reasons.append(_reason(read, named=bool(self.classifier.depth)))
            if not reasons[-1]:
                said += self._provenance(sample)
                images += [image for image in read.values() if not isinstance(image, str)]
        size = self.classifier.image_size
        pixels = np.stack(images) if images else np.zeros((0, size, size, 3), np.uint8)
        if self.preprocessing is not None and images:
            pixels = np.asarray(self.preprocessing.apply(pixels))
        classes = self.classifier.classes
        return CellSet.from_arrays(pixels, [0] * len(pixels), classes, provenance=said), reasons

    def _provenance(self, sample: Sample) -> list[dict[str, Any]]:
        if not self.classifier.depth:
            return [{}]
        return [{STACK: sample.name, INDEX: index} for index in range(len(sample.files))]

    def _read(self, file: Path) -> NDArray[np.uint8] | str:
        """The square image, or what is wrong with it."""
        try:
            return fit_square(decode(file, self.decoding), self.classifier.image_size, self.crop)
        except InputError as error:
            return str(error).removeprefix(f"{file}: ")

    def _label(self, samples: Sequence[Sample]) -> Iterator[Row]:
        cells, reasons = self.cells(samples)
        probabilities = iter(self.classifier.probabilities(cells).astype(float).tolist())
        views = self.known.familiarity(self.classifier, cells) if self.known else {}
        familiarity = iter(np.stack([views[name] for name in VIEWS], axis=1).tolist() if views else [])
        for sample, reason in zip(samples, reasons, strict=True):
            if reason:
                yield Row(sample.name, flag=UNREADABLE, reason=reason)
                continue
            found = tuple(next(probabilities))
            row = Row(sample.name, int(np.argmax(found)), found)
            yield self._compared(row, next(familiarity)) if views else row

    def _compared(self, row: Row, familiarity: Sequence[float]) -> Row:
        """The row with how familiar it is to each view."""
        strange = [WORDS[name] for name, p in zip(VIEWS, familiarity, strict=True) if p <= self.threshold]
        flag, reason = (UNLIKE, " and ".join(strange)) if strange else ("", "")
        return Row(row.name, row.label, row.probabilities, min(familiarity), flag, reason)


def _reason(read: Mapping[Path, NDArray[np.uint8] | str], named: bool) -> str:
    """What is wrong with the files of a sample, if anything; with their names where there are several."""
    wrong = [(file, image) for file, image in read.items() if isinstance(image, str)]
    return "; ".join(f"{file.name}: {why}" if named else why for file, why in wrong)


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


def write_csv(rows: Sequence[Row], classes: Sequence[str], file: Path, name: str = "file") -> None:
    """A line for each row: its class, the probability of each, and whether it is flagged, and why.

    Args:
        rows: What was found.
        classes: Of the classifier.
        file: The table.
        name: What the first column is called.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    columns = [name, "class", "probability", "flag", "reason", "familiarity"]
    table.writerow([*columns, *(f"probability of {name}" for name in classes)])
    for row in rows:
        if row.label is None:
            table.writerow([row.name, "", "", row.flag, row.reason, "", *[""] * len(classes)])
            continue
        share = "" if row.familiarity is None else f"{row.familiarity:.5f}"
        each = [f"{p:.6f}" for p in row.probabilities]
        found = [classes[row.label], f"{row.probability:.6f}", row.flag, row.reason, share]
        table.writerow([row.name, *found, *each])
    write_text(file, text.getvalue())
