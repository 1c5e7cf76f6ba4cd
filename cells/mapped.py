"""Large arrays of images kept on disk and mapped: their pages are dropped where memory is short."""

import math
import mmap
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

Pixels = NDArray[np.uint8]

LARGE = 2**28  # bytes of an array that is not held in memory
CHUNK = 64  # images that are copied at a time: what memory holds of a large array


def cache_folder() -> Path:
    """Where decoded images and features are kept: ``RARECELL_CACHE``, or ``.rarecell-cache``."""
    return Path(os.environ.get("RARECELL_CACHE") or ".rarecell-cache")


def unwritable(folder: Path, error: OSError) -> InputError:
    """The error for a cache folder that takes no files."""
    return InputError(
        f"{folder}: the cache cannot be written ({error.strerror}); "
        "set RARECELL_CACHE to a folder with space that you may write to."
    )


def chunks(pixels: Pixels) -> Iterator[Pixels]:
    """Views of `CHUNK` images each, the last of what is left; of a mapped array one after the other."""
    for start in range(0, len(pixels), CHUNK):
        yield pixels[start : start + CHUNK]
        release(pixels)


def release(pixels: Pixels) -> None:
    """Let go of what was read of a mapped array: it stays readable, from the file or the system's cache.

    The system would do so itself where memory is short, but until then the pages count as the process's.
    """
    base: object = pixels
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and base.mode != "r":
            return  # one that can be written to may hold what no file has
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def gathered(pixels: Pixels, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Pixels:
    """The images at an integer or boolean index, in its order.

    A large result is not a copy in memory: neighboring rows are a view, others a mapped file.

    Args:
        pixels: uint8, shape (n, h, w, 3).
        rows: The index.

    Raises:
        InputError: If the cache folder does not take a large result.
    """
    count = int(np.count_nonzero(rows)) if rows.dtype == bool else len(rows)
    if count * math.prod(pixels.shape[1:]) < LARGE:
        return pixels[rows]
    rows = np.arange(len(pixels))[rows]
    first = int(rows[0])
    if np.array_equal(rows, np.arange(first, first + count)):
        return pixels[first : first + count]
    return collected(_picked(pixels, rows), (count, *pixels.shape[1:]))


def _picked(pixels: Pixels, rows: NDArray[np.int64]) -> Iterator[Pixels]:
    for start in range(0, len(rows), CHUNK):
        yield pixels[rows[start : start + CHUNK]]
        release(pixels)


def joined(parts: Sequence[Pixels]) -> Pixels:
    """Arrays of images one after the other; a large result is mapped."""
    count = sum(map(len, parts))
    return collected((some for part in parts for some in chunks(part)), (count, *parts[0].shape[1:]))


def collected(parts: Iterable[Pixels], shape: tuple[int, ...]) -> Pixels:
    """Chunks of images as one array; a large one is mapped.

    Its file has no name: it takes disk space for as long as the array lives, and none after a kill.

    Args:
        parts: uint8, each of shape (k, h, w, 3).
        shape: Of the whole, (n, h, w, 3).

    Raises:
        InputError: If the cache folder does not take a large array.
    """
    if math.prod(shape) >= LARGE:
        return _mapped(parts, shape)
    made = np.empty(shape, np.uint8)
    start = 0
    for part in parts:
        made[start : start + len(part)] = part
        start += len(part)
    assert start == len(made), (start, shape)
    return made


def _mapped(parts: Iterable[Pixels], shape: tuple[int, ...]) -> Pixels:
    """Written, not filled through the map: there a full disk would kill the process."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            for part in parts:
                file.write(np.ascontiguousarray(part).data)
            file.flush()
            assert file.tell() == math.prod(shape), (file.tell(), shape)
            return np.asarray(np.memmap(file, np.uint8, "r", shape=shape))
    except OSError as error:
        raise unwritable(folder, error) from None
