"""Results as CSV in long format: one figure a row, for any program that draws or tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Named = Sequence[tuple[str, Mapping[str, Any]]]  # name of a study, its results
SUMMARY = ("mean", "low", "high", "n", "difference", "difference_low", "difference_high", "p", "verdict")
CONTRAST = ("synthetic", "rival", "synthetic_mean", "rival_mean", "mean", "low", "high", "p", "n", "verdict")
TRIAL = ("strategy", "generator_seed", "classifier_seed", "fold")


def summary_csv(studies: Named) -> str:
    """One row a strategy and metric: its mean, its interval and its difference from `real`.

    Args:
        studies: Names and results. `p` is adjusted by Holm's method; what is not known is empty.
    """
    rows = [
        {"study": name, "strategy": strategy, **_metric(metric), **{k: found.get(k) for k in SUMMARY}}
        for name, results in studies
        for strategy, figures in results["summary"].items()
        for metric, found in figures.items()
    ]
    return _csv(("study", "strategy", "metric", "class", *SUMMARY), rows)


def trials_csv(studies: Named) -> str:
    """One row a trial and figure: test and validation scores, seconds, and its generator's fidelity.

    Args:
        studies: Names and results. `part` says which figure it is: `test`, `validation`, `seconds` or
            `fidelity`.
    """
    rows = [
        {"study": name, **{k: trial.get(k) for k in TRIAL}, "part": part, **_metric(metric), "value": value}
        for name, results in studies
        for trial in results["trials"]
        for part, key in (
            ("test", "metrics"),
            ("validation", "validation"),
            ("seconds", "seconds"),
            ("fidelity", "fidelity"),
        )
        for metric, value in _numbers(trial.get(key) or {})
    ]
    return _csv(("study", *TRIAL, "part", "metric", "class", "value"), rows)


def contrasts_csv(studies: Named) -> str:
    """One row a study: its primary contrast, with every number that its conclusion has."""
    further = dict.fromkeys(
        key
        for _, results in studies
        for key, value in results["conclusion"].items()
        if key not in CONTRAST and isinstance(value, (int, float))
    )
    rows = [
        {"study": name, **{k: results["conclusion"].get(k) for k in (*CONTRAST, *further)}}
        for name, results in studies
    ]
    return _csv(("study", *CONTRAST, *further), rows)


def _metric(name: str) -> dict[str, str]:
    """`recall/basophil` is the recall of a class; without a class it is of all cells."""
    metric, _, cls = name.partition("/")
    return {"metric": metric, "class": cls}


def _numbers(figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{cls}", one) for cls, one in _numbers(value))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, value


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # None becomes an empty field
    return buffer.getvalue()
