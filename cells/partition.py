"""Dividing cells by shares: every class stratified, what belongs together kept together."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cells.cellset import CellSet
from cells.duplicates import NearDuplicate
from runtime.seeds import numpy_generator

Rows = NDArray[np.int64]


def image_clusters(cells: CellSet, near: Sequence[NearDuplicate]) -> Rows:
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


def clusters(cells: CellSet, images: Rows, rows: Rows) -> list[Rows]:
    """Rows that must stay together: same group or same image, directly or through others.

    Args:
        cells: The cells.
        images: What `image_clusters` returned.
        rows: Which of the cells to look at.
    """
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


def assign(cells: CellSet, together: Sequence[Rows], targets: NDArray[np.float64], seed: int) -> Rows:
    """A part for each cell: large clusters first, each to where its classes are missed most.

    Where no two cells belong together this meets whole targets of every class exactly.

    Args:
        cells: The cells.
        together: Clusters of rows, see `clusters`.
        targets: Cells wanted per part and class, shape (parts, classes).
        seed: Orders clusters of one size.

    Returns:
        The number of the part, shape (n,); -1 for rows in no cluster.
    """
    order = numpy_generator(seed, "split").permutation(len(together))
    order = order[np.argsort([-len(together[i]) for i in order], kind="stable")]
    class_sizes = np.maximum(targets.sum(axis=0), 1)
    have = np.zeros_like(targets)
    parts = np.full(len(cells), -1, np.int64)
    for i in order:
        added = np.bincount(cells.labels[together[i]], minlength=len(cells.classes))
        room = (targets - have - added) / np.maximum(targets, 1)  # (parts, classes)
        best = int(np.argmax(room @ (added / class_sizes)))
        have[best] += added
        parts[together[i]] = best
    return parts


def divided(cells: CellSet, images: Rows, shares: Sequence[float], seed: int, rows: Rows) -> Rows:
    """Rows divided by shares of every class, clusters whole.

    Args:
        cells: The cells.
        images: What `image_clusters` returned.
        shares: Of the parts; they sum to 1.
        seed: Another seed, another division.
        rows: Which of the cells to divide.

    Returns:
        The number of the part, shape (n,); -1 for other rows.
    """
    counts = np.bincount(cells.labels[rows], minlength=len(cells.classes))
    later = [np.maximum(1, np.round(share * counts)) for share in shares[1:]]  # each class on each side
    targets = np.stack([np.maximum(counts - sum(later), 0), *later]).astype(np.float64)
    return assign(cells, clusters(cells, images, rows), targets, seed)
