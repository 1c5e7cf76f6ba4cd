"""Stratified, group-aware splits; a split has a digest."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import field_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cells.cellset import CellSet
from cells.duplicates import NearDuplicate, near_duplicates
from runtime.config import Settings
from runtime.errors import InputError
from runtime.seeds import numpy_generator

if TYPE_CHECKING:
    from cells.preprocessing import Preprocessing

SIDES = ("train", "val", "test")


class SplitSettings(Settings):
    """How to divide cells; of a source that comes split, only what is missing is divided.

    Attributes:
        fractions: Shares of train, val and test; they sum to 1.
        seed: Another seed, another split.
        leaks: What to do where a pre-made split has the same image or group on two sides:
            ``refuse`` it, ``drop`` the cells from train (and, against test, from val), or
            ``allow`` it, which makes every figure on that split look better than it is.
        near_duplicates: Whether an image turned, flipped, cropped a little, relit or saved again
            counts as the same image; False goes by equal pixels only.
    """

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    leaks: Literal["refuse", "drop", "allow"] = "refuse"
    near_duplicates: bool = True

    @field_validator("fractions")
    @classmethod
    def _shares(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError("give three shares above 0 that sum to 1, e.g. [0.7, 0.15, 0.15]")
        return fractions


class LeakError(InputError):
    """Sides of a pre-made split share an image or a group."""


@dataclass(frozen=True)
class Split:
    """Cells of three sides that share no group and no image, unless `leaks` allowed it.

    Attributes:
        train: For everything that learns.
        val: Real cells, for choosing.
        test: Real cells, for the final figures.
        digest: 16 hex digits over names, classes, sides and pixels (and the preprocessing).
        preprocessing: What the images went through, fitted to `train` alone; None for nothing.
    """

    train: CellSet
    val: CellSet
    test: CellSet
    digest: str
    preprocessing: "Preprocessing | None" = None


def divide(cells: CellSet, settings: SplitSettings, near: Sequence[NearDuplicate] | None = None) -> Split:
    """Divide cells into train, val and test.

    A pre-made split is kept; where it has no val, val is carved from train. Otherwise each class
    is divided by `fractions`, and cells of one group, or of one image, stay together.

    Args:
        cells: What a source returned.
        settings: See `SplitSettings`.
        near: Near duplicates among the cells where they are known; None looks for them if
            `settings` say so.

    Raises:
        LeakError: If sides of a pre-made split share a group or an image.
        InputError: If a class is missing on a side or has too few groups to be on all of them,
            or if val or test would contain synthetic cells.
    """
    sides = cells.splits.copy()
    if near is None:
        near = near_duplicates(cells) if settings.near_duplicates else ()
    images = image_clusters(cells, near)
    if not any(sides):
        require_real(cells, "a set that is still to be split")
        sides = _assign(cells, images, settings.fractions, SIDES, settings.seed)
    else:
        _check_premade(cells)
        sides = _without_leaks(cells, images, sides, settings.leaks)
        if "val" not in sides:
            sides = _carve_val(cells, images, sides, settings)
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


def image_clusters(cells: CellSet, near: Sequence[NearDuplicate]) -> NDArray[np.int64]:
    """A number for each cell, shape (n,), the same for cells of one image.

    Args:
        cells: The cells.
        near: Pairs of them that are one image; equal pixels always are.
    """
    _, images = np.unique(cells.digests.astype(str), return_inverse=True)
    pairs = np.array([(pair.first, pair.second) for pair in near], np.int64).reshape(-1, 2)
    count = int(images.max(initial=-1)) + 1
    links = coo_array((np.ones(len(pairs)), (images[pairs[:, 0]], images[pairs[:, 1]])), (count, count))
    _, cluster = connected_components(links, directed=False)
    return np.asarray(cluster[images], dtype=np.int64)


def _clusters(cells: CellSet, images: NDArray[np.int64], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows that must stay together: same group or same image, directly or through others."""
    parent = {int(row): int(row) for row in rows}

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row in map(int, rows):
        for key in (("group", str(cells.groups[row])), ("image", str(images[row]))):
            parent[root(row)] = root(first.setdefault(key, row))
    members = defaultdict(list)
    for row in map(int, rows):
        members[root(row)].append(row)
    return [np.array(found) for found in members.values()]


def _assign(
    cells: CellSet,
    images: NDArray[np.int64],
    fractions: Iterable[float],
    names: tuple[str, ...],
    seed: int,
    rows: NDArray[np.int64] | None = None,
) -> NDArray[np.object_]:
    """A side for each of the rows: large clusters first, each to where it is missed most.

    Without groups this meets the rounded shares of every class exactly.
    """
    rows = np.arange(len(cells)) if rows is None else rows
    clusters = _clusters(cells, images, rows)
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


def _carve_val(
    cells: CellSet, images: NDArray[np.int64], sides: NDArray[np.object_], settings: SplitSettings
) -> NDArray[np.object_]:
    """Take val out of the real cells of train, as a share of train and val."""
    train, val, _ = settings.fractions
    rows = np.flatnonzero((sides == "train") & ~cells.is_synthetic)
    shares = (train / (train + val), val / (train + val))
    carved = _assign(cells, images, shares, ("train", "val"), settings.seed, rows)
    return np.where(np.isin(np.arange(len(cells)), rows), carved, sides)


def _without_leaks(
    cells: CellSet, images: NDArray[np.int64], sides: NDArray[np.object_], leaks: str
) -> NDArray[np.object_]:
    """The sides, with "" for cells dropped because a later side has their group or image."""
    by_image, by_group = _on_a_later_side(images, sides), _on_a_later_side(cells.groups, sides)
    leaking = (by_image >= 0) | (by_group >= 0)
    if leaks == "allow" or not leaking.any():
        return sides
    if leaks == "drop":
        return np.where(leaking, "", sides)
    row = int(np.flatnonzero(leaking)[0])
    other = int(by_image[row] if by_image[row] >= 0 else by_group[row])
    raise LeakError(
        f"{cells.names[row]}: {_shared(cells, by_image[row], row, other)} is in {sides[row]} and in "
        f"{sides[other]} ({int(leaking.sum())} such cells); remove them, or set split.leaks=drop to "
        "leave them out of the earlier side."
    )


def _on_a_later_side(keys: NDArray[Any], sides: NDArray[np.object_]) -> NDArray[np.int64]:
    """For each row the first row with its key on the last side that has it, or -1; shape (n,)."""
    ranks = [SIDES.index(side) for side in sides]
    last: dict[Any, int] = {}
    for row, key in enumerate(keys):
        if key not in last or ranks[row] > ranks[last[key]]:
            last[key] = row
    return np.array([last[key] if ranks[last[key]] > ranks[row] else -1 for row, key in enumerate(keys)])


def _shared(cells: CellSet, by_image: int, row: int, other: int) -> str:
    if by_image < 0:
        return f"group '{cells.groups[row]}'"
    if cells.digests[row] == cells.digests[other]:
        return "the same image"
    return f"nearly the same image ({cells.names[other]})"


def _digest(parts: list[CellSet]) -> str:
    rows = sorted(
        f"{name}\t{part.classes[label]}\t{side}\t{pixels}"
        for part in parts
        for name, label, side, pixels in zip(part.names, part.labels, part.splits, part.digests, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
