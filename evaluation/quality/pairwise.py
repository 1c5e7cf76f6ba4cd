"""Kernels and distances of two small sides, taken once for metrics of many of their subsets.

Repeated halves of the reference then cost an index and not another pass over the features.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch_fidelity.metric_kid import kernel_poly, mmd2

from evaluation.quality.distances import Features, Rows, distance_matrices, manifold_within
from evaluation.quality.metrics import checked, kid_subsets, legacy_seed


class Pairwise:
    """Kernels and distances within and between two sides, for metrics of many subsets.

    Args:
        real: Shape (n, d).
        synthetic: Shape (m, d), same encoder.
    """

    def __init__(self, real: Features, synthetic: Features) -> None:
        real, synthetic = checked(real, synthetic, 1)
        self.kernel_rr = kernel_poly(real, real)
        self.kernel_rs = kernel_poly(real, synthetic)
        self.kernel_ss = kernel_poly(synthetic, synthetic)
        self.distance_rr, self.distance_rs, self.distance_ss = distance_matrices(real, synthetic)

    def kid(self, seed: int = 0) -> float:
        """`kid` of the two sides."""
        n, m = self.kernel_rs.shape
        size, count = kid_subsets(n, m)
        random = np.random.RandomState(legacy_seed(seed))  # torch-fidelity's generator and order
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

    def kid_parts(self, rows: Rows, columns: Rows) -> float:
        """KID of a part of each side, of any two sizes: the mean kernel over distinct cells.

        Source:
            Gretton et al., JMLR 13, 2012, equation 3.
        """
        parts = (
            (self.kernel_rr, rows, rows),
            (self.kernel_ss, columns, columns),
            (self.kernel_rs, rows, columns),
        )
        real, synthetic, between = (_part(*part) for part in parts)
        within = [
            (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1))
            for kernel in (real, synthetic)
        ]
        return float(sum(within) - 2 * between.mean())

    def kid_halves(self, rows: Rows, others: Rows) -> float:
        """KID of two disjoint, equally large parts of the real side."""
        return _mmd(
            _part(self.kernel_rr, rows, rows),
            _part(self.kernel_rr, rows, others),
            _part(self.kernel_rr, others, others),
        )

    def manifold(self, rows: Rows | None = None, columns: Rows | None = None) -> dict[str, float]:
        """Precision, recall, density and coverage of the two sides, or of a part of each."""
        return manifold_within(
            _part(self.distance_rr, rows, rows),
            _part(self.distance_rs, rows, columns),
            _part(self.distance_ss, columns, columns),
        )

    def manifold_halves(self, rows: Rows, others: Rows) -> dict[str, float]:
        """The same four of two disjoint parts of the real side, the second taken as synthetic."""
        return manifold_within(
            _part(self.distance_rr, rows, rows),
            _part(self.distance_rr, rows, others),
            _part(self.distance_rr, others, others),
        )


def _mmd(kernel_xx: NDArray[Any], kernel_xy: NDArray[Any], kernel_yy: NDArray[Any]) -> float:
    return float(mmd2(kernel_xx, kernel_xy, kernel_yy))


def _part(matrix: Any, rows: Rows | None, columns: Rows | None) -> Any:
    if rows is not None:
        matrix = matrix[rows]
    return matrix if columns is None else matrix[:, columns]
