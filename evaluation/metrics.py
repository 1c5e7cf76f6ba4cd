"""Fidelity metrics on features: pure functions of two arrays, and a fast form for many subsets.

Fréchet distance, KID and precision/recall are torch-fidelity's own functions; density and
coverage follow Naeem et al. `Factor` and `Pairwise` give the same numbers (the tests hold them
together) at a fraction of the cost: they take the roots, kernels and distances once, so that
repeated halves of the reference cost an index and not another pass over the features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kernel_poly, kid_features_to_metric, mmd2
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

Features = NDArray[np.floating[Any]]
Rows = NDArray[np.int64]

KID_SUBSET = 1000
KID_SUBSETS = 10
MANIFOLD_NEIGHBOURS = 3  # precision and recall: Kynkäänniemi et al., 1904.06991
NEIGHBOURS = 5  # density and coverage: Naeem et al., 2002.09797


def frechet(real: Features, synthetic: Features) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features.

    Args:
        real: Shape (n, d), n >= 2.
        synthetic: Shape (m, d), m >= 2, same encoder.

    Returns:
        A squared distance in the features' units, >= 0 up to rounding; biased upward for small n.

    Source:
        Heusel et al., 1706.08500, equation 6, by torch-fidelity. It is the FID only on
        torch-fidelity's Inception features.
    """
    real, synthetic = _checked(real, synthetic, 2)
    # float64: in torch-fidelity's own float32 the mean of large features loses four digits.
    statistics = [fid_features_to_statistics(torch.from_numpy(side)) for side in (real, synthetic)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kid(real: Features, synthetic: Features, seed: int = 0) -> float:
    """Kernel distance: unbiased squared MMD under a cubic kernel; may fall slightly below 0.

    Sides of equal size up to 1000 are one subset, which is the exact estimate; otherwise it is the
    mean over 10 random subsets of ``min(n, m, 1000)`` cells.

    Args:
        real: Shape (n, d), n >= 2.
        synthetic: Shape (m, d), m >= 2, same encoder.
        seed: Of the subsets.

    Source:
        Bińkowski et al., 1801.01401, section 4 and equation 4, by torch-fidelity.
    """
    real, synthetic = _checked(real, synthetic, 2)
    size, count = _kid_subsets(len(real), len(synthetic))
    result = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(synthetic),
        kid_subsets=count,
        kid_subset_size=size,
        rng_seed=_legacy_seed(seed),
        verbose=False,
    )
    return float(result[KEY_METRIC_KID_MEAN])


def precision_recall(
    real: Features, synthetic: Features, neighbours: int = MANIFOLD_NEIGHBOURS
) -> tuple[float, float]:
    """Share of synthetic cells within the real manifold, and of real cells within the synthetic.

    Args:
        real: Shape (n, d), n > neighbours.
        synthetic: Shape (m, d), m > neighbours, same encoder.
        neighbours: k. A ball reaches the k-th nearest other cell of the same side.

    Returns:
        Precision and recall, both in [0, 1].

    Source:
        Kynkäänniemi et al., 1904.06991, equations 1 and 2, by torch-fidelity.
    """
    real, synthetic = _checked(real, synthetic, neighbours + 1)
    result = prc_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        prc_neighborhood=neighbours,
        verbose=False,
    )
    return float(result[KEY_METRIC_PRECISION]), float(result[KEY_METRIC_RECALL])


def density(real: Features, synthetic: Features, neighbours: int = NEIGHBOURS) -> float:
    """Mean number of real balls, over k, that a synthetic cell lies in.

    Args:
        real: Shape (n, d), n > neighbours.
        synthetic: Shape (m, d), same encoder.
        neighbours: k. A ball reaches the k-th nearest other real cell.

    Returns:
        Unitless, >= 0; about 1 where both come from the same distribution.

    Source:
        Naeem et al., 2002.09797, equation 4.
    """
    real, synthetic = _checked(real, synthetic, 1, neighbours + 1)
    radii = _radii(_distances(real, real), neighbours)
    return _density(_distances(real, synthetic), radii, neighbours)


def coverage(real: Features, synthetic: Features, neighbours: int = NEIGHBOURS) -> float:
    """Fraction of real cells with a synthetic cell inside their k-NN ball.

    Args:
        real: Shape (n, d), n > neighbours.
        synthetic: Shape (m, d), same encoder.
        neighbours: k. A ball reaches the k-th nearest other real cell.

    Returns:
        Unitless, in [0, 1]; 1 means that no real mode was missed.

    Source:
        Naeem et al., 2002.09797, equation 5.
    """
    real, synthetic = _checked(real, synthetic, 1, neighbours + 1)
    return _coverage(_distances(real, synthetic), _radii(_distances(real, real), neighbours))


