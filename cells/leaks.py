"""Leaks of a split: the same image, or the same group, on two sides."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.duplicates import near_duplicates
from cells.partition import image_clusters
from runtime.errors import InputError

SIDES = ("train", "val", "test")
LEAKING = "leaking"  # in the place of a side: dropped, because a later side has the group or image
DROP_THEM = "remove them, or set split.leaks=drop to leave them out of the earlier side"


class LeakError(InputError):
    """Sides of a pre-made split share an image or a group."""


def without_leaks(
    cells: CellSet,
    images: NDArray[np.int64],
    sides: NDArray[np.object_],
    leaks: str,
    remedy: str = DROP_THEM,
) -> NDArray[np.object_]:
    """The sides, with `LEAKING` for cells dropped because a later side has their group or image.

    Args:
        cells: The cells.
        images: A number for each cell, the same for cells of one image, shape (n,).
        sides: The side of each cell, shape (n,); cells on none of `SIDES` take no part.
        leaks: ``refuse``, ``drop`` or ``allow``.
        remedy: What to do about it, for the message.

    Raises:
        LeakError: If there is a leak and `leaks` says refuse; the first cell is named.
    """
    by_image, by_group = _leaks(cells.groups, images, sides)
    leaking = (by_image >= 0) | (by_group >= 0)
    if leaks == "allow" or not leaking.any():
        return sides
    if leaks == "drop":
        return np.where(leaking, LEAKING, sides)
    row = int(np.flatnonzero(leaking)[0])
    other = int(by_image[row] if by_image[row] >= 0 else by_group[row])
    raise LeakError(
        f"{cells.names[row]}: {_shared(cells, by_image[row], row, other)} is in {sides[row]} and in "
        f"{sides[other]} ({int(leaking.sum())} such cells); {remedy}."
    )


def count_leaking(cells: CellSet, images: NDArray[np.int64], sides: NDArray[np.object_]) -> int:
    """How many cells share their image or group with a later side; see `without_leaks`."""
    by_image, by_group = _leaks(cells.groups, images, sides)
    return int(((by_image >= 0) | (by_group >= 0)).sum())


def shared_cells(known: CellSet, unseen: CellSet) -> int:
    """How many of some cells show the image of an unseen one, or are of its patient, slide or field.

    Args:
        known: Cells that something learned from.
        unseen: Cells that it is scored on, of the same classes and image size.
    """
    both = known + unseen
    # Where the group is unknown it is the name, and two folders may well use the same names.
    own = [
        f"group {group}" if group != name else f"cell {row}"
        for row, (group, name) in enumerate(zip(both.groups, both.names, strict=True))
    ]
    sides = np.array(["train"] * len(known) + ["test"] * len(unseen), dtype=object)
    images = image_clusters(both, near_duplicates(both))
    by_image, by_group = _leaks(np.array(own, dtype=object), images, sides)
    return int(((by_image >= 0) | (by_group >= 0)).sum())


def _leaks(
    groups: NDArray[np.object_], images: NDArray[np.int64], sides: NDArray[np.object_]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row one on a later side with its image, and one with its group, or -1; shapes (n,)."""
    return _on_a_later_side(images, sides), _on_a_later_side(groups, sides)


def _on_a_later_side(keys: NDArray[Any], sides: NDArray[np.object_]) -> NDArray[np.int64]:
    """For each row the first row with its key on the last side that has it, or -1; shape (n,)."""
    ranks = {row: SIDES.index(side) for row, side in enumerate(sides) if side in SIDES}
    last: dict[Any, int] = {}
    for row, rank in ranks.items():
        if keys[row] not in last or rank > ranks[last[keys[row]]]:
            last[keys[row]] = row
    found = np.full(len(sides), -1, np.int64)
    for row, rank in ranks.items():
        if ranks[last[keys[row]]] > rank:
            found[row] = last[keys[row]]
    return found


def _shared(cells: CellSet, by_image: int, row: int, other: int) -> str:
    if by_image < 0:
        return f"group '{cells.groups[row]}'"
    if cells.digests[row] == cells.digests[other]:
        return "the same image"
    return f"nearly the same image ({cells.names[other]})"
