"""Distances between all cells of two small sides, and what precision, recall, density and coverage
read from them. Copies of a cell are at distance 0 and as far from every third cell as it is."""

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Features = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

MANIFOLD_NEIGHBOURS = 3  # precision and recall: Kynkäänniemi et al., 1904.06991
NEIGHBOURS = 5  # density and coverage: Naeem et al., 2002.09797


def identities(*sides: Features) -> list[Rows]:
    """A number for each cell, equal for cells of equal features, on whichever side they are.

    Args:
        sides: Shapes (n, d), (m, d), ….

    Returns:
        Shapes (n,), (m,), …; numbers from 0, in the order of first appearance.
    """
    known: dict[bytes, int] = {}
    return [
        np.array([known.setdefault(_mark(row), len(known)) for row in side], dtype=np.int64) for side in sides
    ]


def distance_matrices(real: Features, synthetic: Features) -> tuple[Tensor, Tensor, Tensor]:
    """Euclidean distances within the real side, between the sides, and within the synthetic one.

    Products of matrices leave noise where a distance is 0 or equal to another one, and the balls of
    k-th neighbours end exactly there. So each distinct cell is compared with each other one once.

    Args:
        real: Shape (n, d).
        synthetic: Shape (m, d).

    Returns:
        Float64, shapes (n, n), (n, m), (m, m).
    """
    of_real, of_synthetic = identities(real, synthetic)
    _, first = np.unique(np.concatenate([of_real, of_synthetic]), return_index=True)
    distinct = torch.from_numpy(np.concatenate([real, synthetic]).astype(np.float64)[first])  # (u, d)
    every = torch.cdist(distinct, distinct)  # (u, u)
    every = ((every + every.T) / 2).fill_diagonal_(0)
    rows, columns = torch.from_numpy(of_real), torch.from_numpy(of_synthetic)
    return every[rows][:, rows], every[rows][:, columns], every[columns][:, columns]


def radii(within: Tensor, neighbours: int) -> Tensor:
    """Distance to the k-th nearest other cell, shape (n,); the cell itself is the nearest."""
    return within.topk(neighbours + 1, dim=1, largest=False).values[:, -1]


def density_within(between: Tensor, reach: Tensor, neighbours: int) -> float:
    """Density from distances (n, m) and the real cells' radii (n,)."""
    return float((between < reach[:, None]).sum(dim=0).double().mean()) / neighbours


def coverage_within(between: Tensor, reach: Tensor) -> float:
    """Coverage from distances (n, m) and the real cells' radii (n,)."""
    return float((between.min(dim=1).values < reach).double().mean())


def manifold_within(real: Tensor, between: Tensor, synthetic: Tensor) -> dict[str, float]:
    """Precision, recall, density and coverage from the matrices of `distance_matrices`."""
    near = real.topk(NEIGHBOURS + 1, dim=1, largest=False).values  # (n, k + 1), ascending
    reach_synthetic = radii(synthetic, MANIFOLD_NEIGHBOURS)
    within_real = between <= near[:, MANIFOLD_NEIGHBOURS, None]  # (n, m)
    within_synthetic = between <= reach_synthetic[None]  # (n, m)
    return {
        "precision": float(within_real.any(dim=0).double().mean()),
        "recall": float(within_synthetic.any(dim=1).double().mean()),
        "density": density_within(between, near[:, NEIGHBOURS], NEIGHBOURS),
        "coverage": coverage_within(between, near[:, NEIGHBOURS]),
    }


def _mark(row: NDArray[Any]) -> bytes:
    content = row.astype(np.float64) + 0.0  # -0.0 becomes 0.0
    return hashlib.blake2b(content.tobytes(), digest_size=16).digest()
