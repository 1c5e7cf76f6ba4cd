"""Written sets of cells, read back as they were."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cells.cellset import CellSet
from cells.records import provenance_of
from cells.writing import CLASSES, FACTS, TABLE, refuse_unfinished
from runtime.errors import InputError
from runtime.rundir import read_json


def read_set(root: Path) -> CellSet:
    """Read what `cells.writing.write_set` wrote.

    Args:
        root: The folder.

    Raises:
        InputError: If a file is missing, or an image's pixels are not those recorded.
    """
    refuse_unfinished(root)
    if not (root / TABLE).is_file():
        raise InputError(f"{root / TABLE}: no such file; {root} is not a saved set of cells.")
    try:
        records = [json.loads(line) for line in (root / TABLE).read_text(encoding="utf-8").splitlines()]
        classes = json.loads((root / CLASSES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{root}: {TABLE} or {CLASSES} is unreadable; make it again.") from None
    images = [_load_png(root / record["file_name"]) for record in records]
    cells = CellSet.from_arrays(
        np.stack(images) if images else _no_pixels(root),
        [classes.index(record["label"]) for record in records],
        classes,
        names=[record["name"] for record in records],
        groups=[record["group"] for record in records],
        splits=[record["split"] for record in records],
        provenance=[provenance_of(record) for record in records],
    )
    cells = replace(cells, origins=np.array([record["origin"] for record in records], dtype=object))
    for record, digest in zip(records, cells.digests, strict=True):
        if record["sha256"] != digest:
            raise InputError(
                f"{root / record['file_name']}: differs from metadata.jsonl; make the set again."
            )
    return cells


def _no_pixels(root: Path) -> NDArray[np.uint8]:
    """The images of a set without cells, which still has a size."""
    size = int(read_json(root / FACTS)["image_size"]) if (root / FACTS).is_file() else 1
    return np.zeros((0, size, size, 3), np.uint8)


def _load_png(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError:
        raise InputError(f"{path}: missing or unreadable; make the set again.") from None
