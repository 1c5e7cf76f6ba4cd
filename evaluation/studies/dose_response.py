"""Dose and response: one generator per seed, more and more of its cells, and where that stops paying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluation.gains.intervals import interval
from evaluation.gains.statistics import BASELINE, CHOSEN_BY, Trials, paired
from evaluation.reports.tables import percent
from evaluation.studies.strategies import FILL, JOIN, STRATEGIES, USES, dose_word, strategy_of
from runtime.config import Settings
from runtime.errors import InputError

if TYPE_CHECKING:
    from evaluation.studies.settings import StudySettings

STUDY = "doses"
FEWEST = 6  # seeds below which nothing can be told, as for every verdict
Results = Mapping[str, Any]
Values = NDArray[np.float64]


class DoseDesign(Settings):
    """Each strategy with a generator once per dose; the cells of a smaller dose are among those of a larger.

    Attributes:
        doses: Synthetic cells per real cell of the rare classes; ``fill`` makes these as large as the
            largest class. The balance is not asked.
    """

    kind: Literal["dose"] = "dose"
    doses: tuple[Annotated[float, Field(gt=0, le=1000)] | Literal["fill"], ...] = Field(
        (0.25, 0.5, 1.0, 3.0, FILL, 10.0), min_length=1
    )

    def studies(self, settings: StudySettings) -> dict[str, StudySettings]:
        """One study, of all doses: they share its generators, and validation chooses among them.

        Raises:
            InputError: If no strategy has a generator, or a dose is named twice, here or by a strategy.
        """
        words = [dose_word(dose) for dose in self.doses]
        if len(set(words)) < len(words):
            raise InputError("design.doses: a dose is named twice; name each once.")
        if not any(_takes_doses(name) for name in settings.strategies):
            raise InputError(
                "design.kind=dose: no strategy has a generator whose dose could vary; name one, e.g. "
                "strategies=[real,diffusion]."
            )
        names = [
            dosed
            for name in settings.strategies
            for dosed in ([f"{name}{JOIN}{word}" for word in words] if _takes_doses(name) else [name])
        ]
        doses = {frozenset(name.split(JOIN)) for name in names if name not in settings.strategies}
        for name in settings.strategies:
            if names.count(name) > 1 or frozenset(name.split(JOIN)) in doses:
                raise InputError(f"strategies: '{name}' is among the doses of the design; leave it out.")
        return {STUDY: settings.model_copy(update={"strategies": tuple(names), "design": None, "out": None})}

    def found(self, studies: Mapping[str, Results]) -> dict[str, Any]:
        """What the study of all doses shows.

        Args:
            studies: Results of the study, by its name.

        Returns:
            JSON values: ``kind``, ``metric``, ``n`` and ``families``. A family is one strategy without a
            dose: `strategy`, `without` (what it is without its cells; None if that was not run), `steps`
            by the number of cells (`strategy`, `dose`, `added`, `validation`, `test`, `over_before`,
            `over_none`; the latter two are paired differences on test), `chosen` (the step that is best
            on validation), `pays_until` (see that function) on `validation` and `test`, `sentence`.
        """
        results = studies[STUDY]
        trials, real = Trials(results["trials"]), sum(results["cells"]["train"].values())
        families = [_family(trials, real, stem, names) for stem, names in _stems(trials.strategies).items()]
        return {"kind": self.kind, "metric": CHOSEN_BY, "families": families}


def _takes_doses(name: str) -> bool:
    strategy = strategy_of(name)
    return strategy.generator is not None and strategy.dose is None and not strategy.only


def _stems(strategies: Sequence[str]) -> dict[str, list[str]]:
    """Strategies with a dose, by what they are without its word."""
    found: dict[str, list[str]] = {}
    for name in strategies:
        uses = strategy_of(name)
        if uses.dose is not None and not uses.only:
            words = [word for word in name.split(JOIN) if word != dose_word(uses.dose)]
            found.setdefault(JOIN.join(words), []).append(name)
    return found


def without_cells(stem: str) -> str:
    """What a strategy is without a generator's cells: diffusion+balanced -> balanced, diffusion -> real."""
    own = [name for name, word in STRATEGIES.items() if word.generator]
    words = [word for word in stem.split(JOIN) if word not in (*own, *USES)]
    return JOIN.join(words) or BASELINE


