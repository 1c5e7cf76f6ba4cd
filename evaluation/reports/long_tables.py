"""Results as CSV in long format: one figure a row, for any program that draws or tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Named = Sequence[tuple[str, Mapping[str, Any]]]  # name of a study, its results
SUMMARY = ("mean", "low", "high", "n", "difference", "difference_low", "difference_high", "p", "verdict")
CONTRAST = ("synthetic", "rival", "synthetic_mean", "rival_mean", "mean", "low", "high", "p", "n", "verdict")
IN_WORDS = ("scope", "over")  # "for this generator", where seeds share one; what the interval is over
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
    flat = [(name, _flat(results["conclusion"])) for name, results in studies]
    further = dict.fromkeys(
        key
        for _, found in flat
        for key, value in found.items()
        if key not in CONTRAST and isinstance(value, (int, float))
    )
    columns = (*CONTRAST, *further, *IN_WORDS)
    rows = [{"study": name, **{k: found.get(k) for k in columns}} for name, found in flat]
    return _csv(("study", *columns), rows)


def _flat(conclusion: Mapping[str, Any]) -> dict[str, Any]:
    shifted = conclusion.get("same_accuracy") or {}
    return {**conclusion, **{f"same_accuracy_{key}": value for key, value in shifted.items()}}


def design_csv(found: Mapping[str, Any]) -> str:
    """One row a point of a design's curves: what it is of, its mean, interval and each unit's value.

    Args:
        found: What `design.json` holds. ``series`` is the strategy or network, ``point`` the dose, the number
            of real cells or the preprocessing; ``figure`` says what of it is told.
    """
    readers = {"dose": _dose_rows, "data_hunger": _hunger_rows, "model_selection": _selection_rows}
    columns = ("series", "point", "figure", "mean", "low", "high", "p", "unit", "value")
    rows = [
        {**row, **of_unit}
        for series, point, figure, spread in readers[found["kind"]](found)
        for row in [{"series": series, "point": point, "figure": figure}]
        for of_unit in _units(spread)
    ]
    return _csv(columns, rows)


Point = tuple[str, Any, str, Mapping[str, Any]]


def _units(spread: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The mean of a point, with its interval; and the value of each unit."""
    yield {key: spread.get(key) for key in ("mean", "low", "high", "p")}
    for unit, value in enumerate(spread.get("values", ())):
        yield {"unit": unit, "value": value}


def _dose_rows(found: Mapping[str, Any]) -> Iterator[Point]:
    for family in found["families"]:
        for step in family["steps"]:
            for figure in ("validation", "test", "over_before", "over_none"):
                if step[figure] is not None:
                    yield family["strategy"], step["dose"], figure, step[figure]


def _hunger_rows(found: Mapping[str, Any]) -> Iterator[Point]:
    for name, curve in found["curves"].items():
        for part in ("validation", "test"):
            for count, spread in zip(found["counts"], curve[part], strict=True):
                yield name, count, part, spread
    for name, made in found["synthetic"].items():
        for count, gain, worth in zip(found["counts"], made["gains"], made["worth"], strict=True):
            yield name, count, f"gain over {found['real']}", gain
            ends = {"value": "mean", "low": "low", "high": "high"}
            bounds = {end: _bound(worth[key]) for key, end in ends.items()}
            yield name, count, "worth in real cells", bounds


def _bound(bound: Mapping[str, float] | None) -> str:
    """A number of real cells, with < or > where it lies beyond those that were tried."""
    if bound is None:
        return ""
    ((kind, number),) = bound.items()
    return {"images": "", "more_than": ">", "fewer_than": "<"}[kind] + f"{number:g}"


def _selection_rows(found: Mapping[str, Any]) -> Iterator[Point]:
    for cell in found["cells"]:
        yield cell["column"], cell["row"], found["metric"], cell
        if "behind" in cell:
            yield cell["column"], cell["row"], "behind the best", cell["behind"]


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
