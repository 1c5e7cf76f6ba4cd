"""Stratified, group-aware splits; a split has a digest."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator

from cells.cellset import CellSet
from runtime.config import Settings
from runtime.errors import InputError
from runtime.seeds import numpy_generator

SIDES = ("train", "val", "test")


class SplitSettings(Settings):
    """How to divide cells; of a source that comes split, only what is missing is divided.

    Attributes:
        fractions: Shares of train, val and test; they sum to 1.
        seed: Another seed, another split.
        leaks: What to do where a pre-made split has the same image or group on two sides:
            ``refuse`` it, or ``drop`` the cells from train (and, against test, from val).
    """

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    leaks: Literal["refuse", "drop"] = "refuse"

    @field_validator("fractions")
    @classmethod
    def _shares(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError("give three shares above 0 that sum to 1, e.g. [0.7, 0.15, 0.15]")
        return fractions


@dataclass(frozen=True)
class Split:
    """Cells of three sides that share no group and no image.

    Attributes:
        train: For everything that learns.
        val: Real cells, for choosing.
        test: Real cells, for the final figures.
        digest: 16 hex digits over names, classes, sides and pixels.
    """

    train: CellSet
    val: CellSet
    test: CellSet
    digest: str


def divide(cells: CellSet, settings: SplitSettings) -> Split:
    """Divide cells into train, val and test.

    A pre-made split is kept; where it has no val, val is carved from train. Otherwise each class
    is divided by `fractions`, and cells of one group, or with equal pixels, stay together.

    Args:
        cells: What a source returned.
        settings: See `SplitSettings`.

    Raises:
        InputError: If a class is missing on a side or has too few groups to be on all of them,
            if sides of a pre-made split share a group or an image, or if val or test would
            contain synthetic cells.
    """
    sides = cells.splits.copy()
    if not any(sides):
        require_real(cells, "a set that is still to be split")
        sides = _assign(cells, settings.fractions, SIDES, settings.seed)
    else:
        _check_premade(cells)
        sides = _without_leaks(cells, sides, settings.leaks)
        if "val" not in sides:
            sides = _carve_val(cells, sides, settings)
    parts = [_side(cells, sides, side) for side in SIDES]
    for side, part in zip(SIDES, parts, strict=True):
        _check_classes(part, side)
    require_real(parts[1], "val")
    require_real(parts[2], "test")
    return Split(train=parts[0], val=parts[1], test=parts[2], digest=_digest(parts))


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


def _side(cells: CellSet, sides: NDArray[np.object_], side: str) -> CellSet:
    part = cells.subset(np.flatnonzero(sides == side))
    column = np.empty(len(part), dtype=object)
    column[:] = side
    return replace(part, splits=column)


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


def _check_classes(part: CellSet, side: str) -> None:
    empty = [name for name, count in part.counts.items() if count == 0]
    if empty:
        raise InputError(
            f"class '{empty[0]}' has no cells in {side}; add some there (a class needs at least "
            "three images of different groups) or leave the class out."
        )


def _clusters(cells: CellSet, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows that must stay together: same group or same pixels, directly or through others."""
    parent = {int(row): int(row) for row in rows}

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row in map(int, rows):
        for key in (("group", str(cells.groups[row])), ("pixels", str(cells.digests[row]))):
            parent[root(row)] = root(first.setdefault(key, row))
    members = defaultdict(list)
    for row in map(int, rows):
        members[root(row)].append(row)
    return [np.array(found) for found in members.values()]


def _assign(
    cells: CellSet,
    fractions: Iterable[float],
    names: tuple[str, ...],
    seed: int,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.object_]:
    """A side for each of the rows: large clusters first, each to where it is missed most.

    Without groups this meets the rounded shares of every class exactly.
    """
    rows = np.arange(len(cells)) if rows is None else rows
    clusters = _clusters(cells, rows)
    order = numpy_generator(seed, "split").permutation(len(clusters))
    order = order[np.argsort([-len(clusters[i]) for i in order], kind="stable")]
    targets = _targets(cells, rows, list(fractions))  # (sides, classes)
    class_sizes = np.maximum(targets.sum(axis=0), 1)
    have = np.zeros_like(targets)
    sides = cells.splits.copy()
    for i in order:
        added = np.bincount(cells.labels[clusters[i]], minlength=len(cells.classes))
        room = (targets - have - added) / np.maximum(targets, 1)  # (sides, classes)
        best = int(np.argmax(room @ (added / class_sizes)))
        have[best] += added
        sides[clusters[i]] = names[best]
    return sides


def _targets(cells: CellSet, rows: NDArray[np.int64], fractions: list[float]) -> NDArray[np.float64]:
    """Cells per side and class: shares rounded, at least one on each of the later sides."""
    counts = np.bincount(cells.labels[rows], minlength=len(cells.classes))
    later = [np.maximum(1, np.round(share * counts)) for share in fractions[1:]]
    return np.stack([np.maximum(counts - sum(later), 0), *later]).astype(np.float64)


def _carve_val(cells: CellSet, sides: NDArray[np.object_], settings: SplitSettings) -> NDArray[np.object_]:
    """Take val out of the real cells of train, as a share of train and val."""
    train, val, _ = settings.fractions
    rows = np.flatnonzero((sides == "train") & ~cells.is_synthetic)
    shares = (train / (train + val), val / (train + val))
    carved = _assign(cells, shares, ("train", "val"), settings.seed, rows)
    return np.where(np.isin(np.arange(len(cells)), rows), carved, sides)


def _without_leaks(cells: CellSet, sides: NDArray[np.object_], leaks: str) -> NDArray[np.object_]:
    """The sides, with "" for cells dropped because a later side has their group or image."""
    last: dict[tuple[str, str], int] = {}
    keys = [
        (("group", str(group)), ("pixels", str(pixels)))
        for group, pixels in zip(cells.groups, cells.digests, strict=True)
    ]
    ranks = [SIDES.index(side) for side in sides]
    for pair, rank in zip(keys, ranks, strict=True):
        for key in pair:
            last[key] = max(rank, last.get(key, 0))
    leaking = np.array(
        [rank < max(last[key] for key in pair) for pair, rank in zip(keys, ranks, strict=True)]
    )
    if not leaking.any():
        return sides
    if leaks == "refuse":
        row = int(np.flatnonzero(leaking)[0])
        kind, value = max(keys[row], key=lambda key: last[key])
        what = "the same image" if kind == "pixels" else f"group '{value}'"
        raise InputError(
            f"{cells.names[row]}: {what} is in {sides[row]} and in "
            f"{SIDES[last[kind, value]]} ({int(leaking.sum())} such cells); "
            "remove them, or set split.leaks=drop to leave them out of the earlier side."
        )
    return np.where(leaking, "", sides)


def _digest(parts: list[CellSet]) -> str:
    rows = sorted(
        f"{name}\t{part.classes[label]}\t{side}\t{pixels}"
        for part in parts
        for name, label, side, pixels in zip(part.names, part.labels, part.splits, part.digests, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
