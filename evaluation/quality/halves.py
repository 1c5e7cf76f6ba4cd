"""Figures over random halves of two sides: what real cells score, and how sure a figure is.

Three readings of each metric come from one set of halvings. *Matched*: half of the reference against
as many synthetic cells. *Floor*: the two halves of the reference against each other. *Spread*: half
of either side, for the standard error of the figure on all cells.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation.quality.distances import Features, Rows
from runtime.seeds import numpy_generator, seed_of

Entry = dict[str, Any]
Values = dict[str, float]

CONFIDENCE = 0.95
RANGES = {
    "frechet": (0.0, np.inf),
    "density": (0.0, np.inf),
    **dict.fromkeys(("precision", "recall", "coverage"), (0.0, 1.0)),
}
SHARES = {"precision": 1, "recall": 0, "coverage": 0}  # of which side they are a share


@dataclass(frozen=True)
class Side:
    """Features of one side and the class of each row."""

    features: Features  # (n, d)
    labels: NDArray[np.int64]  # (n,)

    def at(self, rows: Rows) -> "Side":
        """Some of the rows."""
        return Side(self.features[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Halving:
    """Rows of the reference and of the synthetic side, the same share of every class."""

    rows: Rows  # half of the reference
    others: Rows  # its other half
    columns: Rows  # as many synthetic cells as `rows`, or all where there are fewer
    half: Rows  # half of the synthetic cells; `columns` where both sides are equally large

    @property
    def alike(self) -> bool:
        """Whether `half` is `columns`."""
        return np.array_equal(self.half, self.columns)


# Matched, floor and spread of some metrics.
Score = Callable[[Halving], tuple[Values, Values, Values]]


def halved(real: Side, made: Side, seed: int) -> Halving:
    """Two disjoint halves of the reference and parts of the synthetic side."""
    random = numpy_generator(seed)
    parts: list[tuple[Rows, Rows, Rows, Rows]] = []
    for label in np.unique(real.labels):
        of_real = random.permutation(np.flatnonzero(real.labels == label))
        of_made = random.permutation(np.flatnonzero(made.labels == label))
        middle = min(len(of_real) // 2, len(of_made))
        pieces = (
            of_real[:middle],
            of_real[middle : 2 * middle],
            of_made[:middle],
            of_made[: len(of_made) // 2],
        )
        parts.append(pieces)
    return Halving(*(np.concatenate(pieces) for pieces in zip(*parts, strict=True)))


def entries(
    values: Mapping[str, float],
    real: Side,
    made: Side,
    score: Score,
    least: int,
    repeats: int,
    seed: int,
    whole: tuple[int, int] | None = None,
) -> dict[str, Entry]:
    """Each value with its interval, its matched score and its floor.

    Args:
        values: Metrics of all cells.
        real: Reference cells that are halved.
        made: Synthetic cells that are halved.
        score: Scores one halving.
        least: Cells of a half below which nothing is computed.
        repeats: Halvings.
        seed: Of the halvings.
        whole: Cells of either side behind `values`, where `real` and `made` are only some of them.
    """
    halvings = [halved(real, made, seed_of(seed, "halves", i)) for i in range(repeats)]
    n = min((min(len(h.rows), len(h.half)) for h in halvings), default=0)
    scores = [score(halving) for halving in halvings] if n >= least else []
    counts = whole or (len(real), len(made))
    # Of the thinned sides the spread is too large by the root of how much they were thinned.
    scale = max(part / count for part, count in zip((len(real), len(made)), counts, strict=True)) ** 0.5
    found: dict[str, Entry] = {}
    for metric, value in values.items():
        spread = [reading[2][metric] for reading in scores if metric in reading[2]]
        floor = _share_error(value, counts[SHARES[metric]]) if metric in SHARES else 0.0
        found[metric] = {"value": value, **interval(value, spread, scale, RANGES.get(metric), floor)}
        found[metric] |= {"n_reference": counts[0], "n_synthetic": counts[1]}
        for side, name in enumerate(("matched", "floor")):
            cells = len(halvings[0].rows) if halvings else 0
            found[metric][name] = summary([s[side][metric] for s in scores if metric in s[side]], cells)
    return found


def interval(
    value: float,
    halves: Sequence[float],
    scale: float = 1.0,
    within: tuple[float, float] | None = None,
    least: float = 0.0,
) -> Entry:
    """Where a figure would lie with other cells of the same two distributions.

    Half of the cells, drawn without replacement, differ from all of them by as much as all of them
    differ from the distribution: the delete-d jackknife with d = n / 2. The bias of a small n moves
    all halves alike and does not widen it, and no cell is drawn twice, which would put it at distance 0
    of itself and so spoil what a bootstrap says of k-NN balls and of the Fréchet distance.

    Args:
        value: The figure on all cells.
        halves: The same of half of either side, repeated.
        scale: By which the spread of the halves is multiplied.
        within: Least and largest value that the figure can take.
        least: Standard error that it has at the least: a share of 1 in every half is not certain.

    Returns:
        ``low``, ``high`` (95 %, Student's t with one degree of freedom less than repeats) and
        ``error``, the standard error; all None with fewer than two repeats.

    Source:
        Shao and Wu, Annals of Statistics 17, 1989, section 2.
    """
    if len(halves) < 2:
        return {"low": None, "high": None, "error": None}
    error = max(float(np.std(halves, ddof=1)) * scale, least)
    return {**around(value, error, len(halves) - 1, within), "error": error}


def around(
    value: float, error: float, freedom: int, within: tuple[float, float] | None = None
) -> dict[str, float]:
    """95 % interval by Student's t: ``low`` and ``high``, cut to the values that can be."""
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    least, most = within or (-np.inf, np.inf)
    return {
        "low": float(max(value - reach, min(least, value))),
        "high": float(min(value + reach, max(most, value))),
    }


def class_means(per_class: Mapping[str, Mapping[str, Entry]]) -> dict[str, Entry]:
    """Mean over classes of each metric, over those classes where it could be computed.

    Args:
        per_class: Class -> metric -> entry, as `entries` returns it.

    Returns:
        Metric -> ``value``, ``low``, ``high``, ``error``, ``floor`` (the floors' mean), ``classes``
        (names of those it is over) and ``of`` (how many there are); or ``reason`` where there are none.
        The classes' cells are different ones, so their squared errors add.
    """
    found: dict[str, Entry] = {}
    for metric in next(iter(per_class.values()), {}):
        known = {name: one[metric] for name, one in per_class.items() if "value" in one[metric]}
        if not known:
            found[metric] = {"reason": f"not computable for any of {len(per_class)} classes"}
            continue
        value = float(np.mean([entry["value"] for entry in known.values()]))
        errors = [entry["error"] for entry in known.values()]
        bounds: Entry = {"low": None, "high": None, "error": None}
        if None not in errors:
            error = float(np.sqrt(np.sum(np.square(errors)))) / len(known)
            freedom = min(entry["matched"]["repeats"] for entry in known.values()) - 1
            bounds = {**around(value, error, freedom, RANGES.get(metric)), "error": error}
        floors = [entry["floor"]["value"] for entry in known.values() if "value" in entry["floor"]]
        floor = float(np.mean(floors)) if len(floors) == len(known) else None
        found[metric] = {
            "value": value,
            **bounds,
            "floor": floor,
            "classes": list(known),
            "of": len(per_class),
        }
    return found


def _share_error(share: float, n: int) -> float:
    """Standard error of a share of n independent cells, above 0 at 0 and 1 (Wilson, 1927)."""
    found = stats.binomtest(round(share * n), n).proportion_ci(CONFIDENCE, method="wilson")
    return float(found.high - found.low) / 2 / float(stats.norm.ppf((1 + CONFIDENCE) / 2))


def summary(scores: Sequence[float], n: int) -> Entry:
    """Mean and 95 % quantiles of what repeated draws of n cells gave; a reason where there is none."""
    if not scores:
        return {"reason": f"not computable, n = {n}"}
    low, high = np.quantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {
        "value": float(np.mean(scores)),
        "low": float(low),
        "high": float(high),
        "n": n,
        "repeats": len(scores),
    }
