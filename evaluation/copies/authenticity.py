"""Is a synthetic cell nearer to one training cell than it should be? Two published tests.

Both are told beside the share that unseen real cells score: only against that do they say something.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.copies.detector import CopyDetector
from evaluation.copies.nearest import Neighborhood, neighbors

MEMORIZED = 1 / 3  # of the distance to the second nearest


def ratio_test(found: Neighborhood, unseen: Neighborhood) -> dict[str, Any]:
    """Share of cells at most a third as far from their nearest training cell as from the second.

    Args:
        found: Of the synthetic cells.
        unseen: Of held-out real cells.

    Returns:
        ``share``, ``heldout`` (the share of held-out cells; either None without cells that have two
        training cells), ``median`` and ``heldout_median`` of the ratio, ``below`` (a third).

    Source:
        Yoon et al., Diffusion probabilistic models generalize when they fail to memorize, ICML workshop
        SPIGM 2023; Gu et al. 2310.02664, section 2.
    """
    mine, theirs = ratios(found), ratios(unseen)
    return {
        "share": _mean(mine <= MEMORIZED),
        "heldout": _mean(theirs <= MEMORIZED),
        "median": float(np.median(mine)) if len(mine) else None,
        "heldout_median": float(np.median(theirs)) if len(theirs) else None,
        "below": MEMORIZED,
    }


def ratios(found: Neighborhood) -> NDArray[np.float64]:
    """Nearest over second nearest distance, in [0, 1], of the cells that have both; 1 where both are 0."""
    known = np.isfinite(found.second)
    nearest, second = found.nearest[known], found.second[known]
    return np.divide(nearest, second, out=np.ones_like(nearest), where=second > 0)


def authenticity(found: Neighborhood, detector: CopyDetector) -> dict[str, Any]:
    """Share of synthetic cells that are no noisy copy of a training cell.

    A cell is authentic if it lies farther from its nearest training cell than that cell lies from
    its own nearest training cell, of the same class.

    Args:
        found: Of the synthetic cells, by the detector.
        detector: Knows the training cells and the held-out ones.

    Returns:
        ``share`` and ``heldout``, the share of held-out real cells; either None where no cell can be judged.

    Source:
        Alaa et al. 2102.08921, section 2.4: A = 1 if d(g, D) > d(r*, D without r*), r* nearest to g.
    """
    return {
        "share": _mean(authentic(found, detector)),
        "heldout": _mean(authentic(detector.unseen, detector)),
    }


def authentic(found: Neighborhood, detector: CopyDetector) -> NDArray[np.bool_]:
    """True for each authentic cell, of those with two training cells in their class."""
    known = np.isfinite(found.second)
    rows, back = np.unique(found.row[known], return_inverse=True)
    own = detector.train.subset(rows)
    queries = detector.space.prepare(own, made=True)
    around = neighbors(
        detector.space, queries, own.labels, detector.bank, detector.train.labels, following=1
    )  # the nearest is the cell itself
    return np.asarray(found.nearest[known] > around.second[back])


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
