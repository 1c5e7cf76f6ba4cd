"""How many near duplicates are found, how many originals are paired with others, in what time and memory.

    python benchmarks/near_duplicates.py [out=FILE.md] [data=DIR] [counts=[2000,10000,100000]]

Copies of a tenth of the images are planted (at most 1,000): each turned and flipped at random, cropped
to 96 % of the edge anywhere, or every third by 4 % on every side, lit 8 % brighter or darker at the
most, and saved as JPEG of quality 75. Scale is measured on images of 64 px pieced together from
drawn cells, each number in a process of its own; `data` is the folder with the sets in `REAL`, to
measure on real cells, X-rays and fields of several cells.
"""

import argparse
import io
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from cells.cellset import CellSet
from cells.duplicates import near_duplicates
from cells.phantom import CLASSES, phantoms
from cells.sources import FolderData, MedmnistData, SplitFolderData, load
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.rundir import write_text
from runtime.seeds import numpy_generator

SIZE = 64
PIECES = 100  # drawn cells of each class
REAL = (
    "pbc-lt-128 at 28",
    "pbc-lt-128 at 64",
    "pbc-lt-128 at 128",
    "pbc-natural-28.npz",
    "pneumoniamnist.npz",
    "all-taleqani-sample/original at 64",
    "all-taleqani-sample/original at 128",
)
HEAD = (
    "| images | number | edge in px | copies | found | originals paired "
    "| CPU s | wall s | peak memory in GiB |"
)


class NearDuplicatesSettings(Settings):
    """How many images, which real ones, and where the table goes."""

    counts: tuple[Annotated[int, Field(ge=100)], ...] = (2_000, 10_000, 100_000)
    data: Path | None = None
    out: Path | None = None


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, and write the table."""
    settings = load_config(NearDuplicatesSettings, None, arguments.words)
    tasks = [("drawn", count, "") for count in settings.counts]
    tasks += [(name, 0, str(settings.data)) for name in REAL if settings.data]
    lines = [HEAD, "|---|" + "---:|" * (HEAD.count("|") - 2)]
    for task in tasks:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:  # for its own peak memory
            lines.append(alone.submit(measured, *task).result())
        print(lines[-1], flush=True)
    if settings.out:
        write_text(settings.out, "\n".join(lines) + "\n")


def measured(name: str, count: int, data: str) -> str:
    """One row of the table."""
    cells, original = planted(drawn(count)) if name == "drawn" else planted(real(name, Path(data)))
    wall, begun = time.monotonic(), time.process_time()
    pairs = {(pair.first, pair.second) for pair in near_duplicates(cells)}
    seconds, wall = time.process_time() - begun, time.monotonic() - wall
    originals = len(cells) - len(original)
    hits = sum((row, originals + copy) in pairs for copy, row in enumerate(original.tolist()))
    false = {row for pair in pairs if pair[1] < originals for row in pair}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"| {name} | {len(cells):,} | {cells.image_size} | {len(original):,} | {hits / len(original):.1%} | "
        f"{len(false)} ({len(false) / originals:.2%}) | {seconds:.0f} | {wall:.0f} | {memory:.2f} |"
    )


def real(name: str, data: Path) -> NDArray[np.uint8]:
    """Real cells, with room for their copies."""
    if name.endswith(".npz"):
        return load(MedmnistData(name=str(data / name))).pixels
    folder, _, size = name.partition(" at ")
    source = SplitFolderData if (data / folder / "train").is_dir() else FolderData
    return load(source(root=data / folder, image_size=int(size))).pixels


def drawn(count: int) -> NDArray[np.uint8]:
    """Images whose quarters are quarters of drawn cells, shape (count, 64, 64, 3)."""
    cells = phantoms(dict.fromkeys(CLASSES, PIECES), SIZE, seed=0).pixels
    half = SIZE // 2
    rng = numpy_generator(0, "pieces")
    pixels = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for rows in (slice(0, half), slice(half, SIZE)):
        for columns in (slice(0, half), slice(half, SIZE)):
            for i, piece in enumerate(rng.integers(0, len(cells), count)):
                pixels[i, rows, columns] = cells[piece, rows, columns]
    return pixels


def planted(pixels: NDArray[np.uint8]) -> tuple[CellSet, NDArray[np.int64]]:
    """The images but the last, which copies take the place of, and what each is a copy of."""
    copies = min(1000, len(pixels) // 11)
    originals = len(pixels) - copies
    rng = numpy_generator(0, "copies")
    chosen = rng.choice(originals, copies, replace=False)
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    for copy, row in enumerate(chosen):
        pixels[originals + copy] = changed(pixels[row], rng, every_side=copy % 3 == 0)
    return CellSet.from_arrays(pixels, np.zeros(len(pixels), np.int64), ["any"]), chosen


def changed(image: NDArray[np.uint8], rng: np.random.Generator, every_side: bool) -> NDArray[np.uint8]:
    """A near duplicate of an image, all changes at once."""
    size = len(image)
    turned = np.rot90(image, int(rng.integers(4)))
    turned = np.ascontiguousarray(turned[:, ::-1] if rng.random() < 0.5 else turned)
    kept = size * (0.92 if every_side else 0.96)
    left, top = ((size - kept) / 2,) * 2 if every_side else rng.uniform(0, size - kept, 2)
    cropped = Image.fromarray(turned).resize((size, size), box=(left, top, left + kept, top + kept))
    lit = (np.asarray(cropped) * rng.uniform(0.92, 1.08)).round().clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(lit).save(file, "jpeg", quality=75)
    return np.asarray(Image.open(file))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "out=FILE.md, data=DIR, counts=[2000,10000,100000]")


if __name__ == "__main__":
    run_command(main, parser())
