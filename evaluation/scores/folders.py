"""Any folder of images as cells: class folders, splits of them, flat, or a saved set."""

from pathlib import Path

import numpy as np

from cells.cellset import CellSet
from cells.images import SUFFIXES, decode, pack
from cells.reading import read_set
from cells.writing import refuse_unfinished
from runtime.errors import InputError

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
FLAT = "cells"  # the one class of a folder without classes


def image_size(root: Path) -> int:
    """Shorter edge of the first image in a folder, in pixels.

    Raises:
        InputError: If there is no image, or it cannot be read.
    """
    return min(decode(_images(root)[0]).shape[:2])


def read_folder(root: Path, size: int, cache: Path | None = None) -> CellSet:
    """Read images that anyone made.

    The class is the first folder below `root` that is not the name of a split; without such a
    folder all images are of the one class ``cells``. A set that rarecell saved keeps its table.

    Args:
        root: Folder.
        size: Edge in pixels that every image is cut to a square and resized to.
        cache: Where the packed images are kept; see `cells.images.pack`.

    Raises:
        InputError: If the folder is missing, empty or half written, mixes images with and without class
            folder, or an image cannot be read.
    """
    refuse_unfinished(root)
    if (root / "metadata.jsonl").is_file() and (root / "classes.json").is_file():
        return read_set(root).resized(size)
    paths = _images(root)
    placed = [_place(path.relative_to(root)) for path in paths]
    found = sorted({name for _, name in placed})
    if len(found) > 1 and FLAT in found and not (root / FLAT).is_dir():
        loose = next(path for path, (_, name) in zip(paths, placed, strict=True) if name == FLAT)
        raise InputError(f"{loose}: lies beside class folders; move it into one, or give a flat folder.")
    return CellSet.from_arrays(
        pack(paths, size, cache=cache),
        np.array([found.index(name) for _, name in placed], dtype=np.int64),
        found,
        names=[path.relative_to(root).as_posix() for path in paths],
        splits=[split for split, _ in placed],
    )


def aligned(cells: CellSet, classes: tuple[str, ...]) -> CellSet:
    """The cells of the given classes, labelled in their order; the others are left out."""
    keep = np.array([cells.classes[label] in classes for label in cells.labels], dtype=bool)
    kept = cells.subset(keep)
    order = {name: i for i, name in enumerate(classes)}
    labels = [order[kept.classes[label]] for label in kept.labels]
    return _relabelled(kept, classes, labels)


def flattened(cells: CellSet) -> CellSet:
    """The same cells as one class."""
    return _relabelled(cells, (FLAT,), [0] * len(cells))


def _relabelled(cells: CellSet, classes: tuple[str, ...], labels: list[int]) -> CellSet:
    return CellSet(
        classes,
        cells.pixels,
        np.array(labels, dtype=np.int64),
        cells.names,
        cells.groups,
        cells.splits,
        cells.origins,
        cells.provenance,
    )


def _images(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder of images.")
    paths = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    if not paths:
        raise InputError(f"{root}: holds no images ({', '.join(sorted(SUFFIXES))}).")
    return paths


def _place(path: Path) -> tuple[str, str]:
    """Split and class by the folders above an image."""
    split = ""
    for part in path.parts[:-1]:
        if part.lower() not in SPLITS:
            return split, part
        split = SPLITS[part.lower()]
    return split, FLAT
