"""How well the masks fit phantoms, whose masks are known, and how long a cell takes.

    python benchmarks/masks.py [out=FILE.md] [cells=100] [sizes=[32,64,128]]

Intersection over union (IoU) of nucleus and cell with what was drawn: the mean over the cells of each
class. Times are process time of one core and include reading no file.
"""

import argparse
import time
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cells.cellset import CellSet
from cells.masks import METHODS, nucleus_and_cytoplasm
from cells.morphology import measure
from cells.phantom import CLASSES, draw, phantom_masks
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.rundir import write_text

FIRST_SEED = 10_000  # the cells that the thresholds were chosen on have smaller seeds
HEAD = "| px | method | of | " + " | ".join(CLASSES) + " | mean | masks, ms a cell | measure, ms a cell |"


class MasksSettings(Settings):
    """How many cells of each class, at which sizes, and where the table goes."""

    cells: Annotated[int, Field(ge=1)] = 100
    sizes: tuple[Annotated[int, Field(ge=16)], ...] = (32, 64, 128)
    out: Path | None = None


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, and write the table."""
    settings = load_config(MasksSettings, None, arguments.words)
    lines = [HEAD, "|---:|---|---|" + "---:|" * (HEAD.count("|") - 4)]
    for size in settings.sizes:
        seeds = range(FIRST_SEED, FIRST_SEED + settings.cells)
        pairs = [(label, seed) for label in range(len(CLASSES)) for seed in seeds]
        pixels = np.stack([draw(*pair, size) for pair in pairs])
        nuclei, whole = (
            np.stack(found) for found in zip(*(phantom_masks(*p, size) for p in pairs), strict=True)
        )
        for method in METHODS:
            lines += rows(pixels, nuclei, whole, method)
    print("\n".join(lines))
    if settings.out:
        write_text(settings.out, "\n".join(lines) + "\n")


def rows(
    pixels: NDArray[np.uint8], nuclei: NDArray[np.bool_], whole: NDArray[np.bool_], method: str
) -> list[str]:
    """Two rows of the table: nucleus and cell."""
    begun = time.process_time()
    masks = nucleus_and_cytoplasm(pixels, METHODS[method]())
    between = time.process_time()
    measure(CellSet.from_arrays(pixels, [0] * len(pixels), ["any"]), METHODS[method](), processes=1)
    ended = time.process_time()
    times = [f"{1000 * seconds / len(pixels):.1f}" for seconds in (between - begun, ended - between)]
    lines = []
    for name, found, true in (("nucleus", masks.nucleus, nuclei), ("cell", masks.cell, whole)):
        union = np.maximum((found | true).sum(axis=(1, 2)), 1)
        by_class = ((found & true).sum(axis=(1, 2)) / union).reshape(len(CLASSES), -1).mean(axis=1)
        values = [f"{value:.3f}" for value in (*by_class, by_class.mean())]
        lines.append(f"| {pixels.shape[1]} | {method} | {name} | " + " | ".join([*values, *times]) + " |")
    return lines


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "out=FILE.md, cells=100, sizes=[32,64,128]")


if __name__ == "__main__":
    run_command(main, parser())
