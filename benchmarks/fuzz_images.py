"""Damaged image files of every format: each must end as a right image or as one clear error.

    python benchmarks/fuzz_images.py [n=5000] [seed=0] [seconds=20]

A third of the files is truncated, a third has bits flipped, a third both. Each is decoded in a child
process, so that a hang (longer than `seconds`) or a crash is seen too; both are failures, and so is any
exception but InputError. Exits with 1 if there was one.
"""

import argparse
import io
import multiprocessing
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import Field

from cells.decoding import Decoding, decode
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.errors import InputError
from runtime.progress import progress

SIZE = (23, 17)
RIGHT = ("image", "InputError")
RULES = (
    Decoding(),
    Decoding(page=0),
    Decoding(page=0, depth="minmax"),
    Decoding(page=1, depth=(0, 1), clip=True),
)


class FuzzSettings(Settings):
    """How many files, which, and when one hangs."""

    n: int = Field(5000, ge=1)
    seed: int = 0
    seconds: float = Field(20, gt=0)


def whole_files() -> dict[str, bytes]:
    """One undamaged file of each format and kind, by name: the suffix comes last."""
    rng = np.random.default_rng(0)
    color = Image.fromarray(rng.integers(0, 256, (*SIZE, 4), dtype=np.uint8))
    gray, rgb = color.convert("L"), color.convert("RGB")
    deep = Image.fromarray(rng.integers(0, 65536, SIZE, dtype=np.uint16))
    floats = Image.fromarray(rng.random(SIZE, dtype=np.float32))
    ints = Image.fromarray(rng.integers(0, 2**31, SIZE, dtype=np.int32))
    turned = Image.Exif()
    turned[274] = 6
    pages: dict[str, Any] = {"save_all": True, "append_images": [rgb.rotate(90), rgb.rotate(180)]}
    return {
        "rgb.png": _file(rgb, "png"),
        "rgba.png": _file(color, "png", exif=turned),
        "palette.png": _file(rgb.quantize(16), "png", transparency=3),
        "bits.png": _file(gray.convert("1"), "png"),
        "deep.png": _file(deep, "png", transparency=7),
        "animated.png": _file(rgb, "png", **pages),
        "rgb.jpg": _file(rgb, "jpeg", exif=turned),
        "gray.jpg": _file(gray, "jpeg", progressive=True),
        "cmyk.jpg": _file(rgb.convert("CMYK"), "jpeg"),
        "rgb.tif": _file(rgb, "tiff"),
        "lzw.tif": _file(color, "tiff", compression="tiff_lzw"),
        "deflate.tif": _file(deep, "tiff", compression="tiff_adobe_deflate"),
        "jpeg.tif": _file(rgb, "tiff", compression="jpeg"),
        "packbits.tiff": _file(ints, "tiff", compression="packbits"),
        "float.tiff": _file(floats, "tiff"),
        "lab.tif": _file(rgb.convert("YCbCr"), "tiff"),
        "pages.tif": _file(rgb, "tiff", **pages),
        "rgb.bmp": _file(rgb, "bmp"),
        "palette.bmp": _file(rgb.quantize(16), "bmp"),
        "gray.gif": _file(gray, "gif"),
        "animated.gif": _file(rgb.quantize(16), "gif", **pages),
        "lossy.webp": _file(rgb, "webp", exif=turned),
        "lossless.webp": _file(color, "webp", lossless=True),
        "animated.webp": _file(rgb, "webp", **pages),
    }


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def damaged(content: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """The file cut off, with bits flipped, or both; headers are hit as often as pixels."""
    how = str(rng.choice(["truncated", "flipped", "both"]))
    data = np.frombuffer(content, np.uint8).copy()
    if how != "truncated":
        reach = len(data) if rng.random() < 0.5 else min(len(data), 200)
        for place in rng.integers(0, reach, rng.integers(1, 9)):
            data[place] ^= 1 << rng.integers(0, 8)
    if how != "flipped":
        data = data[: rng.integers(0, len(data))]
    return how, data.tobytes()


def outcome(path: Path, rule: Decoding) -> str:
    """``image``, ``InputError``, or what went wrong."""
    try:
        image = decode(path, rule)
    except InputError as error:
        return "InputError" if str(path) in str(error) else f"an error that names no file: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    right = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size > 0
    return "image" if right else f"{image.dtype} {image.shape}"


def run(settings: FuzzSettings, folder: Path) -> dict[tuple[str, str], Counter[str]]:
    """Outcomes per format and kind of damage; each wrong one is printed, and its file kept."""
    files, rng = whole_files(), np.random.default_rng(settings.seed)
    found: dict[tuple[str, str], Counter[str]] = {}
    pool = _child()
    with progress(settings.n, "decoding damaged files") as bar:
        for i in range(settings.n):
            name = list(files)[i % len(files)]
            how, content = damaged(files[name], rng)
            path = folder / f"{i}-{how}-{name}"
            path.write_bytes(content)
            try:
                result = pool.submit(outcome, path, RULES[i // len(files) % len(RULES)]).result(
                    settings.seconds
                )
            except (TimeoutError, BrokenProcessPool) as error:
                result = "hang" if isinstance(error, TimeoutError) else "crash"
                for process in multiprocessing.active_children():
                    process.kill()
                pool = _child()
            found.setdefault((path.suffix, how), Counter())[result if result in RIGHT else "WRONG"] += 1
            if result in RIGHT:
                path.unlink()
            else:
                print(f"{path}: {result}")
            bar.update()
    pool.shutdown()
    return found


def _child() -> ProcessPoolExecutor:
    """A process that is ready: its start is no part of the time that a file may take."""
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
    pool.submit(whole_files).result()
    return pool


def main(arguments: argparse.Namespace) -> None:
    """Decode the damaged files and print what became of them."""
    settings = load_config(FuzzSettings, None, arguments.words)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-images-"))
    found = run(settings, folder)
    print("| format | damage | image | InputError | wrong |\n|---|---|---:|---:|---:|")
    for (suffix, how), counts in sorted(found.items()):
        print(f"| {suffix} | {how} | {counts['image']} | {counts['InputError']} | {counts['WRONG']} |")
    total = sum(found.values(), Counter[str]())
    print(f"| all | all | {total['image']} | {total['InputError']} | {total['WRONG']} |")
    if total["WRONG"]:
        print(f"the files are kept in {folder}", file=sys.stderr)
        sys.exit(1)
    folder.rmdir()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "n=5000, seed=0, seconds=20")


if __name__ == "__main__":
    run_command(main, parser())
