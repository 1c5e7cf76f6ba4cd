"""What a strategy costs, beside what it gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.gains.statistics import CHOSEN_BY, points
from evaluation.studies.strategies import strategy_of

HOUR = 3600.0


def strategy_costs(
    trials: Sequence[Mapping[str, Any]], summary: Mapping[str, Mapping[str, Any]], models: Sequence[str]
) -> list[dict[str, Any]]:
    """Hours of one unit of each strategy: its generator, its sampling and its classifier.

    A generator that several units share counts whole in each of them, and so do all those that a strategy
    mixes: that is what one who uses the strategy once pays.

    Args:
        trials: Trials as in `results.json`, with `seconds`.
        summary: As `evaluation.gains.statistics.summarize` returns it.
        models: The strategies that use a generative model.

    Returns:
        A dict a strategy: `strategy`, `hours`, `extra` (hours beyond those of the classifier), `gain`,
        `low` and `high` over `real` (of `real` itself 0, None, None) and `made`. Empty where nothing was
        compared with `real`.
    """
    found = []
    for name, figures in summary.items():
        spent = _whole(name, [t["seconds"] for t in trials if t["strategy"] == name])
        total = sum(sum(seconds.values()) for seconds in spent) / len(spent) / HOUR
        classifier = sum(seconds["classifier"] for seconds in spent) / len(spent) / HOUR
        main = figures[CHOSEN_BY]
        if main["difference"] is None and name != "real":
            return []
        found.append(
            {
                "strategy": name,
                "hours": max(total, 1 / HOUR),
                "extra": total - classifier,
                "gain": main["difference"] or 0.0,
                "low": main["difference_low"],
                "high": main["difference_high"],
                "made": name in models,
            }
        )
    return found


def _whole(name: str, spent: list[Mapping[str, float]]) -> list[Mapping[str, float]]:
    """Seconds of each unit; where units mix the generators of all, with all their trainings."""
    if not strategy_of(name).mixed_seeds:
        return spent
    return [{**seconds, "generator": seconds["generator"] * len(spent)} for seconds in spent]


def cost_rows(costs: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What `strategy_costs` returns, in words: `strategy`, `hours`, `extra`, `gain`, `per_point`, `made`."""
    real = next((cost["hours"] for cost in costs if cost["strategy"] == "real"), 0.0)
    return [
        {
            "strategy": str(cost["strategy"]),
            "hours": _hours(cost["hours"]),
            "extra": _hours(cost["extra"]) if cost["extra"] > 0 else "–",
            "gain": points(cost["gain"]) if cost["strategy"] != "real" else "–",
            "per_point": _per_point(cost, real),
            "made": "made" if cost["made"] else "",
        }
        for cost in costs
    ]


def _per_point(cost: Mapping[str, Any], real: float) -> str:
    """Hours beyond those of `real`, per point gained over it; where nothing was gained, none."""
    if cost["strategy"] == "real" or points(cost["gain"]) == "0.0" or cost["gain"] < 0:
        return "–"
    return _hours(max(cost["hours"] - real, 0.0) / (100 * cost["gain"]))


def _hours(hours: float) -> str:
    return "< 0.001" if hours < 0.001 else f"{hours:.2g}"
