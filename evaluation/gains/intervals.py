"""95% intervals of a mean difference: over units, over units and test cells at once, over folds.

A unit is a seed, with a classifier of its own. All units answer the same test cells, so differences of
correctness form a table, units by cells, and both its sides are samples: other seeds and other cells
would have given other figures. An interval over units alone holds for these test cells only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95
BOOTSTRAPPED = 15  # from so many units on the interval is BCa; below, a bootstrap of units is too narrow
RESAMPLES = 1999

Floats = NDArray[np.float64]
Bounds = tuple[float | None, float | None]


def interval(values: Floats, level: float = LEVEL) -> Bounds:
    """The interval of a mean by Student's t, at 95% by default; (None, None) for fewer than two values."""
    n = len(values)
    if n < 2:
        return None, None
    return _around(float(values.mean()), float(values.var(ddof=1)) / n, n - 1, level)


def two_way_interval(tables: Sequence[Floats]) -> Bounds:
    """The 95% interval of a mean over units and test cells, both taken as samples.

    Below 15 units by Student's t, from there on by the BCa bootstrap.

    Args:
        tables: Differences per class, each of shape (units, cells of the class). What is estimated is
            the mean over classes of the mean over units and cells.

    Returns:
        Lower and upper bound; (None, None) where there are fewer than two units, or two cells of a class.
    """
    if min(min(table.shape) for table in tables) < 2:
        return None, None
    if len(tables[0]) < BOOTSTRAPPED:
        return t_two_way(tables)
    return bca_two_way(tables)


def t_two_way(tables: Sequence[Floats]) -> Bounds:
    """Student's t with the variance of a crossed table, units by cells, cells stratified by class.

    With x = unit + cell + rest in each class, the mean has the variance var(unit)/n + var(cell)/m +
    var(rest)/(nm). The spread of the unit means over n holds the first and the third term, that of the
    cell means over m the second and the third, so the third, from the residuals, is taken off once.
    Degrees of freedom by Satterthwaite's rule.

    Args:
        tables: As for `two_way_interval`, at least two units and two cells of each class.

    Source:
        The variance and the subtraction: Owen, Annals of Applied Statistics 1, 2007 (The pigeonhole
        bootstrap), section 2. The same design, readers by cases, and t: Hillis, Statistics in Medicine
        26, 2007. Satterthwaite, Biometrics Bulletin 2, 1946.
    """
    units, share = len(tables[0]), 1 / len(tables) ** 2
    means = np.mean([table.mean(axis=1) for table in tables], axis=0)  # (units,)
    parts = [(float(means.var(ddof=1)) / units, units - 1)]  # a variance, its degrees of freedom
    of_cells = of_rest = 0.0
    for table in tables:
        cells = table.shape[1]
        columns = table.mean(axis=0)  # (cells,)
        rest = table - table.mean(axis=1, keepdims=True) - columns + table.mean()
        freedom = (units - 1) * (cells - 1)
        between = share * float(columns.var(ddof=1)) / cells
        within = share * float((rest**2).sum()) / freedom / (units * cells)
        parts += [(between, cells - 1), (within, freedom)]
        of_cells, of_rest = of_cells + between, of_rest + within
    # Never below what either side alone says: the difference of two estimates can fall below zero.
    variance = max(parts[0][0] + of_cells - of_rest, parts[0][0], of_cells)
    spread = sum(v**2 / freedom for v, freedom in parts)
    return _around(float(means.mean()), variance, variance**2 / spread if spread else units - 1)


def bca_two_way(tables: Sequence[Floats]) -> Bounds:
    """BCa bootstrap that resamples units, and apart from them the cells of each class.

    It is a little too wide: resampling both sides counts var(rest)/(nm) three times.

    Args:
        tables: As for `two_way_interval`, at least two units and two cells of each class.

    Source:
        Owen, Annals of Applied Statistics 1, 2007 (pigeonhole bootstrap). BCa: Efron, JASA 82, 1987.
    """
    if all(np.ptp(table) == 0 for table in tables):
        mean = float(np.mean([table.mean() for table in tables]))
        return mean, mean
    margins = [np.mean([t.mean(axis=1) for t in tables], axis=0), *(t.mean(axis=0) for t in tables)]
    # Without any spread of the margins the acceleration is 0 / 0.
    method = "BCa" if any(np.ptp(margin) > 1e-12 for margin in margins) else "percentile"

    def statistic(units: NDArray[np.int64], *cells: NDArray[np.int64], axis: int) -> Floats:
        weights = (units[..., None] == np.arange(len(tables[0]))).mean(axis=-2)  # (..., units)
        rows = [weights @ table for table in tables]  # (..., cells)
        means = [np.take_along_axis(r, c, axis).mean(axis) for r, c in zip(rows, cells, strict=True)]
        return np.mean(means, axis=0)

    sides = (np.arange(len(tables[0])), *(np.arange(table.shape[1]) for table in tables))
    found = stats.bootstrap(
        sides,
        statistic,
        n_resamples=RESAMPLES,
        batch=200,
        confidence_level=LEVEL,
        method=method,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def nadeau_bengio(differences: Sequence[float] | Floats, test_to_train: float) -> dict[str, Any]:
    """The corrected resampled t test: for the folds of a (repeated) k-fold or of random splits.

    Folds share training cells, so their differences are alike and the plain t test finds too much.

    Args:
        differences: One difference a fold, over all repeats, shape (n,), n >= 1.
        test_to_train: Test cells over training cells of one split; 1 / (k - 1) for k folds. Above 0.

    Returns:
        `mean`, `low` and `high` (95%), `p` (two-sided) and `n`. With fewer than two folds there is no
        interval, and p is 1.

    Source:
        Nadeau and Bengio, Machine Learning 52, 2003: the variance s²/n of the mean becomes
        (1/n + test_to_train) s². For repeated folds: Bouckaert and Frank, PAKDD 2004.
    """
    assert test_to_train > 0
    values = np.asarray(differences, dtype=np.float64)
    n, mean = len(values), float(values.mean())
    if n < 2:
        return {"mean": mean, "low": None, "high": None, "p": 1.0, "n": n}
    variance = (1 / n + test_to_train) * float(values.var(ddof=1))
    low, high = _around(mean, variance, n - 1)
    if variance == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = float(2 * stats.t.sf(abs(mean) / np.sqrt(variance), n - 1))
    return {"mean": mean, "low": low, "high": high, "p": p, "n": n}


def _around(mean: float, variance: float, freedom: float, level: float = LEVEL) -> tuple[float, float]:
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    return mean - reach, mean + reach
