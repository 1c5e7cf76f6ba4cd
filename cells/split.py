"""Splits that do not leak, by shares or as folds, tailed at will; a split has a digest."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.duplicates import NearDuplicate, near_duplicates
from cells.folds import fold_of_cells
from cells.leaks import SIDES, count_leaking, without_leaks
from cells.leaks import LeakError as LeakError
from cells.long_tail import long_tailed
from cells.partition import clusters, divided, image_clusters
from cells.split_file import check_digest, read_split, sides_of
from cells.split_types import Dropped, Split, SplitSettings
from cells.stacks import by_stack, refuse_stacks
from runtime.errors import InputError

Sides = NDArray[np.object_]


def divide(cells: CellSet, settings: SplitSettings, near: Sequence[NearDuplicate] | None = None) -> Split:
    """Divide cells into train, val and test.

    A pre-made split is kept; where it has no val, val is carved from train. Otherwise each class
    is divided by `fractions` or into folds, and cells of one group, or of one image, stay together.
    The long tail comes last and takes cells from train only.

    Args:
        cells: What a source returned.
        settings: See `SplitSettings`.
        near: Near duplicates among the cells where they are known; None looks for them if
            `settings` say so.

    Raises:
        LeakError: If sides of a pre-made split share a group or an image.
        InputError: If a class is missing on a side or has too few groups to be on all of them,
            if val or test would contain synthetic cells, if a split file does not fit the cells, or
            if there are too few cells for the long tail.
    """
    if near is None:
        near = near_duplicates(cells) if settings.near_duplicates else ()
    images = by_stack(cells, image_clusters(cells, near))
    if settings.file is not None:
        return _as_in_file(cells, images, settings.file, settings.leaks)
    if any(cells.splits) and settings.premade == "keep":
        sides = _premade(cells, images, settings)
    else:
        sides = _divided_anew(cells, images, settings)
    if settings.long_tail is not None:
        refuse_stacks(cells, "split.long_tail: trimming")
        _check_classes(cells, images, sides)
        sides = long_tailed(cells, sides, settings.long_tail)
    return _split(cells, images, sides)


def folds(
    cells: CellSet, settings: SplitSettings, near: Sequence[NearDuplicate] | None = None
) -> Iterator[Split]:
    """All splits of a cross-validation, fold by fold and repeat by repeat.

    Each cell is in test once per repeat. Near duplicates are looked for only once.

    Args:
        cells: What a source returned.
        settings: With `folds`; whatever `fold` is.
        near: See `divide`.

    Raises:
        InputError: If `settings` have no folds; else see `divide`.
    """
    if settings.folds is None:
        raise InputError("split.folds is not set: say how many folds, e.g. split.folds=5.")
    if near is None:
        near = near_duplicates(cells) if settings.near_duplicates else ()
    for fold in range(settings.folds * settings.repeats):
        yield divide(cells, settings.model_copy(update={"fold": fold}), near)


def require_real(cells: CellSet, role: str) -> None:
    """Refuse synthetic cells where only real ones count.

    Args:
        cells: The set.
        role: What it is to be used as, for the message.

    Raises:
        InputError: If any cell is synthetic; the first is named. Phantoms are allowed: they stand
            in for real cells.
    """
    found = np.flatnonzero(cells.is_synthetic)
    if len(found):
        raise InputError(
            f"{cells.names[found[0]]}: is synthetic ({len(found)} of {len(cells)} cells are), and "
            f"{role} must hold real cells only; move synthetic cells to train or leave them out."
        )


def _as_in_file(cells: CellSet, images: NDArray[np.int64], path: Path, leaks: str) -> Split:
    """The split of a file, which may leak only if that is allowed here as well."""
    record = read_split(path)
    sides = sides_of(record, cells, path)
    remedy = f"{path} was made with leaks, which split.leaks=allow accepts, or with another search for them"
    without_leaks(cells, images, sides, "allow" if leaks == "allow" else "refuse", remedy)
    split = _split(cells, images, sides)
    check_digest(record, split.digest, path)
    return split


def _premade(cells: CellSet, images: NDArray[np.int64], settings: SplitSettings) -> Sides:
    """The split that the cells come with, without leaks and with a val side."""
    _check_premade(cells)
    if settings.folds is not None:
        raise InputError(
            f"split.folds={settings.folds}: the data comes split; set split.premade=ignore to divide all "
            "of its cells into folds, or leave out split.folds to keep its split."
        )
    sides = without_leaks(cells, images, cells.splits, settings.leaks)
    real = (sides == "train") & ~cells.is_synthetic
    return sides if "val" in sides else _with_val(cells, images, sides, real, settings)


def _divided_anew(cells: CellSet, images: NDArray[np.int64], settings: SplitSettings) -> Sides:
    """All cells divided by shares, or with one fold as test."""
    require_real(cells, "a set that is still to be split")
    every = np.arange(len(cells))
    if settings.folds is None:
        parts = divided(cells, images, settings.fractions, settings.seed, every)
        return np.array(SIDES, dtype=object)[parts]
    repeat, fold = divmod(settings.fold, settings.folds)
    tested = fold_of_cells(cells, images, settings.folds, repeat, settings.seed) == fold
    return _with_val(cells, images, np.where(tested, "test", "train").astype(object), ~tested, settings)


def _with_val(
    cells: CellSet, images: NDArray[np.int64], sides: Sides, carve: NDArray[np.bool_], settings: SplitSettings
) -> Sides:
    """Take val out of some cells of train, as a share of train and val."""
    train, val, _ = settings.fractions
    shares = (train / (train + val), val / (train + val))
    return np.where(
        divided(cells, images, shares, settings.seed, np.flatnonzero(carve)) == 1, "val", sides
    ).astype(object)


def _check_premade(cells: CellSet) -> None:
    for name, side in zip(cells.names, cells.splits, strict=True):
        if side not in SIDES:
            raise InputError(
                f"{name}: split '{side}' is not one of train, val, test; say it for every cell or for none."
            )
    for side in ("train", "test"):
        if side not in cells.splits:
            raise InputError(
                f"the data comes split but has no {side} cells; add them, "
                "or give it unsplit (data.kind=folder)."
            )


def _split(cells: CellSet, images: NDArray[np.int64], sides: Sides) -> Split:
    """The cells on their sides, if every class is on each and only real ones are in val and test."""
    _check_classes(cells, images, sides)
    train, val, test = (_side(cells, sides, side) for side in SIDES)
    require_real(val, "val")
    require_real(test, "test")
    dropped = tuple(
        Dropped(
            str(cells.names[row]),
            cells.classes[cells.labels[row]],
            cells.digests[row],
            sides[row],
            str(cells.splits[row]),
        )
        for row in np.flatnonzero(~np.isin(sides.astype(str), SIDES))
    )
    leaking = count_leaking(cells, images, sides)
    return Split(train, val, test, _digest([train, val, test]), dropped, leaking)


def _check_classes(cells: CellSet, images: NDArray[np.int64], sides: Sides) -> None:
    for side in SIDES:
        counts = np.bincount(cells.labels[sides == side], minlength=len(cells.classes))
        if counts.min() == 0:
            label = int(counts.argmin())
            raise InputError(
                f"class '{cells.classes[label]}' has no cells in {side}; {_remedy(cells, images, label)}"
            )


def _remedy(cells: CellSet, images: NDArray[np.int64], label: int) -> str:
    """What to do about a side without a class."""
    together = clusters(cells, images, np.arange(len(cells)))
    count = sum(bool((cells.labels[rows] == label).any()) for rows in together)
    has = f"it is in {count} of {len(together)} groups or different images"
    if count < len(SIDES):
        return f"{has}, and needs {len(SIDES)}, one a side: add some, or leave the class out."
    again = "split.premade=ignore to divide anew, " if any(cells.splits) else ""
    return (
        f"{has}, enough for all sides: try {again}other split.fractions, another split.seed or "
        "split.folds, or add some there, before you leave the class out."
    )


def _side(cells: CellSet, sides: Sides, side: str) -> CellSet:
    part = cells.subset(np.flatnonzero(sides == side))
    column = np.empty(len(part), dtype=object)
    column[:] = side
    return replace(part, splits=column)


def _digest(parts: list[CellSet]) -> str:
    rows = sorted(
        f"{name}\t{part.classes[label]}\t{side}\t{pixels}"
        for part in parts
        for name, label, side, pixels in zip(part.names, part.labels, part.splits, part.digests, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
