"""An epoch over packed cells against torchvision's ImageFolder, side by side in one run.

    python benchmarks/data.py [root=DIR] [image_size=64] [batch=64] [epochs=5] [workers=[1,2]]

Both give float batches with the same augmentation (`cells.images.mild_augmentation`, on whole batches).
ImageFolder decodes and resizes the originals each epoch, in as many worker processes as the packed array
gets threads; its workers are started and warm before the clock. Also: packing with 1 and 2 threads, and a
second start from the cache. `root` holds a folder a class; without it 320 images of 360×363 px are made.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from torch import Tensor
from torch.utils.data import DataLoader, default_collate
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from cells.images import find_images, mild_augmentation, pack, to_bytes
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config

BAR = 20


class DataSpeedSettings(Settings):
    """What is read, and how often."""

    root: Path | None = None
    image_size: int = Field(64, ge=8)
    batch: int = Field(64, ge=1)
    epochs: int = Field(5, ge=1)
    workers: tuple[int, ...] = (1, 2)


def main(arguments: argparse.Namespace) -> None:
    """Measure, and print the tables."""
    settings = load_config(DataSpeedSettings, None, arguments.words)
    with tempfile.TemporaryDirectory() as folder:
        root = settings.root or made_images(Path(folder) / "made")
        paths = [path for label in sorted(root.iterdir()) if label.is_dir() for path in find_images(label)]
        print(f"{len(paths)} images of {root if settings.root else 'made noise'}, {os.cpu_count()} cores")
        pixels = report_packing(paths, settings.image_size, Path(folder))
        report_epochs(root, pixels, settings)


def made_images(root: Path) -> Path:
    """JPEGs of the size of PBC's originals: smooth blobs, 40 of each of 8 classes."""
    rng = np.random.default_rng(0)
    for i in range(320):
        coarse = Image.fromarray(rng.integers(0, 256, (18, 18, 3), dtype=np.uint8))
        path = root / f"class {i % 8}" / f"{i}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize((360, 363), Image.Resampling.BICUBIC).save(path, quality=95)
    return root


def report_packing(paths: list[Path], size: int, folder: Path) -> NDArray[np.uint8]:
    """Pack with one and two threads into fresh caches, then read the last again."""
    for path in paths:
        path.read_bytes()  # the file system is warm for all of them
    seconds = {}
    for threads in (1, 2):
        start = time.perf_counter()
        pack(paths, size, cache=folder / f"{threads}", threads=threads)
        seconds[threads] = time.perf_counter() - start
    start = time.perf_counter()
    pixels = pack(paths, size, cache=folder / "2", threads=2)
    again = time.perf_counter() - start
    print("| packing | seconds | against 1 thread |\n|---|---:|---:|")
    for threads, took in seconds.items():
        print(f"| {threads} thread(s) | {took:.3f} | {seconds[1] / took:.2f} × |")
    print(f"| second start, from the cache | {again:.3f} | {seconds[1] / again:.1f} × |")
    return pixels


def report_epochs(root: Path, pixels: NDArray[np.uint8], settings: DataSpeedSettings) -> None:
    """Both sides at each number of workers, in turns, so that a busy machine slows both."""
    print("| workers | ImageFolder, s | packed, s | ratio |\n|---:|---:|---:|---:|")
    for workers in settings.workers:
        folder = DataLoader(
            ImageFolder(str(root), v2.Compose(_resizing(settings.image_size))),
            batch_size=settings.batch,
            shuffle=True,
            num_workers=workers,
            persistent_workers=True,
            multiprocessing_context="spawn",
            collate_fn=augmented,
        )
        torch.set_num_threads(workers)
        sides: dict[str, Callable[[], Iterable[Tensor]]] = {
            "folder": lambda loader=folder: (images for images, _ in loader),  # type: ignore[misc]
            "packed": lambda: packed_batches(pixels, settings.batch),
        }
        times: dict[str, list[float]] = {name: [] for name in sides}
        for epoch in range(settings.epochs + 1):
            for name, batches in sides.items():
                start = time.perf_counter()
                seen = sum(len(images) for images in batches())
                assert seen == len(pixels), (name, seen)
                if epoch:  # the first starts the workers
                    times[name].append(time.perf_counter() - start)
        slow, fast = (statistics.median(times[name]) for name in sides)
        print(f"| {workers} | {slow:.3f} | {fast:.4f} | {slow / fast:.0f} × (bar: {BAR} ×) |")


def _resizing(size: int) -> list[Callable[..., object]]:
    return [v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size), v2.PILToTensor()]


def augmented(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """A batch of ImageFolder, augmented in the worker: float32 (b, 3, h, w), (b,)."""
    images, labels = default_collate(samples)
    return mild_augmentation(images, int(torch.randint(2**31, ()))), labels


def packed_batches(pixels: NDArray[np.uint8], batch: int) -> Iterable[Tensor]:
    """The same from the packed array: float32 (b, 3, h, w)."""
    order = np.random.default_rng().permutation(len(pixels))
    for step, start in enumerate(range(0, len(order), batch)):
        yield mild_augmentation(to_bytes(pixels[order[start : start + batch]]), step)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "root=DIR, image_size=64, batch=64, epochs=5, workers=[1,2]")


if __name__ == "__main__":
    run_command(main, parser())
