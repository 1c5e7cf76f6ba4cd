"""Gray files of 16 bits that hold fewer: read by the range of their type, they come out dark."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from cells.cellset import Loaded
from cells.decoding import Decoding, largest_of_16_bits
from cells.mapped import CHUNK
from cells.sources import CrossSiteData, DataSettings, OneSource
from runtime.progress import progress

BITS = (8, 10, 12, 14)  # that cameras give


def shallow(loaded: Loaded, data: DataSettings) -> list[dict[str, Any]]:
    """What must be said of 16-bit gray files that use only a low part of their range.

    Args:
        loaded: What was read.
        data: From where, and how.

    Returns:
        One entry for the source, or for each of two sites, where ``decoding.depth`` is ``full`` and no
        16-bit gray file has a value of 2^14 or more: how many such files there are, their largest value,
        the bits that it takes, the key to set, and all of it as a sentence. Else nothing.

    Raises:
        InputError: If a file of the source cannot be read any more.
    """
    if not isinstance(data, CrossSiteData):
        return _of_source(loaded.files, data, "data")
    found = []
    for site, settings in (("train", data.train), ("test", data.test)):
        rows = np.flatnonzero(loaded.cells.splits == site)
        files = [loaded.files[row] for row in rows] if loaded.files else []
        found += _of_source(files, settings, f"data.{site}")
    return found


def _of_source(files: Sequence[Path], data: OneSource, place: str) -> list[dict[str, Any]]:
    decoding = getattr(data, "decoding", None)
    if not isinstance(decoding, Decoding) or decoding.depth != "full":
        return []
    count, largest = _largest(files, decoding)
    bits = next((bits for bits in BITS if largest < 2**bits), None)
    if not count or not largest or bits is None:
        return []
    key = f"{place}.decoding.depth=[0,{2**bits - 1}]"
    says = (
        f"{count} gray files of 16 bits have no value of 2^{bits} = {2**bits} or more (the largest is "
        f"{largest}), so they hold {bits} bits at most. {place}.decoding.depth=full takes the whole range of "
        f"16 bits, which makes them dark; set {key} and another out=."
    )
    return [{"files": count, "largest": largest, "bits": bits, "key": key, "says": says}]


def _largest(files: Sequence[Path], decoding: Decoding) -> tuple[int, int]:
    """How many files are 16-bit gray, and their largest value; ends at the first that needs its type."""
    count = largest = 0
    with ThreadPoolExecutor() as pool, progress(len(files), "reading depths") as bar:
        for start in range(0, len(files), CHUNK):
            some = files[start : start + CHUNK]
            values = _known(pool.map(largest_of_16_bits, some, [decoding] * len(some)))
            count, largest = count + len(values), max([largest, *values])
            if largest >= 2 ** BITS[-1]:
                break
            bar.update(len(some))
    return count, largest


def _known(values: Iterable[int | None]) -> list[int]:
    return [value for value in values if value is not None]
