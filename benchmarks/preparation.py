"""Memory and time of `scripts/prepare.py` as a whole, on folders of many drawn images.

    python benchmarks/preparation.py [n=[2000,10000,100000]] [size=64] [words=[...]] [out=FILE.md]

The images are pieced together from quarters of drawn cells, half of them JPEG and half PNG, in eight
class folders below TMPDIR; `words` are more words for prepare. Memory is that of prepare and all its
children, read from /proc twenty times a second: "held" is what cannot be dropped (RssAnon and
RssShmem), "mapped" are pages of files, most of them of the packed images, which the system drops where
memory is short. Linux only.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from cells.phantom import CLASSES, phantoms
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.errors import InputError
from runtime.rundir import write_text
from runtime.seeds import numpy_generator

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "prepare.py"
FOLDERS = 8
PIECES = 100  # drawn cells of each class
EVERY = 0.05  # seconds
GIB = 2**20  # kB, the unit of /proc
HEAD = "| images | edge in px | wall s | CPU s | peak held, GiB | peak held and mapped, GiB |"


class PreparationSettings(Settings):
    """How many images of which size, what else prepare is told, and where the table goes."""

    n: tuple[Annotated[int, Field(ge=100)], ...] = (2_000, 10_000)
    size: Annotated[int, Field(ge=16)] = 64
    words: tuple[str, ...] = ()
    out: Path | None = None


def main(arguments: argparse.Namespace) -> None:
    """Measure, print, and write the table."""
    settings = load_config(PreparationSettings, None, arguments.words)
    lines = [HEAD, "|---:" * (HEAD.count("|") - 1) + "|"]
    print("\n".join(lines), flush=True)
    for count in settings.n:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder) / "images", count, settings.size)
            lines.append(measured(Path(folder), count, settings))
        print(lines[-1], flush=True)
    if settings.out:
        write_text(settings.out, "\n".join(lines) + "\n")


def draw(root: Path, count: int, size: int) -> None:
    """Images whose quarters are quarters of drawn cells: ``root/class <k>/<i>.jpg`` or ``.png``."""
    cells = phantoms(dict.fromkeys(CLASSES, PIECES), size, seed=0).pixels
    rng = numpy_generator(0, "pieces")
    for folder in range(FOLDERS):
        (root / f"class {folder}").mkdir(parents=True)
    for i in range(count):
        image = Image.fromarray(_pieced(cells[rng.integers(0, len(cells), 4)]))
        name = root / f"class {i % FOLDERS}" / f"{i:06d}"
        if i // FOLDERS % 2:
            image.save(name.with_suffix(".png"), compress_level=1)
        else:
            image.save(name.with_suffix(".jpg"), quality=95)


def _pieced(four: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One image of a quarter of each of four, uint8 (4, h, h, 3) to (h, h, 3)."""
    half, image = four.shape[1] // 2, four[0].copy()
    image[:half, half:] = four[1, :half, half:]
    image[half:, :half] = four[2, half:, :half]
    image[half:, half:] = four[3, half:, half:]
    return image


def measured(folder: Path, count: int, settings: PreparationSettings) -> str:
    """One row of the table: prepare with an empty cache, watched."""
    words = [f"root={folder / 'images'}", f"out={folder / 'out'}", f"image_size={settings.size}"]
    command = [sys.executable, str(SCRIPT), "source=folder", *words, *settings.words]
    before, begun = os.times(), time.monotonic()
    environment = {**os.environ, "RARECELL_CACHE": str(folder / "cache")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as prepare:
        held, resident = watched(prepare)
    wall, after = time.monotonic() - begun, os.times()
    if prepare.returncode:
        raise InputError(f"prepare ended with {prepare.returncode}; see above for its reason.")
    seconds = sum(after[2:4]) - sum(before[2:4])
    return (
        f"| {count:,} | {settings.size} | {wall:.0f} | {seconds:.0f} | {held / GIB:.2f} | "
        f"{resident / GIB:.2f} |"
    )


def watched(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """The most that a process and its children held, and had resident, in kB, until it ended."""
    most_held = most_resident = 0
    while process.poll() is None:
        found = [_memory(pid) for pid in _family(process.pid)]
        most_held = max(most_held, sum(held for held, _ in found))
        most_resident = max(most_resident, sum(resident for _, resident in found))
        time.sleep(EVERY)
    return most_held, most_resident


def _family(pid: int) -> Iterator[int]:
    """A process and all below it; those that end meanwhile are left out."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))


def _memory(pid: int) -> tuple[int, int]:
    """What a process holds (anonymous and shared memory) and all that is resident, in kB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0, 0
    kb = {key: int(value) for key, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.MULTILINE)}
    return kb.get("RssAnon", 0) + kb.get("RssShmem", 0), kb.get("VmRSS", 0)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "n=[2000,10000,100000], size=64, words=[...], out=FILE.md")


if __name__ == "__main__":
    run_command(main, parser())
