"""The Fréchet distance of infinitely many cells, from its values on ever smaller subsets."""

from collections.abc import Sequence

import numpy as np

from evaluation.quality.distances import Rows
from evaluation.quality.halves import Side
from evaluation.quality.metrics import Factor
from runtime.seeds import numpy_generator, seed_of

PARTS = (1.5, 2.0, 3.0, 4.0)  # n over the cells of a subset
LEAST = 5  # cells of either side in the smallest subset


def frechet_at_infinity(
    real: Side, made: Side, whole: float, draws: int, seed: int
) -> tuple[float, list[tuple[int, float]]]:
    """The intercept of the Fréchet distance regressed on 1/n: what it would be without its bias.

    Both sides shrink together, each class by the same share, since either adds a bias that falls with
    its own n. (The source shrinks the synthetic side alone, against fixed statistics of many real images.)
    The line holds where a subset has more cells than features; below, it is a rough guide.

    Args:
        real: Reference cells.
        made: Synthetic cells.
        whole: Their Fréchet distance.
        draws: Random subsets of each size.
        seed: Of the subsets.

    Returns:
        The intercept, and the points (reference cells, mean distance) that it is drawn through.

    Source:
        Chong and Forsyth, 1911.07023, sections 3 and 4: ordinary least squares on 1/n.
    """
    points = [(1.0, len(real), whole)]
    for i in range(draws):
        orders = [_orders(side, seed_of(seed, name, i)) for side, name in ((real, "real"), (made, "made"))]
        for parts in PARTS:
            rows, columns = (_prefix(order, parts) for order in orders)
            distance = Factor.of(real.features[rows]).frechet(Factor.of(made.features[columns]))
            share = (len(real) / len(rows) + len(made) / len(columns)) / 2  # parts, but for rounding
            points.append((share, len(rows), distance))
    slope_and_intercept = np.polyfit([p[0] for p in points], [p[2] for p in points], 1)
    sizes = sorted({p[1] for p in points}, reverse=True)
    means = [(size, float(np.mean([p[2] for p in points if p[1] == size]))) for size in sizes]
    return float(slope_and_intercept[1]), means


def enough(real: Side, made: Side) -> bool:
    """Whether the smallest subset of either side has `LEAST` cells."""
    return all(len(_prefix(_orders(side, 0), max(PARTS))) >= LEAST for side in (real, made))


def _orders(side: Side, seed: int) -> list[Rows]:
    """The rows of each class in a random order."""
    random = numpy_generator(seed)
    return [random.permutation(np.flatnonzero(side.labels == label)) for label in np.unique(side.labels)]


def _prefix(orders: Sequence[Rows], parts: float) -> Rows:
    """The first rows of each class, 1/parts of them."""
    return np.concatenate([order[: round(len(order) / parts)] for order in orders])