@dataclass(frozen=True)
class Factor:
    """Mean and a root of the covariance: ``root.T @ root = covariance``, shape (min(n, d), d)."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Features) -> "Factor":
        """From features, shape (n, d), n >= 2."""
        x = torch.from_numpy(np.asarray(features, dtype=np.float64))  # (n, d)
        mean = x.mean(dim=0)
        centered = (x - mean) / (len(x) - 1) ** 0.5
        return cls(mean, torch.linalg.qr(centered, mode="r").R if len(x) > x.shape[1] else centered)

    def frechet(self, other: "Factor") -> float:
        """The same distance as `frechet`, several times faster.

        With ``A.T A`` and ``B.T B`` the covariances, the trace of the root of their product is the
        nuclear norm of ``A B.T``: a symmetric eigenproblem of the smaller side, where
        torch-fidelity solves a general one of the features' width.
        """
        product = self.root @ other.root.T
        gram = product @ product.T if len(product) <= product.shape[1] else product.T @ product
        cross = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum()
        spread = self.root.square().sum() + other.root.square().sum()
        return float((self.mean - other.mean).square().sum() + spread - 2 * cross)


class Pairwise:
    """Kernels and distances within and between two sides, for metrics of many subsets.

    Args:
        real: Shape (n, d).
        synthetic: Shape (m, d), same encoder.
    """

    def __init__(self, real: Features, synthetic: Features) -> None:
        real, synthetic = _checked(real, synthetic, 1)
        self.kernel_rr = kernel_poly(real, real)
        self.kernel_rs = kernel_poly(real, synthetic)
        self.kernel_ss = kernel_poly(synthetic, synthetic)
        self.distance_rr = _distances(real, real)
        self.distance_rs = _distances(real, synthetic)
        self.distance_ss = _distances(synthetic, synthetic)

    def kid(self, seed: int = 0) -> float:
        """`kid` of the two sides."""
        n, m = self.kernel_rs.shape
        size, count = _kid_subsets(n, m)
        random = np.random.RandomState(_legacy_seed(seed))  # torch-fidelity's generator and order
        values = []
        for _ in range(count):
            rows, columns = (
                random.choice(n, size, replace=False),
                random.choice(m, size, replace=False),
            )
            values.append(self.kid_matched(rows, columns))
        return float(np.mean(values))

    def kid_matched(self, rows: Rows, columns: Rows) -> float:
        """KID of as many real as synthetic cells, as one subset."""
        return _mmd(
            _part(self.kernel_rr, rows, rows),
            _part(self.kernel_rs, rows, columns),
            _part(self.kernel_ss, columns, columns),
        )

    def kid_halves(self, rows: Rows, others: Rows) -> float:
        """KID of two disjoint, equally large parts of the real side."""
        return _mmd(
            _part(self.kernel_rr, rows, rows),
            _part(self.kernel_rr, rows, others),
            _part(self.kernel_rr, others, others),
        )

    def manifold(self, rows: Rows | None = None, columns: Rows | None = None) -> dict[str, float]:
        """Precision, recall, density and coverage of the two sides, or of a part of each."""
        return _manifold(
            _part(self.distance_rr, rows, rows),
            _part(self.distance_rs, rows, columns),
            _part(self.distance_ss, columns, columns),
        )

    def manifold_halves(self, rows: Rows, others: Rows) -> dict[str, float]:
        """The same four of two disjoint parts of the real side, the second taken as synthetic."""
        return _manifold(
            _part(self.distance_rr, rows, rows),
            _part(self.distance_rr, rows, others),
            _part(self.distance_rr, others, others),
        )


def _checked(
    real: Features, synthetic: Features, least: int, least_real: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    if real.ndim != 2 or synthetic.ndim != 2 or real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"features must be (n, d) of one encoder, but are {real.shape} and {synthetic.shape}."
        )
    if len(real) < (least_real or least) or len(synthetic) < least:
        raise ValueError(
            f"too few cells: {len(real)} real and {len(synthetic)} synthetic, at least "
            f"{least_real or least} and {least} are needed."
        )
    return x, y


def _kid_subsets(n: int, m: int) -> tuple[int, int]:
    size = min(n, m, KID_SUBSET)
    return size, 1 if n == m == size else KID_SUBSETS


def _legacy_seed(seed: int) -> int:
    return seed % 2**32


def _mmd(kernel_xx: NDArray[Any], kernel_xy: NDArray[Any], kernel_yy: NDArray[Any]) -> float:
    return float(mmd2(kernel_xx, kernel_xy, kernel_yy))


def _part(matrix: Any, rows: Rows | None, columns: Rows | None) -> Any:
    if rows is not None:
        matrix = matrix[rows]
    return matrix if columns is None else matrix[:, columns]


def _distances(x: Features, y: Features) -> Tensor:
    return torch.cdist(torch.from_numpy(np.asarray(x)), torch.from_numpy(np.asarray(y)))


def _radii(within: Tensor, neighbours: int) -> Tensor:
    """Distance to the k-th nearest other cell, shape (n,); the cell itself is the nearest."""
    return within.topk(neighbours + 1, dim=1, largest=False).values[:, -1]


def _density(between: Tensor, radii: Tensor, neighbours: int) -> float:
    return float((between < radii[:, None]).sum(dim=0).double().mean()) / neighbours


def _coverage(between: Tensor, radii: Tensor) -> float:
    return float((between.min(dim=1).values < radii).double().mean())


def _manifold(real: Tensor, between: Tensor, synthetic: Tensor) -> dict[str, float]:
    near = real.topk(NEIGHBOURS + 1, dim=1, largest=False).values  # (n, k + 1), ascending
    reach_synthetic = _radii(synthetic, MANIFOLD_NEIGHBOURS)
    within_real = between <= near[:, MANIFOLD_NEIGHBOURS, None]  # (n, m)
    within_synthetic = between <= reach_synthetic[None]  # (n, m)
    return {
        "precision": float(within_real.any(dim=0).double().mean()),
        "recall": float(within_synthetic.any(dim=1).double().mean()),
        "density": _density(between, near[:, NEIGHBOURS], NEIGHBOURS),
        "coverage": _coverage(between, near[:, NEIGHBOURS]),
    }
