"""Many image files decoded once into one array, on all cores, and kept in a cache."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cells.decoding import DEFAULT, Decoding, Misfit, Unreadable, decode, out_of_reach
from cells.mapped import CHUNK, LARGE, cache_folder, unwritable
from runtime.errors import InputError
from runtime.parallel import cores
from runtime.progress import progress
from runtime.rundir import read_json, write_json, writing

PACK_FORMAT = 2  # raise it when decoding or fitting changes: cached packs of another number are not read
ABANDONED = 3600  # seconds after which a half-written pack that does not grow is taken for dead


@dataclass(frozen=True)
class Packed:
    """Decoded images, and what could not be decoded.

    Attributes:
        pixels: The readable images in the order of their files, uint8, shape (m, size, size, 3);
            read-only.
        kept: Index of each into the paths that were given, int64, shape (m,).
        unreadable: Index of each other file, with the error that says why.
    """

    pixels: NDArray[np.uint8]
    kept: NDArray[np.int64]
    unreadable: dict[int, Unreadable] = field(default_factory=dict)


def fit_square(image: NDArray[np.uint8], size: int, crop: int | None = None) -> NDArray[np.uint8]:
    """Cut the center square and resize it with antialiasing (bicubic over the true footprint).

    Args:
        image: uint8, shape (h, w, 3).
        size: Edge of the result in pixels.
        crop: Edge of the center square to keep, in pixels; None keeps the largest one.

    Returns:
        uint8, shape (size, size, 3).

    Raises:
        InputError: If the image is smaller than `crop`.
    """
    height, width = image.shape[:2]
    edge = crop if crop is not None else min(height, width)
    if edge > min(height, width):
        raise InputError(f"crop = {edge} is larger than an image of {width}×{height} px; lower crop.")
    top, left = (height - edge) // 2, (width - edge) // 2
    square = np.ascontiguousarray(image[top : top + edge, left : left + edge])
    if edge == size:
        return square
    return np.array(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))


def pack(
    paths: Sequence[Path],
    size: int,
    crop: int | None = None,
    cache: Path | None = None,
    decoding: Decoding = DEFAULT,
    threads: int | None = None,
) -> NDArray[np.uint8]:
    """Decode many images once into one array; later calls read it from the cache.

    The cache is keyed by the bytes of the files in their order and by the settings, so a changed,
    renamed or moved file is never mistaken.

    Args:
        paths: Image files.
        size: Edge of the result in pixels.
        crop: See `fit_square`.
        cache: Cache folder; None for `cache_folder()`.
        decoding: See `decode`.
        threads: How many decode at a time; None for one a core.

    Returns:
        uint8, shape (n, size, size, 3), read-only.

    Raises:
        InputError: See `decode` and `fit_square`; the file is named, and how many more there are.
    """
    packed = pack_readable(paths, size, crop, cache, decoding, threads)
    if packed.unreadable:
        first, count = next(iter(packed.unreadable.values())), len(packed.unreadable)
        raise InputError(f"{str(first).rstrip('.')} ({count} of {len(paths)} images cannot be read).")
    return packed.pixels


def pack_readable(
    paths: Sequence[Path],
    size: int,
    crop: int | None = None,
    cache: Path | None = None,
    decoding: Decoding = DEFAULT,
    threads: int | None = None,
) -> Packed:
    """Like `pack`, but what cannot be got from the disk or decoded is set aside with its reason.

    Raises:
        InputError: If a file is smaller than `crop`, or has values that `decoding.depth` does not
            allow: the settings do not fit the images. Also if one vanishes while it is read.
    """
    folder = cache if cache is not None else cache_folder()
    threads = threads or cores()
    key, missing = _pack_key(paths, size, crop, decoding, threads)
    stored = folder / f"pack-{key}.npy"
    shape = (len(paths), size, size, 3)
    packed = _read_pack(stored, shape, paths)
    if packed is None:
        try:
            _remove_abandoned(folder)
            _write_pack(stored, shape, _decoded(paths, size, crop, decoding, threads, missing))
        except OSError as error:
            raise unwritable(folder, error) from None
        packed = _read_pack(stored, shape, paths)
        assert packed is not None, f"{stored} does not read back"
    return packed


def _pack_key(
    paths: Sequence[Path], size: int, crop: int | None, decoding: Decoding, threads: int
) -> tuple[str, dict[int, Unreadable]]:
    """The key, and the files that the system does not give; the key says which these are."""

    def digest(path: Path) -> bytes | Unreadable:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            return out_of_reach(path, error)

    missing: dict[int, Unreadable] = {}
    total = hashlib.sha256(f"pack {PACK_FORMAT} {size} {crop} {decoding.model_dump_json()}".encode())
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(paths), CHUNK):
            for i, found in enumerate(pool.map(digest, paths[start : start + CHUNK]), start):
                if isinstance(found, Unreadable):
                    missing[i] = found
                    found = hashlib.sha256(f"missing {found.reason}".encode()).digest()
                total.update(found)
    return total.hexdigest()[:32], missing


def _decoded(
    paths: Sequence[Path],
    size: int,
    crop: int | None,
    decoding: Decoding,
    threads: int,
    missing: Mapping[int, Unreadable],
) -> Iterator[NDArray[np.uint8] | Unreadable]:
    """The fitted images in order, decoded on threads: Pillow releases the interpreter meanwhile.

    A chunk at a time, so that neither memory nor the wait after an error grows with the set. Only
    after a misfit the others are looked at as well: how many there are says which setting to change.
    """

    def one(i: int) -> NDArray[np.uint8] | Unreadable | Misfit:
        path = paths[i]
        if i in missing:  # not tried again: the key says that it is not there
            return missing[i]
        try:
            image = decode(path, decoding)
        except (Unreadable, Misfit) as error:
            return error
        try:
            return fit_square(image, size, crop)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    misfits: list[Misfit] = []
    with ThreadPoolExecutor(threads) as pool, progress(len(paths), "reading images") as bar:
        for start in range(0, len(paths), CHUNK):
            for image in pool.map(one, range(start, min(start + CHUNK, len(paths)))):
                if isinstance(image, Misfit):
                    misfits.append(image)
                elif not misfits:
                    yield image
                bar.update()
    if misfits:
        raise InputError(f"{str(misfits[0])[:-1]} ({len(misfits)} of {len(paths)} images are such).")


def _write_pack(
    stored: Path, shape: tuple[int, ...], images: Iterator[NDArray[np.uint8] | Unreadable]
) -> None:
    """Image by image, so that no more than a chunk is in memory; without the unreadable."""
    faults: dict[int, tuple[str, str]] = {}
    with writing(stored) as aside:
        with aside.open("wb") as file:
            start = _write_header(file, shape)
            for i, image in enumerate(images):
                if isinstance(image, Unreadable):
                    faults[i] = (image.reason, image.fix)
                else:
                    file.write(image.tobytes())
            file.seek(0)  # NumPy leaves room for a longer first number, so that the header keeps its length
            assert _write_header(file, (shape[0] - len(faults), *shape[1:])) == start
        write_json(_faults_file(stored), faults)  # before the pack, whose presence says that all is there


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """The header of an .npy file, and where the images begin."""
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.tell()


def _faults_file(stored: Path) -> Path:
    return stored.with_suffix(".json")


def _read_pack(stored: Path, shape: tuple[int, ...], paths: Sequence[Path]) -> Packed | None:
    """None where there is no pack, or a damaged one."""
    try:
        # A large one is mapped: its pages are dropped where memory is short.
        mapped = stored.stat().st_size >= LARGE
        pixels = np.asarray(np.load(stored, mmap_mode="r" if mapped else None, allow_pickle=False))
        faults = {
            int(i): Unreadable(paths[int(i)], *why) for i, why in read_json(_faults_file(stored)).items()
        }
    except (OSError, ValueError, EOFError, TypeError, IndexError, AttributeError):
        return None
    kept = np.array([i for i in range(len(paths)) if i not in faults], dtype=np.int64)
    if pixels.shape != (len(kept), *shape[1:]) or pixels.dtype != np.uint8:
        return None
    pixels.setflags(write=False)
    return Packed(pixels, kept, faults)


def _remove_abandoned(folder: Path) -> None:
    """What a killed process left half-written; another that is packing just now keeps its own."""
    for left in folder.glob(".pack-*.tmp.*"):
        with suppress(FileNotFoundError):
            if time.time() - left.stat().st_mtime > ABANDONED:
                left.unlink()
