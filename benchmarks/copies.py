"""What the detector of near-copies finds: planted copies of training cells, and cells that are none.

    python benchmarks/copies.py data=DIR [size=28] [per_class=40] [out=FILE.md]

DIR holds train/, val/ and test/ with class folders. Thresholds are read on val; copies of train are planted
in many ways; what must not be flagged are the cells of test, also blurred, and means of several of them.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from pydantic import Field

from cells.cellset import CellSet
from evaluation.copies.detector import CopyDetector
from evaluation.scores.folders import read_folder
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.rundir import write_text

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels], Pixels]


def jpeg(image: Pixels, quality: int = 75) -> Pixels:
    """Saved again with losses."""
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def lit(factor: float | NDArray[np.float64], offset: float = 0) -> Change:
    """Other light: values times a factor, plus an offset, clipped."""
    return lambda image: np.clip(image.astype(np.float64) * factor + offset, 0, 255).round().astype(np.uint8)


def contrast(factor: float) -> Change:
    """Other contrast around the image's mean."""
    return lambda image: lit(factor, (1 - factor) * float(image.mean()))(image)


def crop(left: int, top: int, right: int, bottom: int) -> Change:
    """Without some pixels at the edges, brought back to size."""

    def change(image: Pixels) -> Pixels:
        h, w = image.shape[:2]
        part = Image.fromarray(np.ascontiguousarray(image)).crop((left, top, w - right, h - bottom))
        return np.asarray(part.resize((w, h), Image.Resampling.BICUBIC))

    return change


def blurred(image: Pixels) -> Pixels:
    """With a Gaussian of one pixel."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).filter(ImageFilter.GaussianBlur(1)))


CHANGES: dict[str, Change] = {
    "as they are": lambda image: image,
    "flipped and turned": lambda image: np.rot90(image[:, ::-1], 3),
    "JPEG 75": jpeg,
    "JPEG 50": lambda image: jpeg(image, 50),
    "8 % brighter": lit(1.08),
    "8 % darker": lit(0.92),
    "brighter by 20 of 255": lit(1, 20),
    "darker by 20 of 255": lit(1, -20),
    "contrast +10 %": contrast(1.1),
    "contrast -10 %": contrast(0.9),
    "channels +6, -4, +2 %": lit(np.array([1.06, 0.96, 1.02])),
    "blurred": blurred,
    "1 px cropped at each edge": crop(1, 1, 1, 1),
    "2 px cropped at each edge": crop(2, 2, 2, 2),
    "2 px cropped at two edges": crop(0, 0, 2, 2),
    "turned, 8 % brighter, 1 px cropped, JPEG 75": lambda image: jpeg(
        crop(1, 1, 1, 1)(lit(1.08)(np.rot90(image)))
    ),
}


class CopiesSettings(Settings):
    """Which cells, at which edge in pixels, how many copies of each class, and where the table goes."""

    data: Path
    size: int = Field(default=28, ge=16, le=256)
    per_class: int = Field(default=40, ge=1)
    out: Path | None = None


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, and write the table."""
    settings = load_config(CopiesSettings, None, arguments.words)
    sides = (settings.data / side for side in ("train", "val", "test"))
    train, val, test = (read_folder(side, settings.size) for side in sides)
    detector = CopyDetector(train, val)
    some = _some(train, settings.per_class)
    rows = [(f"copies, {name}", _changed(some, change)) for name, change in CHANGES.items()]
    rows += [("unseen cells", test), ("unseen cells, blurred", _changed(test, blurred))]
    rows += [(f"means of {n} unseen cells", _means(test, n)) for n in (3, 10, 50)]
    lines = ["| cells | n | flagged |", "|---|---:|---:|"]
    for name, cells in rows:
        lines.append(f"| {name} | {len(cells)} | {100 * detector.flags(cells).mean():.1f} % |")
        print(lines[-1], flush=True)
    if settings.out:
        write_text(settings.out, "\n".join(lines) + "\n")


def _some(cells: CellSet, per_class: int) -> CellSet:
    random = np.random.default_rng(0)
    of_class = [np.flatnonzero(cells.labels == label) for label in range(len(cells.classes))]
    return cells.subset(np.concatenate([random.permutation(rows)[:per_class] for rows in of_class]))


def _changed(cells: CellSet, change: Change) -> CellSet:
    pixels = np.stack([change(image) for image in cells.pixels])
    return CellSet.from_arrays(pixels, cells.labels, cells.classes)


def _means(cells: CellSet, count: int, per_class: int = 10) -> CellSet:
    """Averages of cells of a class: what a generator that knows no detail might draw."""
    random = np.random.default_rng(count)
    labels = np.repeat(np.arange(len(cells.classes)), per_class)
    rows = [random.choice(np.flatnonzero(cells.labels == label), count, replace=False) for label in labels]
    pixels = np.stack([cells.pixels[row].mean(axis=0).round() for row in rows]).astype(np.uint8)
    return CellSet.from_arrays(pixels, labels, cells.classes)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "data=DIR, size=28, per_class=40, out=FILE.md")


if __name__ == "__main__":
    run_command(main, parser())