def _family(trials: Trials, real: int, stem: str, dosed: Sequence[str]) -> dict[str, Any]:
    none = without_cells(stem)
    base = [none] if none in trials.strategies else []
    seeds = trials.seeds(*base, *dosed)

    def added(name: str) -> float:
        return float(np.mean([sum(trials.records[name, s]["train_counts"].values()) for s in seeds])) - real

    names = base + sorted(dosed, key=added)
    validation, test = (
        np.stack([trials.values(name, CHOSEN_BY, seeds, part) for name in names])  # (doses, seeds)
        for part in ("validation", "metrics")
    )
    doses = ["none" if name in base else _dose_of(name) for name in names]
    steps = [
        {
            "strategy": name,
            "dose": doses[i],
            "added": round(added(name), 1),
            "validation": _spread(validation[i]),
            "test": _spread(test[i]),
            "over_before": paired(test[i] - test[i - 1]) if i else None,
            "over_none": paired(test[i] - test[0]) if i and base else None,
        }
        for i, name in enumerate(names)
    ]
    chosen = int(validation.mean(axis=1).argmax())
    ends = {"validation": pays_until(validation), "test": pays_until(test)}
    family = {
        "strategy": stem,
        "without": none if base else None,
        "n": len(seeds),
        "steps": steps,
        "chosen": doses[chosen],
        "pays_until": {part: None if end is None else doses[end] for part, end in ends.items()},
    }
    return {**family, "sentence": _sentence(family, steps[chosen])}


def _dose_of(name: str) -> str:
    dose = strategy_of(name).dose
    assert dose is not None
    return dose_word(dose)


def pays_until(values: Values) -> int | None:
    """The dose after which recall no longer rises: the smallest that no larger one is better than.

    A larger dose is better if the 95 % t interval of its paired differences lies above zero. The intervals
    are not widened for their number: the answer describes, and decides nothing.

    Args:
        values: One figure per dose and seed, shape (doses, seeds), from the smallest dose to the largest.

    Returns:
        Its row; the last one if recall rises to the end; None with fewer than two seeds.
    """
    if values.shape[1] < 2:
        return None
    for row in range(len(values)):
        lows = [interval(larger - values[row])[0] for larger in values[row + 1 :]]
        if not any(low is not None and low > 0 for low in lows):
            return row
    raise AssertionError("nothing is larger than the last dose")


def _spread(values: Values) -> dict[str, Any]:
    low, high = interval(values)
    return {"mean": float(values.mean()), "low": low, "high": high, "values": values.tolist()}


def _sentence(family: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
    said = (
        f"{family['strategy']}: validation chooses dose {family['chosen']} (rare recall "
        f"{percent(chosen['validation']['mean'])} there, {percent(chosen['test']['mean'])} on test). "
    )
    end, n = family["pays_until"]["test"], family["n"]
    doses = [step["dose"] for step in family["steps"]]
    if end is None:
        return said + "Where it stops paying cannot be told from one seed."
    few = f" With {n} seeds this is too small to tell." if n < FEWEST else ""
    before = family["pays_until"]["validation"]
    known = {"none": "no dose is", doses[-1]: "it rises to the end"}
    on_validation = f" (on validation: {known.get(before, f'after dose {before}')})"
    if end == "none":
        where = f"On test no dose is shown to be better than {family['without']}"
    elif end == doses[-1]:
        where = "On test recall rises up to the largest dose: it has not stopped paying"
    else:
        where = f"On test it stops paying after dose {end}: no larger one is shown to be better"
    return f"{said}{where}{on_validation}.{few}"
