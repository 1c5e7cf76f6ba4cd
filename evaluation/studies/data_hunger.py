"""Data hunger: ever more real cells of the rare classes, and how many of them a synthetic set is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from sklearn.isotonic import IsotonicRegression

from cells.long_tail import FEWEST, LongTailSettings
from evaluation.gains.intervals import interval
from evaluation.gains.statistics import CHOSEN_BY, Trials, holm, paired, verdict
from evaluation.studies.strategies import strategy_of
from runtime.config import Settings
from runtime.errors import InputError

if TYPE_CHECKING:
    from evaluation.studies.settings import StudySettings

GRID = 500  # sizes between the smallest and the largest at which the interval is looked for
Results = Mapping[str, Any]
Values = NDArray[np.float64]
Bound = dict[str, float]  # {"images": n}, or {"more_than": n} or {"fewer_than": n} beyond what was tried


class HungerDesign(Settings):
    """A study for each number of real training cells in the rare classes; fewer cells are among the more.

    Attributes:
        counts: Real training cells of each of the classes, ascending.
        classes: Which classes; None for the rare ones of the study, which are then to be named.
        draws: How often the real cells are drawn. With one draw the unit is the seed and the answer holds for
            these real cells; with more the unit is the draw.
    """

    kind: Literal["data_hunger"] = "data_hunger"
    counts: tuple[Annotated[int, Field(ge=FEWEST)], ...] = Field((10, 20, 50, 100, 200), min_length=2)
    classes: tuple[str, ...] | None = None
    draws: Annotated[int, Field(ge=1)] = 1

    @field_validator("counts")
    @classmethod
    def _ascending(cls, counts: tuple[int, ...]) -> tuple[int, ...]:
        if list(counts) != sorted(set(counts)):
            raise ValueError("give numbers that ascend, e.g. [10, 20, 50]")
        return counts

    def studies(self, settings: StudySettings) -> dict[str, StudySettings]:
        """A study per count and draw, which differ in the training cells alone.

        Raises:
            InputError: If no class is named, the split has a long tail of its own, or there is nothing to
                compare.
        """
        classes = self.classes or settings.rare
        if not classes:
            raise InputError("design.kind=data_hunger: name the classes, e.g. rare=[basophil].")
        if settings.split.long_tail is not None or settings.split.file is not None:
            raise InputError(
                "design.kind=data_hunger: says itself how many cells train keeps; leave out "
                "split.long_tail and split.file."
            )
        models = [s for s in settings.strategies if settings.models(s)]
        if not models or len(models) == len(settings.strategies):
            raise InputError(
                "design.kind=data_hunger: compares strategies with a generative model to strategies without; "
                "name at least one of each, e.g. strategies=[real,diffusion]."
            )
        return {
            name: self._study(settings, classes, count, draw)
            for name, (count, draw) in self._points().items()
        }

    def _points(self) -> dict[str, tuple[int, int]]:
        several = self.draws > 1
        return {
            f"real-{count}" + f"-draw-{draw}" * several: (count, draw)
            for draw in range(self.draws)
            for count in self.counts
        }

    def _study(self, settings: StudySettings, classes: Sequence[str], count: int, draw: int) -> StudySettings:
        tail = LongTailSettings(counts=dict.fromkeys(classes, count), seed=draw)
        split = settings.split.model_copy(update={"long_tail": tail})
        rare = settings.rare or tuple(classes)
        return settings.model_copy(update={"split": split, "rare": rare, "design": None, "out": None})

    def found(self, studies: Mapping[str, Results]) -> dict[str, Any]:
        """What the studies show together.

        Args:
            studies: Results of each, by name.

        Returns:
            JSON values: ``kind``, ``metric``, ``counts``, ``unit`` (``seed`` or ``draw``), ``n``, ``real``
            and ``chosen`` (the strategies without and with a model that are best in validation, over all
            counts), ``curves`` (of each strategy `validation` and `test`, a list over counts of `mean`,
            `low`, `high`, `values`), and
            ``synthetic``: of each strategy with a model `gains` (over `real`, paired on test, with `p`, by
            Holm over the counts, and `verdict`) and `worth` (see that function), lists over counts.
        """
        series = {part: self._series(studies, part) for part in ("validation", "metrics")}
        names = list(series["metrics"])
        models = [s for s in names if strategy_of(s).models]
        rivals = [s for s in names if s not in models]
        best = max(rivals, key=lambda s: series["validation"][s].mean())  # the first one wins a tie
        real = series["metrics"][best]
        return {
            "kind": self.kind,
            "metric": CHOSEN_BY,
            "counts": list(self.counts),
            "unit": "draw" if self.draws > 1 else "seed",
            "n": int(real.shape[1]),
            "real": best,
            "chosen": max(models, key=lambda s: series["validation"][s].mean()),
            "curves": {
                s: {
                    part: _spreads(series[of][s])
                    for part, of in (("validation", "validation"), ("test", "metrics"))
                }
                for s in names
            },
            "synthetic": {s: self._compared(real, series["metrics"][s]) for s in models},
        }

    def _compared(self, real: Values, synthetic: Values) -> dict[str, Any]:
        contrasts = [paired(made - alone) for made, alone in zip(synthetic, real, strict=True)]
        adjusted = holm([contrast["p"] for contrast in contrasts])
        gains = [{**contrast, "p": p} for contrast, p in zip(contrasts, adjusted, strict=True)]
        return {
            "gains": [{**gain, "verdict": verdict(gain, comparisons=len(gains))} for gain in gains],
            "worth": [worth(self.counts, real, made) for made in synthetic],
        }

    def _series(self, studies: Mapping[str, Results], part: str) -> dict[str, Values]:
        """One figure per count and unit, shape (counts, units), of each strategy."""
        trials = {point: Trials(studies[name]["trials"]) for name, point in self._points().items()}
        first = next(iter(trials.values()))
        found = {}
        for strategy in first.strategies:
            seeds = sorted(set.intersection(*(set(each.seeds(strategy)) for each in trials.values())))
            values = np.array(
                [
                    [
                        trials[count, draw].values(strategy, CHOSEN_BY, seeds, part)
                        for draw in range(self.draws)
                    ]
                    for count in self.counts
                ]
            )  # (counts, draws, seeds)
            found[strategy] = values.mean(axis=2) if self.draws > 1 else values[:, 0]
        return found


def _spreads(values: Values) -> list[dict[str, Any]]:
    rows = []
    for row in values:
        low, high = interval(row)
        rows.append({"mean": float(row.mean()), "low": low, "high": high, "values": row.tolist()})
    return rows


def worth(counts: Sequence[int], real: Values, synthetic: Values) -> dict[str, Bound | None]:
    """How many real cells alone would give the recall that fewer real cells with synthetic ones give.

    The curve of real cells is interpolated over the logarithm of their number. Its mean is made to rise
    by isotonic regression. The interval holds all numbers at which the 95 % t interval of the difference,
    paired by unit, holds zero: a test turned round, as in Fieller's method.

    Args:
        counts: Real cells, ascending, k of them.
        real: Recall with real cells alone, shape (k, units).
        synthetic: Recall with synthetic cells, shape (units,).

    Returns:
        `value`, `low` and `high`: ``{"images": n}``, or ``{"more_than": n}`` or ``{"fewer_than": n}`` where
        it is beyond the largest or smallest number tried. The ends are None with fewer than two units.
    """
    logs, grid = np.log(counts), np.geomspace(counts[0], counts[-1], GRID)
    rising = IsotonicRegression().fit_transform(logs, real.mean(axis=1))
    level, target = np.interp(np.log(grid), logs, rising), float(synthetic.mean())
    value = _where(counts, grid, int(np.argmax(level >= target)), target > level[-1], target < level[0])
    if real.shape[1] < 2:
        return {"value": value, "low": None, "high": None}
    curves = np.stack([np.interp(np.log(grid), logs, unit) for unit in real.T], axis=1)  # (GRID, units)
    bounds = [interval(synthetic - row) for row in curves]
    kept = np.flatnonzero([low <= 0 <= high for low, high in bounds if low is not None and high is not None])
    if not len(kept):
        return {"value": value, "low": value, "high": value}
    first, last = int(kept[0]), int(kept[-1])
    return {
        "value": value,
        "low": _where(counts, grid, first, False, first == 0),
        "high": _where(counts, grid, last, last == GRID - 1, False),
    }


def _where(counts: Sequence[int], grid: Values, index: int, beyond: bool, below: bool) -> Bound:
    if beyond:
        return {"more_than": float(counts[-1])}
    return {"fewer_than": float(counts[0])} if below else {"images": float(grid[index])}
