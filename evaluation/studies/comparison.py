"""Studies that differ in their preprocessing alone, compared strategy by strategy and seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.gains.intervals import interval as t_interval
from evaluation.gains.statistics import CHOSEN_BY, Trials, holm, paired, points
from evaluation.reports.tables import percent, percent_interval, points_interval

Results = Mapping[str, Any]


def compare(studies: Sequence[tuple[str, Results]]) -> dict[str, Any] | None:
    """Mean rare recall of each strategy under each preprocessing, and what it gains over the first.

    Args:
        studies: Name and `results.json` of each; the first is what the others are compared with.

    Returns:
        ``first``, ``names``, ``metric`` and ``strategies``: of each strategy and name `mean`, `low`,
        `high` (95 % t interval over seeds), `n`, and but for the first `difference`, `difference_low`,
        `difference_high` (paired by seed) and `p` (sign-flip, by Holm over all differences). None where
        the studies differ in more than `preprocess`, or in their test cells, or are fewer than two.
    """
    if len(studies) < 2 or not _alike([results for _, results in studies]):
        return None
    names = [name for name, _ in studies]
    trials = {name: Trials(results["trials"]) for name, results in studies}
    first = names[0]
    table = {
        strategy: {name: _cell(trials[first], trials[name], strategy, name == first) for name in names}
        for strategy in trials[first].strategies
    }
    others = [row[name] for row in table.values() for name in names[1:]]
    for cell, p in zip(others, holm([cell["p"] for cell in others]), strict=True):
        cell["p"] = p
    return {"first": first, "names": names, "metric": CHOSEN_BY, "strategies": table}


def _alike(results: Sequence[Results]) -> bool:
    def rest(found: Results) -> tuple[Any, ...]:
        config = {key: value for key, value in found["config"].items() if key != "preprocess"}
        strategies = {t["strategy"] for t in found["trials"]}
        return config, found["cells"]["test"], found["cells"]["rare"], strategies

    steps = [found["config"].get("preprocess", []) for found in results]
    distinct = all(steps[i] != steps[j] for i in range(len(steps)) for j in range(i))
    return distinct and all(rest(found) == rest(results[0]) for found in results[1:])


def _cell(first: Trials, trials: Trials, strategy: str, is_first: bool) -> dict[str, Any]:
    seeds = sorted(set(first.seeds(strategy)) & set(trials.seeds(strategy)))
    values = trials.values(strategy, CHOSEN_BY, seeds)
    low, high = t_interval(values)
    found = {"mean": float(values.mean()), "low": low, "high": high, "n": len(values)}
    if is_first:
        return found
    contrast = paired(values - first.values(strategy, CHOSEN_BY, seeds))
    return found | {
        "difference": contrast["mean"],
        "difference_low": contrast["low"],
        "difference_high": contrast["high"],
        "p": contrast["p"],
    }


def comparison_table(found: Mapping[str, Any]) -> dict[str, Any]:
    """`compare`'s figures in words, for the report: a row a strategy, a column a preprocessing."""
    rows = [
        {"strategy": strategy, "cells": [_words(cells[name]) for name in found["names"]]}
        for strategy, cells in found["strategies"].items()
    ]
    return {"first": found["first"], "names": found["names"], "rows": rows}


def _words(cell: Mapping[str, Any]) -> dict[str, str]:
    words = {"mean": percent(cell["mean"]), "interval": percent_interval(cell["low"], cell["high"])}
    if "difference" in cell:
        words["difference"] = points(cell["difference"])
        words["difference_interval"] = points_interval(cell["difference_low"], cell["difference_high"])
        words["p"] = f"{cell['p']:.3f}"
    return words
