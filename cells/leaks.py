"""Leaks of a split: the same image, or the same group, on two sides."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
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
    by_image, by_group = _on_a_later_side(images, sides), _on_a_later_side(cells.groups, sides)
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
