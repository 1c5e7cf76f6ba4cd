"""Precision, recall, density and coverage of sides too large for a matrix of their distances.

Two passes over blocks of pairs: the first finds the radius of each cell's ball, the second counts
who lies in whose. Products of float32 matrices decide all pairs that are farther from a radius than
their rounding error can be; the few others are computed from the differences, in float64. So the
result is that of exact distances, ties and copies included, whatever the block and the device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.quality.distances import MANIFOLD_NEIGHBOURS, NEIGHBOURS, Features, Rows, identities
from runtime.devices import pick_device
from runtime.errors import InputError
from runtime.progress import progress

BLOCK = 4096  # cells of either side at a time: a block of pairs takes 64 MB in float32
PAIRS = 2048  # pairs computed from their differences at a time
SPARE = 10  # neighbours kept beyond the k-th, since the first pass knows their order roughly
AGAIN = 256  # rows looked at again at a time
TINY = 1e-30  # below it float32 loses digits; features are scaled to about 1

Squares = NDArray[np.float64]


def manifold(real: Features, synthetic: Features, block: int = BLOCK) -> dict[str, float]:
    """Precision, recall, density and coverage, in memory that does not grow with n times m.

    Args:
        real: Shape (n, d), n > 5; float32 is not copied.
        synthetic: Shape (m, d), m > 3, same encoder.
        block: Cells of either side that are held against each other at a time.

    Returns:
        The four by name, equal to those of `evaluation.quality.metrics`.

    Raises:
        ValueError: If the shapes do not fit or there are too few cells.
        InputError: If a feature is not finite.

    Source:
        Kynkäänniemi et al., 1904.06991, equations 1 and 2; Naeem et al., 2002.09797, equations 4 and 5.
        Rounding error of a product: Higham, Accuracy and Stability of Numerical Algorithms, 2002, 3.1.
    """
    one, other = _sides(real, synthetic, block)
    steps = sum(len(side.starts) * (len(side.starts) + 1) // 2 for side in (one, other))
    with progress(steps + len(one.starts) * len(other.starts), "balls of neighbours") as bar:
        near = _nearest(one, NEIGHBOURS + 1, bar.update)
        reach = _nearest(other, MANIFOLD_NEIGHBOURS + 1, bar.update)[:, -1]
        return _counted(one, other, near, reach, bar.update)


@dataclass(frozen=True)
class _Side:
    """Features of one side, shifted and scaled to about 1 when a block of them is asked for."""

    features: Features  # (n, d)
    identity: Rows  # (n,)
    center: Squares  # (d,)
    scale: float  # a power of two
    block: int
    device: torch.device

    @property
    def starts(self) -> range:
        return range(0, len(self.features), self.block)

    def rows(self, start: int) -> slice:
        return slice(start, min(start + self.block, len(self.features)))

    def at(self, rows: slice | Rows) -> tuple[Tensor, Tensor]:
        """Float32 features, shape (b, d), and their squared lengths, shape (b,)."""
        x = ((self.features[rows].astype(np.float64) - self.center) * self.scale).astype(np.float32)
        lengths = np.einsum("bd,bd->b", x, x, dtype=np.float64).astype(np.float32)
        return torch.from_numpy(x).to(self.device), torch.from_numpy(lengths).to(self.device)

    def squared(self, distances: Squares) -> Tensor:
        """Squared distances in the features' units as float32 in those of the blocks."""
        return torch.from_numpy((distances * self.scale**2).astype(np.float32)).to(self.device)


def _sides(real: Features, synthetic: Features, block: int) -> tuple[_Side, _Side]:
    if real.ndim != 2 or synthetic.ndim != 2 or real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"features must be (n, d) of one encoder, but are {real.shape} and {synthetic.shape}."
        )
    if len(real) <= NEIGHBOURS or len(synthetic) <= MANIFOLD_NEIGHBOURS:
        raise ValueError(f"too few cells: {len(real)} real and {len(synthetic)} synthetic.")
    center = real.mean(axis=0, dtype=np.float64)
    largest = 0.0
    for part in (
        side[start : start + block] for side in (real, synthetic) for start in range(0, len(side), block)
    ):
        if not np.isfinite(part).all():
            raise InputError("some features are not finite; check the encoder's weights and input range.")
        largest = max(largest, float(np.abs(part - center).max()))
    scale = float(2.0 ** -np.ceil(np.log2(largest))) if largest else 1.0
    device = pick_device()
    of_real, of_synthetic = identities(real, synthetic)
    return (
        _Side(real, of_real, center, scale, block, device),
        _Side(synthetic, of_synthetic, center, scale, block, device),
    )


