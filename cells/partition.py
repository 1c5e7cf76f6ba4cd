"""Dividing cells by shares: every class stratified, what belongs together kept together."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cells.cellset import CellSet
from cells.duplicates import NearDuplicate
from runtime.seeds import numpy_generator

Rows = NDArray[np.int64]

OTHER_ORDERS = 16  # tried where moving clusters is not enough


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


def assign(
    cells: CellSet, together: Sequence[Rows], targets: NDArray[np.float64], seed: int, at_least: int = 1
) -> Rows:
    """A part for each cell: large clusters first, each to where its classes are missed most.

    Where no two cells belong together this meets whole targets of every class exactly. Where a part
    gets no cluster of a class that has enough of them, clusters are moved, and other orders tried.

    Args:
        cells: The cells.
        together: Clusters of rows, see `clusters`.
        targets: Cells wanted per part and class, shape (parts, classes).
        seed: Orders clusters of one size.
        at_least: Clusters of each class that every part needs.

    Returns:
        The number of the part, shape (n,); -1 for rows in no cluster.
    """
    parts = np.full(len(cells), -1, np.int64)
    if not together:
        return parts
    count = len(cells.classes)
    sizes = np.stack([np.bincount(cells.labels[rows], minlength=count) for rows in together])
    task = _Task(sizes, targets, at_least)
    generator = numpy_generator(seed, "split")
    order = generator.permutation(len(together))
    order = order[np.argsort([-len(together[i]) for i in order], kind="stable")]
    chosen = task.repaired(task.greedy(order))
    for _ in range(OTHER_ORDERS):
        if not task.lacking(chosen).any():
            break
        other = task.repaired(task.greedy(generator.permutation(len(together))))
        chosen = min(chosen, other, key=task.cost)
    for rows, part in zip(together, chosen, strict=True):
        parts[rows] = part
    return parts


@dataclass(frozen=True)
class _Task:
    """Clusters to deal out: cells of each class in them, cells wanted of each class in each part.

    Attributes:
        sizes: Shape (clusters, classes).
        targets: Shape (parts, classes).
        at_least: Clusters of each class that every part needs.
    """

    sizes: Rows
    targets: NDArray[np.float64]
    at_least: int

    def greedy(self, order: Rows) -> Rows:
        """The part of each cluster, in this order each to where its classes are missed most."""
        class_sizes = np.maximum(self.targets.sum(axis=0), 1)
        have = np.zeros_like(self.targets)
        parts = np.zeros(len(self.sizes), np.int64)
        for i in order:
            added = self.sizes[i]
            room = (self.targets - have - added) / np.maximum(self.targets, 1)  # (parts, classes)
            best = int(np.argmax(room @ (added / class_sizes)))
            have[best] += added
            parts[i] = best
        return parts

    def repaired(self, parts: Rows) -> Rows:
        """The same with clusters moved to parts that lack them, least harm first, while that helps.

        The greedy pass compares a cluster with what a part still wants: a small part stays empty
        if all clusters are larger than it, although it needs one.
        """
        while (lacking := self.lacking(parts)).any():
            moves = (  # one at a time: there may be thousands of clusters
                np.where(np.arange(len(parts)) == i, part, parts)
                for part, label in zip(*np.nonzero(lacking), strict=True)
                for i in np.flatnonzero((self.sizes[:, label] > 0) & (parts != part))
            )
            best = min(moves, key=self.cost)
            if self.lacking(best).sum() >= lacking.sum():
                break
            parts = best
        return parts

    def lacking(self, parts: Rows) -> Rows:
        """How many clusters are missing, shape (parts, classes); 0 for classes with too few for all."""
        needed = self.at_least * len(self.targets)
        held = self._summed(self.sizes > 0, parts)
        return np.maximum(self.at_least - held, 0) * (held.sum(axis=0) >= needed)

    def cost(self, parts: Rows) -> tuple[int, float]:
        """What is lacking, then how far the parts are from their targets, in shares of the classes."""
        away = (self._summed(self.sizes, parts) - self.targets) / np.maximum(self.targets.sum(axis=0), 1)
        return int(self.lacking(parts).sum()), float((away**2).sum())

    def _summed(self, values: NDArray[Any], parts: Rows) -> Rows:
        """Sums over the clusters of each part, shape (parts, classes)."""
        sums = np.zeros(self.targets.shape, np.int64)
        np.add.at(sums, parts, values)
        return sums


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
