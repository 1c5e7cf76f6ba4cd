"""A split as a small file: enough to make the very same split of the same cells again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.leaks import SIDES
from cells.split_types import Split, SplitSettings
from runtime.config import Settings, to_dict, validate
from runtime.errors import InputError
from runtime.rundir import read_json, write_json

FORMAT: Final = "rarecell split 1"
DIGITS = 16  # of each cell's pixel digest; the digest of the split covers all 64
SEPARATOR = "  "  # between digest and name, as sha256sum writes it

ByClass = dict[str, list[str]]


class SplitFile(Settings):
    """What a split file holds.

    Attributes:
        format: Of the file.
        digest: Of the split.
        image_size: Edge of the cells in pixels: pixel digests are of prepared cells.
        counts: Cells of each side and class.
        settings: With which the split was first made.
        versions: Of what made it.
        cells: For each side and class, the first digits of the pixel digest and the name of each cell.
        dropped: The same for cells on no side, by the reason: leaking, long_tail.
    """

    format: Literal["rarecell split 1"] = FORMAT
    digest: str
    image_size: int
    counts: dict[str, dict[str, int]]
    settings: dict[str, Any]
    versions: dict[str, str]
    cells: dict[Literal["train", "val", "test"], ByClass]
    dropped: dict[Literal["leaking", "long_tail"], ByClass]


def write_split(path: Path, split: Split, settings: SplitSettings) -> None:
    """Write a split as a small file.

    Args:
        path: The file.
        split: The split; of a preprocessed one, what is written is the split of the cells as they came.
        settings: With which it was made. Where that was by a file, what that one says is kept.
    """
    parts = dict(zip(SIDES, (split.train, split.val, split.test), strict=True))
    first = to_dict(settings) if settings.file is None else read_split(settings.file).settings
    dropped: dict[str, ByClass] = defaultdict(lambda: defaultdict(list))
    for cell in split.dropped:
        dropped[cell.reason][cell.label].append(_line(cell.digest, cell.name))
    record = SplitFile(
        digest=split.source_digest,
        image_size=split.train.image_size,
        counts={side: part.counts for side, part in parts.items()},
        settings={key: value for key, value in first.items() if key != "file"},
        versions={name: version(name) for name in ("rarecell", "numpy")},
        cells={side: _by_class(part) for side, part in parts.items()},
        dropped={reason: _sorted(found) for reason, found in dropped.items()},
    )
    write_json(path, to_dict(record))


def read_split(path: Path) -> SplitFile:
    """Read what `write_split` wrote.

    Raises:
        InputError: If there is no such file, or it is something else.
    """
    if not path.is_file():
        raise InputError(f"split.file={path}: no such file; name a split.json that prepare wrote.")
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise InputError(
            f"{path}: is not a split file ('format' is not '{FORMAT}'); make one with scripts/prepare.py."
        )
    return validate(SplitFile, record, str(path))


def sides_of(record: SplitFile, cells: CellSet, path: Path) -> NDArray[np.object_]:
    """Where a split file puts each cell of a source.

    Args:
        record: The file's content.
        cells: The source. Cells that the split dropped may be absent from it.
        path: The file, for messages.

    Returns:
        A side, or the reason for being on none, shape (n,).

    Raises:
        InputError: If a cell is missing, changed, of another class, or not in the file; the first
            one is named.
    """
    if cells.image_size != record.image_size:
        raise InputError(
            f"{path}: is a split of cells of {record.image_size} px, and these have {cells.image_size}; "
            f"set image_size={record.image_size}."
        )
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for side, label, line in _lines(record):
        places[label, line].append(side)
    sides = np.empty(len(cells), dtype=object)
    for row, (name, label, digest) in enumerate(zip(cells.names, cells.labels, cells.digests, strict=True)):
        open_places = places[cells.classes[label], _line(digest, name)]
        if not open_places:
            raise InputError(_misfit(record, path, str(name), cells.classes[label], str(digest)))
        sides[row] = open_places.pop(0)
    for (_, line), left in places.items():
        if any(side in SIDES for side in left):
            raise InputError(
                f"{path}: puts {_name(line)} in {left[0]}, and the data has no such cell; "
                "use all of the cells that were split."
            )
    return sides


def check_digest(record: SplitFile, digest: str, path: Path) -> None:
    """Refuse a file whose lines do not make the split that it says it is.

    Raises:
        InputError: If the digests differ.
    """
    if digest != record.digest:
        raise InputError(
            f"{path}: says that it is split {record.digest}, and its lines make {digest}: it was edited; "
            "use the file as prepare wrote it."
        )


def _line(digest: str, name: str) -> str:
    return f"{digest[:DIGITS]}{SEPARATOR}{name}"


def _name(line: str) -> str:
    return line[DIGITS + len(SEPARATOR) :]


def _by_class(cells: CellSet) -> ByClass:
    lines: ByClass = {name: [] for name in cells.classes}
    for name, label, digest in zip(cells.names, cells.labels, cells.original_digests, strict=True):
        lines[cells.classes[label]].append(_line(digest, name))
    return _sorted(lines)


def _sorted(lines: Mapping[str, Iterable[str]]) -> ByClass:
    """By name, so that the file does not hang on the order of the source."""
    return {name: sorted(found, key=_name) for name, found in lines.items()}


def _lines(record: SplitFile) -> Iterator[tuple[str, str, str]]:
    for side, by_class in (*record.cells.items(), *record.dropped.items()):
        for label, lines in by_class.items():
            yield from ((side, label, line) for line in lines)


def _misfit(record: SplitFile, path: Path, name: str, label: str, digest: str) -> str:
    """Why a cell has no place in the file, in a sentence."""
    for _, other, line in _lines(record):
        if line == _line(digest, name) and other != label:
            return f"{name}: is of class '{label}', and in {path} of class '{other}'; give it that class."
        if _name(line) == name and line != _line(digest, name):
            return (
                f"{name}: its pixels are not those that {path} split; use the same images, "
                "crop and decoding, or split anew."
            )
    return f"{name}: is not in {path}; use only the cells that were split, or split anew."
