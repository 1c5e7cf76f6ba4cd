"""Stacks: several images of one cell, in order: slices, focal planes, or preprocessings of one image.

Every image is a cell of its own in a `CellSet`; what it says of its stack lies in its provenance, so that
it outlives subsets and saving. All stacks of a set have the same indices: a stack that is filled up by
repeating an image could be told by that alone.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cells.cellset import CellSet
from runtime.errors import InputError

# Keys of the provenance, and so columns of metadata.jsonl.
STACK, INDEX = "stack", "index"
LEAVE_OUT = "leave the columns stack and index out to take each image as a cell of its own"

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Listed:
    """What a source says of one image: its stack, its place in it, what must be alike there, and where."""

    stack: object
    index: object
    label: str
    group: str
    split: str
    where: str


def check_stacks(listed: Sequence[Listed]) -> None:
    """Refuse stacks that contradict themselves or each other.

    Args:
        listed: All images of a source; None or "" is no stack and no index.

    Raises:
        InputError: If only some images have a stack, an index is missing, no integer or given twice, the
            images of a stack differ in class, group or split, or a stack lacks an index of the others.
    """
    alone = [item for item in listed if item.stack in (None, "")]
    if len(alone) == len(listed):
        return
    if alone:
        raise InputError(
            f"{alone[0].where}: has no stack, and other images have one; fill in the columns stack and index "
            "everywhere, or nowhere."
        )
    stacks: dict[str, dict[int, Listed]] = {}
    for item in listed:
        _put(stacks.setdefault(str(item.stack), {}), item)
    _check_same_indices(stacks)


def _put(stack: dict[int, Listed], item: Listed) -> None:
    """Add an image to its stack, if it fits."""
    try:
        index = int(str(item.index))
    except ValueError:
        raise InputError(
            f"{item.where}: has no index (an integer); number the images of stack '{item.stack}', "
            "e.g. 0, 1, 2."
        ) from None
    if index in stack:
        raise InputError(
            f"{item.where}: index {index} of stack '{item.stack}' is that of {stack[index].where} as well; "
            "number the images of a stack differently, or give one of them another stack."
        )
    first = next(iter(stack.values()), item)
    for what, mine, other in (
        ("class", item.label, first.label),
        ("group", item.group, first.group),
        ("split", item.split, first.split),
    ):
        if mine != other:
            raise InputError(
                f"{item.where}: stack '{item.stack}' has {what} '{mine}' here and '{other}' at "
                f"{first.where}; give all images of a stack the same {what}, or other stacks."
            )
    stack[index] = item


def _check_same_indices(stacks: dict[str, dict[int, Listed]]) -> None:
    every = sorted({index for stack in stacks.values() for index in stack})
    for name, stack in stacks.items():
        missing = [index for index in every if index not in stack]
        if missing:
            where = next(iter(stack.values())).where
            raise InputError(
                f"{where}: stack '{name}' has no readable image of index {missing[0]}, and other stacks "
                "have; add it, or leave the stack out: all stacks need the same indices."
            )


def is_stacked(cells: CellSet) -> bool:
    """True if the cells are images of stacks."""
    return any(STACK in said for said in cells.provenance)


def rows_of_stacks(cells: CellSet) -> Rows:
    """Which cells make up each stack.

    Args:
        cells: Of stacks.

    Returns:
        Rows, shape (s, d): stacks in the order of their first cells, images in the order of their indices.

    Raises:
        InputError: If cells are of no stack, or stacks are not whole.
    """
    stacks: dict[str, dict[int, int]] = {}
    for row, said in enumerate(cells.provenance):
        if STACK not in said or INDEX not in said:
            raise InputError(f"{cells.names[row]}: is of no stack, and other cells are; {LEAVE_OUT}.")
        stacks.setdefault(str(said[STACK]), {})[int(said[INDEX])] = row
    indices = {tuple(sorted(stack)) for stack in stacks.values()}
    if len(indices) != 1 or sum(map(len, stacks.values())) != len(cells):
        raise InputError(
            f"these {len(cells)} images of {len(stacks)} stacks are not whole stacks with the same indices; "
            f"choose and join whole stacks only, or {LEAVE_OUT}."
        )
    return np.array([[stack[index] for index in sorted(stack)] for stack in stacks.values()], np.int64)


def one_each(cells: CellSet) -> CellSet:
    """One image of each stack, the middle one, in the order of the stacks; single images as they are.

    It has the classes and counts of what is classified, and stands for it in pictures.
    """
    if not is_stacked(cells):
        return cells
    rows = rows_of_stacks(cells)
    return cells.subset(rows[:, rows.shape[1] // 2])


def refuse_stacks(cells: CellSet, what: str) -> None:
    """Refuse cells of stacks where each image would be taken for a cell of its own.

    Args:
        cells: The cells.
        what: What cannot be done with them, for the message.

    Raises:
        InputError: If they are of stacks.
    """
    if is_stacked(cells):
        raise InputError(f"{what} of stacks (columns stack and index) is not supported; {LEAVE_OUT}.")


def by_stack(cells: CellSet, images: Rows) -> Rows:
    """What counts as one image: of stacks, the stack as a whole.

    Two stacks are one if they share more than half of their different images: one blank slice in both is no
    leak. A stack is compared with the first one that shows the image.

    Args:
        cells: The cells.
        images: A number for each cell, the same for cells of one image, shape (n,).

    Returns:
        Where the cells are stacks: such numbers, the same for all cells of a stack and of those it is one
        with; else the same.
    """
    if not is_stacked(cells):
        return images
    rows = rows_of_stacks(cells)
    first: dict[int, int] = {}
    links: list[tuple[int, int]] = []
    for number, members in enumerate(rows):
        shown = set(images[members].tolist())
        seen = Counter(first.setdefault(image, number) for image in shown)
        links += [(number, other) for other, count in seen.items() if 2 * count > len(shown)]
    one = _connected(links, len(rows))
    merged = np.empty(len(cells), np.int64)
    merged[rows] = one[:, None]
    return merged


def _connected(links: Iterable[tuple[int, int]], count: int) -> Rows:
    pairs = np.array(list(links), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def marked(cells: CellSet, word: str) -> CellSet:
    """The same cells, the names of their stacks beginning with a word: not those of another source."""
    provenance = np.empty(len(cells), dtype=object)
    provenance[:] = [
        {**said, STACK: f"{word}/{said[STACK]}"} if STACK in said else said for said in cells.provenance
    ]
    return replace(cells, provenance=provenance)
