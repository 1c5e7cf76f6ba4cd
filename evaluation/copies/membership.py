"""Membership inference: can one tell from the synthetic cells which real cells the generator saw?

The attack that needs no more than the synthetic cells: a real cell is taken for a training cell if one
of them lies near it (Hayes et al. 1705.07663, LOGAN, asked this of generators; Chen et al. 1909.03935,
GAN-Leaks, section 4.2, by nearest distance to a set of generated images, as here).
"""

from typing import Any

import numpy as np
import torch
from scipy.stats import norm, rankdata

from cells.cellset import CellSet
from evaluation.copies.nearest import FeatureSpace, Floats, Rows, Space, neighbors
from evaluation.features.encoders import DomainEncoder
from runtime.seeds import numpy_generator

LEAST = 20  # cells a side; with fewer no interval is worth its name
LEVEL = 0.95


def membership(
    synthetic: CellSet, members: CellSet, others: CellSet, space: Space, seed: int = 0
) -> dict[str, Any]:
    """A pooled, class-matched attack: equal numbers of members and others of each class.

    The score of a real cell is its distance to the nearest synthetic cell of its class, divided by the
    median of the class over both sides, so that classes can be pooled.

    Args:
        synthetic: The generated cells.
        members: Real cells that the generator was trained on.
        others: Real cells that it was not trained on; same classes.
        space: Where distances are taken.
        seed: Of the draw from the larger side.

    Returns:
        ``auc`` (0.5: no better than a coin, 1: every member found), ``low`` and ``high`` (95 %, DeLong),
        ``n`` a side, ``classes`` and ``verdict``: words, which claim something only where the interval
        leaves out 0.5; or ``reason`` where the attack says nothing.
    """
    if isinstance(space, FeatureSpace) and space.encoder.fingerprint.get("encoder") == DomainEncoder.name:
        return {
            "reason": "not computable: this encoder was itself fitted on training cells, so it knows them"
        }
    seen, unseen = _matched(synthetic, members, others, seed)
    if len(seen) < LEAST:
        return {"reason": f"not computable, n = {len(seen)} a side (at least {LEAST})"}
    bank = space.prepare(synthetic, made=True)
    everyone = space.prepare(members, made=False)  # not the drawn ones alone: all are cached
    mine = everyone[torch.from_numpy(seen)]
    queries = torch.cat([mine, space.prepare(others.subset(unseen), made=False)])
    labels = np.concatenate([members.labels[seen], others.labels[unseen]])
    found = neighbors(space, queries, labels, bank, synthetic.labels, following=1)
    scores, n = -_scaled(found.nearest, labels), len(seen)
    auc, low, high = delong(scores[:n], scores[n:])
    classes = [members.classes[label] for label in np.unique(labels)]
    return {"auc": auc, "low": low, "high": high, "n": n, "classes": classes, "verdict": words(low, high)}


def delong(positive: Floats, negative: Floats) -> tuple[float, float, float]:
    """Area under the ROC curve with its 95 % interval.

    Args:
        positive: Scores that should be high, shape (m,), m >= 2.
        negative: Scores that should be low, shape (n,), n >= 2.

    Returns:
        The area, and the interval's ends, within [0, 1].

    Source:
        DeLong, DeLong, Clarke-Pearson, Biometrics 44, 1988, equations 4 to 6, by midranks (Sun and Xu,
        IEEE Signal Processing Letters 21, 2014).
    """
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    above = (ranks[:m] - rankdata(positive)) / n  # of each positive: share of negatives below it
    below = 1 - (ranks[m:] - rankdata(negative)) / m  # of each negative: share of positives above it
    area = float(above.mean())
    reach = norm.ppf((1 + LEVEL) / 2) * np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    return area, float(max(0.0, area - reach)), float(min(1.0, area + reach))


def words(low: float, high: float) -> str:
    """What an interval of the area allows to say."""
    if low > 0.5:
        return "training cells can be told from unseen ones"
    if high < 0.5:
        return "no evidence of leakage: training cells lie farther from the synthetic ones than unseen cells"
    return "no evidence that training cells can be told from unseen ones"


def _matched(synthetic: CellSet, members: CellSet, others: CellSet, seed: int) -> tuple[Rows, Rows]:
    """Rows of as many members as others of each class that has synthetic cells, drawn at random."""
    random = numpy_generator(seed, "membership")
    seen: list[Rows] = [np.zeros(0, np.int64)]
    unseen: list[Rows] = [np.zeros(0, np.int64)]
    for label in np.unique(synthetic.labels):
        sides = [np.flatnonzero(cells.labels == label) for cells in (members, others)]
        count = min(map(len, sides))
        seen.append(random.permutation(sides[0])[:count])
        unseen.append(random.permutation(sides[1])[:count])
    return np.concatenate(seen), np.concatenate(unseen)


def _scaled(distances: Floats, labels: Rows) -> Floats:
    scaled = distances.copy()
    for label in np.unique(labels):
        of_class = labels == label
        scaled[of_class] /= max(float(np.median(distances[of_class])), 1e-6)
    return scaled