def _rough(x: Tensor, x_lengths: Tensor, y: Tensor, y_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances by a product, shape (b, c), and how far they can be from the true ones.

    A dot product of d terms is off by at most d u |x| |y|, u = 2^-24; what the rounding of features,
    lengths and sums adds is below 32 u (|x|² + |y|²).
    """
    lengths = x_lengths[:, None] + y_lengths  # (b, c)
    squares = torch.addmm(lengths, x, y.T, alpha=-2)
    return squares, lengths.mul_((x.shape[1] + 32) * 2.0**-24).add_(TINY)


def _exact(one: _Side, rows: Rows, other: _Side, columns: Rows) -> Squares:
    """Squared distances of the pairs (rows[i], columns[i]), shape (p,): 0 for copies."""
    found = np.zeros(len(rows))
    differ = np.flatnonzero(one.identity[rows] != other.identity[columns])
    for start in range(0, len(differ), PAIRS):
        part = differ[start : start + PAIRS]
        gaps = one.features[rows[part]].astype(np.float64) - other.features[columns[part]]  # (p, d)
        found[part] = np.square(gaps, out=gaps).sum(axis=1)
    return found


def _nearest(side: _Side, count: int, done: Callable[[], object]) -> Squares:
    """Exact squared distances to the nearest cells of the same side, shape (n, count), ascending."""
    n = len(side.features)
    width = min(count + SPARE, n)
    least = torch.full((n, width), torch.inf, device=side.device)  # lower bounds of squared distances
    where = torch.zeros((n, width), dtype=torch.int64, device=side.device)
    for start in side.starts:
        x, x_lengths = side.at(side.rows(start))
        for other in range(start, n, side.block):
            y, y_lengths = side.at(side.rows(other)) if other > start else (x, x_lengths)
            squares, error = _rough(x, x_lengths, y, y_lengths)
            lower = squares.sub_(error)
            _merge(least, where, side.rows(start), lower, other)
            if other > start:
                _merge(least, where, side.rows(other), lower.T.contiguous(), start)
            done()
    rows, columns = np.repeat(np.arange(n), width), where.cpu().numpy().ravel()
    found = np.sort(_exact(side, rows, side, columns).reshape(n, width), axis=1)[:, :count]
    if width < n:
        _settle(side, found, least[:, -1])
    return found


def _merge(least: Tensor, where: Tensor, rows: slice, lower: Tensor, offset: int) -> None:
    """Keep the smallest of what is known of some rows and of a block (b, c) of further columns."""
    width = least.shape[1]
    values, columns = lower.topk(min(width, lower.shape[1]), dim=1, largest=False)
    values = torch.cat([least[rows], values], dim=1)
    columns = torch.cat([where[rows], columns + offset], dim=1)
    kept = values.topk(width, dim=1, largest=False)
    least[rows], where[rows] = kept.values, columns.gather(1, kept.indices)


def _settle(side: _Side, found: Squares, beyond: Tensor) -> None:
    """Look again at rows where a cell that was not kept could be nearer than the last one found.

    Args:
        side: Cells.
        found: Exact squared distances, shape (n, count); corrected in place.
        beyond: Lower bound of all squared distances that were not kept, shape (n,).
    """
    last = found[:, -1]
    doubtful = np.flatnonzero((side.squared(last) > beyond).cpu().numpy() & (last > 0))
    for start in range(0, len(doubtful), AGAIN):
        rows = doubtful[start : start + AGAIN]
        pairs = [_candidates(side, rows, side.squared(last[rows]), begin) for begin in side.starts]
        which, values = (np.concatenate(part) for part in zip(*pairs, strict=True))
        order = np.lexsort((values, which))
        first = np.searchsorted(which[order], np.arange(len(rows)))  # (r,)
        found[rows] = values[order][first[:, None] + np.arange(found.shape[1])]


def _candidates(side: _Side, rows: Rows, bounds: Tensor, start: int) -> tuple[Rows, Squares]:
    """Pairs of some rows and a block that may lie within the bounds: index of the row, square."""
    squares, error = _rough(*side.at(rows), *side.at(side.rows(start)))
    which, columns = (part.cpu().numpy() for part in torch.nonzero(squares.sub_(error) <= bounds[:, None]).T)
    return which, _exact(side, rows[which], side, columns + start)


def _counted(
    one: _Side, other: _Side, near: Squares, reach: Squares, done: Callable[[], object]
) -> dict[str, float]:
    """The second pass: who lies in whose ball.

    Args:
        one: Real cells.
        other: Synthetic cells.
        near: Squared distances of each real cell to its nearest ones, shape (n, 6).
        reach: Squared radius of each synthetic cell's ball, shape (m,).
        done: Called after each block.
    """
    precise, recalled = np.zeros(len(other.features), bool), np.zeros(len(one.features), bool)
    covered, inside = recalled.copy(), 0
    for pairs in _pairs(one, other):
        rows, columns = pairs.rows, pairs.columns
        balls = pairs.within(near[rows, MANIFOLD_NEIGHBOURS, None], closed=True)
        precise[columns] |= balls.any(dim=0).cpu().numpy()
        balls = pairs.within(near[rows, NEIGHBOURS, None], closed=False)
        covered[rows] |= balls.any(dim=1).cpu().numpy()
        inside += int(balls.sum())
        balls = pairs.within(reach[None, columns], closed=True)
        recalled[rows] |= balls.any(dim=1).cpu().numpy()
        done()
    return {
        "precision": float(precise.mean()),
        "recall": float(recalled.mean()),
        "density": inside / len(other.features) / NEIGHBOURS,
        "coverage": float(covered.mean()),
    }


@dataclass(frozen=True)
class _Pairs:
    """A block of pairs: rows of one side, columns of the other, rough squared distances (b, c)."""

    one: _Side
    other: _Side
    rows: slice
    columns: slice
    squares: Tensor
    error: Tensor

    def within(self, radii: Squares, closed: bool) -> Tensor:
        """Which pairs are nearer than squared radii, (b, 1) or (1, c), or as near where closed."""
        gaps = self.squares - self.one.squared(radii)  # (b, c)
        inside = gaps < -self.error
        rows, columns = (part.cpu().numpy() for part in torch.nonzero(gaps.abs_() <= self.error).T)
        exact = _exact(self.one, rows + self.rows.start, self.other, columns + self.columns.start)
        limit = np.broadcast_to(radii, inside.shape)[rows, columns]
        inside[rows, columns] = torch.from_numpy(exact <= limit if closed else exact < limit).to(
            inside.device
        )
        return inside


def _pairs(one: _Side, other: _Side) -> Iterator[_Pairs]:
    for start in one.starts:
        x, x_lengths = one.at(one.rows(start))
        for begin in other.starts:
            squares, error = _rough(x, x_lengths, *other.at(other.rows(begin)))
            yield _Pairs(one, other, one.rows(start), other.rows(begin), squares, error)
