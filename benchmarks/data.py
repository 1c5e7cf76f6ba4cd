"""An epoch over packed cells against torchvision's ImageFolder, side by side in one run.

    python benchmarks/data.py [root=DIR] [image_size=64] [batch=64] [epochs=5] [workers=[1,2]]

Both give float batches with the same augmentation (`cells.images.mild_augmentation`, on whole batches).
ImageFolder decodes and resizes the originals each epoch. At equal workers: n processes of a DataLoader,
started and warm before the clock, against n threads, each making whole batches. A third column gives the
packed array as training uses it, one batch after the other with n threads inside each operation of torch;
where other programs keep the cores busy, those threads wait for each other. Also: packing with 1 and 2
threads, and a second start from the cache. `root` holds a folder a class; without it 320 images of
360×363 px are made.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

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
Batches: TypeAlias = Callable[[], Iterator[Tensor]]


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
    print("| workers | ImageFolder, s | packed, s | ratio | threads inside torch, s | ratio |")
    print("|---:|---:|---:|---:|---:|---:|")
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
        with ThreadPoolExecutor(workers) as pool:
            sides: tuple[tuple[int, Batches], ...] = (
                (1, partial(folder_batches, folder)),
                (1, partial(packed_batches, pixels, settings.batch, pool.map)),
                (workers, partial(packed_batches, pixels, settings.batch, map)),
            )
            slow, fast, inside = epoch_seconds(sides, len(pixels), settings.epochs)
        ratios = [f"{slow / took:.0f} × (bar: {BAR} ×)" for took in (fast, inside)]
        print(f"| {workers} | {slow:.3f} | {fast:.4f} | {ratios[0]} | {inside:.4f} | {ratios[1]} |")


def epoch_seconds(sides: tuple[tuple[int, Batches], ...], count: int, epochs: int) -> list[float]:
    """Median seconds of an epoch of each side (torch's threads, batches)."""
    times: list[list[float]] = [[] for _ in sides]
    for epoch in range(epochs + 1):
        for (threads, batches), taken in zip(sides, times, strict=True):
            torch.set_num_threads(threads)
            start = time.perf_counter()
            seen = sum(len(images) for images in batches())
            assert seen == count, seen
            if epoch:  # the first starts the workers
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def _resizing(size: int) -> list[Callable[..., object]]:
    return [v2.Resize(size, v2.InterpolationMode.BICUBIC), v2.CenterCrop(size), v2.PILToTensor()]


def augmented(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """A batch of ImageFolder, augmented in the worker: float32 (b, 3, h, w), (b,)."""
    images, labels = default_collate(samples)
    return mild_augmentation(images, int(torch.randint(2**31, ()))), labels


def folder_batches(loader: "DataLoader[Any]") -> Iterator[Tensor]:
    """An epoch of ImageFolder: float32 (b, 3, h, w)."""
    return (images for images, _ in loader)


def packed_batches(pixels: NDArray[np.uint8], batch: int, each: Callable[..., Any]) -> Iterator[Tensor]:
    """The same from the packed array; `each` maps over the batches."""
    order = np.random.default_rng().permutation(len(pixels))

    def one(start: int) -> Tensor:
        return mild_augmentation(to_bytes(pixels[order[start : start + batch]]), start)

    found: Iterator[Tensor] = each(one, range(0, len(order), batch))
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "root=DIR, image_size=64, batch=64, epochs=5, workers=[1,2]")


if __name__ == "__main__":
    run_command(main, parser())
