"""Screening: strategies compared on the validation cells alone, to find out which ones a study is to have.

A study that has tried thirty strategies on the test cells and shows the best ten has chosen on them. Here no
test cell is scored, so the study that follows begins with test cells that nobody has looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.gains.gain import METRICS
from evaluation.gains.intervals import interval
from evaluation.gains.statistics import CHOSEN_BY, Trials, paired
from evaluation.reports.screening_page import SCREENING, write_screening_page
from evaluation.studies.study import Study, finished, study_config
from runtime.rundir import write_json


def finish_screening(study: Study) -> dict[str, Any]:
    """Write what the trials of a screening show.

    Args:
        study: All its trials have a result.

    Returns:
        What `screening.json` holds.
    """
    out, models = study.run.path, [s for s in study.settings.strategies if study.settings.models(s)]
    found = {**screened(finished(study), models, len(study.counted.val.labels)), "notices": study.notices}
    write_json(out / SCREENING, found)
    write_screening_page(found, study_config(study.settings), out)
    return found


def screened(records: Sequence[Mapping[str, Any]], models: Sequence[str], cells: int) -> dict[str, Any]:
    """Rank strategies by their mean validation recall of the rare classes.

    Args:
        records: Trials with `strategy`, `classifier_seed` and `validation`.
        models: Strategies that use a generative model.
        cells: Validation cells.

    Returns:
        `strategies`, the best first, each with `strategy`, `synthetic`, `n` (seeds), `validation`
        (`{metric: {mean, low, high}}`, 95 % t intervals over seeds) and `behind` (the difference to the
        first, paired by seed: `mean`, `low`, `high`; None for the first); `cells`; and `conclusion` with a
        `sentence`.
    """
    trials = Trials(records)
    means = {s: trials.values(s, CHOSEN_BY, trials.seeds(s), "validation").mean() for s in trials.strategies}
    ranked = sorted(trials.strategies, key=lambda s: -means[s])
    rows = [_row(trials, s, ranked[0], s in models) for s in ranked]
    return {"strategies": rows, "cells": cells, "conclusion": {"sentence": _sentence(rows, cells)}}


def _row(trials: Trials, strategy: str, first: str, synthetic: bool) -> dict[str, Any]:
    seeds = trials.seeds(strategy)
    figures = {metric: trials.values(strategy, metric, seeds, "validation") for metric in METRICS}
    spread = {metric: (float(values.mean()), *interval(values)) for metric, values in figures.items()}
    names = ("mean", "low", "high")
    behind = paired(
        trials.differences(strategy, first, CHOSEN_BY, trials.seeds(strategy, first), "validation")
    )
    return {
        "strategy": strategy,
        "synthetic": synthetic,
        "n": len(seeds),
        "validation": {metric: dict(zip(names, found, strict=True)) for metric, found in spread.items()},
        "behind": None if strategy == first else {name: behind[name] for name in names},
    }


def _sentence(rows: Sequence[Mapping[str, Any]], cells: int) -> str:
    def best(synthetic: bool) -> str:
        one = next((row for row in rows if row["synthetic"] == synthetic), None)
        return "none" if one is None else f"{one['strategy']} ({one['validation'][CHOSEN_BY]['mean']:.1%})"

    return (
        f"Screened on {cells:,} validation cells, no test cell was scored. Best rare recall with synthetic "
        f"cells: {best(True)}; without: {best(False)}. This chooses strategies for a study, and is no result."
    )
