"""The figures of a study's report, drawn from its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.gains.statistics import BASELINE, CHOSEN_BY, Trials, points
from evaluation.reports.cell_sheets import Pair, Strip, pairs_figure, samples_figure
from evaluation.reports.pictures import Pictures
from evaluation.reports.study_figures import (
    Gain,
    confusion_figure,
    cost_figure,
    counts_figure,
    forest_figure,
    mean_confusion,
    recall_figure,
)
from evaluation.reports.tables import points_interval
from evaluation.studies.costs import strategy_costs

Results = dict[str, Any]
GAIN = "difference in mean recall of the rare classes, in points"
OVER_REAL = "mean recall of the rare classes,\npoints over real"


def study_figures(results: Results, models: Sequence[str], pictures: Pictures) -> dict[str, Any]:
    """Draw the figures of a study, each as PNG, SVG and PDF.

    Args:
        results: What `results.json` holds.
        models: The strategies that use a generative model.
        pictures: Where the figures go.

    Returns:
        Name of a figure -> `image` (path of the PNG) and `alt` (what it shows, in words). `confusion`
        is a list of such, with `name`. What cannot be drawn is left out.
    """
    cells, summary = results["cells"], results["summary"]
    drawn = {
        "counts": counts_figure(cells["train"], cells["added"], real_word(cells)),
        "recall": recall_figure(summary, cells["classes"], cells["rare"]),
    }
    alts = {"counts": _counts_alt(cells), "recall": _recall_alt(summary, cells["rare"])}
    gains = gains_of(results, models)
    if gains:
        below = "\n(below the line: over real)" if gains[0].primary and len(gains) > 1 else ""
        drawn["gains"] = forest_figure(gains, GAIN + below)
        alts["gains"] = "; ".join(_gain_words(gain) for gain in gains)
    costs = strategy_costs(results["trials"], summary, models)
    if len(costs) > 1:
        drawn["cost"] = cost_figure(costs, OVER_REAL)
        alts["cost"] = "; ".join(f"{c['strategy']}: {c['hours']:.2g} h, {points(c['gain'])}" for c in costs)
    strips, pairs = strips_of(results, pictures), pairs_of(results, pictures)
    if strips:
        drawn["samples"] = samples_figure(strips)
        alts["samples"] = "Strips of cells: " + ", ".join(f"{s.name} {s.source}" for s in strips)
    if pairs:
        drawn["pairs"] = pairs_figure(pairs)
        alts["pairs"] = "Synthetic cells, each beside the training cell nearest to it"
    figures: dict[str, Any] = {
        name: {"image": pictures.plot(name, figure), "alt": alts[name]} for name, figure in drawn.items()
    }
    return figures | {"confusion": _confusions(results, pictures)}


def real_word(cells: dict[str, Any]) -> str:
    """The word for what stands for real cells in a study."""
    return "phantom" if cells["phantom"] else "real"


def gains_of(results: Results, models: Sequence[str]) -> list[Gain]:
    """The primary contrast, and every strategy against `real`: rows of a forest plot."""
    summary, trials = results["summary"], Trials(results["trials"])
    gains = []
    primary = primary_gain(results)
    if primary is not None:
        gains.append(primary)
    for name, figures in summary.items():
        main = figures[CHOSEN_BY]
        if main["difference"] is not None:
            seeds = trials.seeds(name, BASELINE)
            apart = trials.values(name, CHOSEN_BY, seeds) - trials.values(BASELINE, CHOSEN_BY, seeds)
            gains.append(
                Gain(
                    name,
                    main["difference"],
                    main["difference_low"],
                    main["difference_high"],
                    seeds=apart.tolist(),
                    made=name in models,
                )
            )
    return gains


def primary_gain(results: Results, name: str | None = None) -> Gain | None:
    """The primary contrast as a row of a forest plot; None where the study has none.

    Args:
        results: What `results.json` holds.
        name: The row's name; None for the two strategies.
    """
    found = results["conclusion"]
    if "mean" not in found:
        return None
    ours, rival = found["synthetic"], found["rival"]
    trials = Trials(results["trials"])
    seeds = trials.seeds(ours, rival)
    apart = trials.values(ours, CHOSEN_BY, seeds) - trials.values(rival, CHOSEN_BY, seeds)
    wide = (found["low"], found["high"])
    # A study of an earlier version has the interval over seeds alone.
    low, high = found.get("seed_low", found["low"]), found.get("seed_high", found["high"])
    return Gain(
        f"{ours} over {rival}" if name is None else name,
        found["mean"],
        low,
        high,
        None if None in wide or wide == (low, high) else wide,
        apart.tolist(),
        made=True,
        primary=True,
    )


def strips_of(results: Results, pictures: Pictures) -> list[Strip]:
    """The strips of cells of each class, the rare classes first."""
    rare = results["cells"]["rare"]
    shown = sorted(results["strips"], key=lambda name: name not in rare)  # stable
    return [
        Strip(
            name,
            real_word(results["cells"]) if source == "real" else source,
            pictures.pixels(file),
            made=source != "real",
        )
        for name in shown
        for source, file in results["strips"][name].items()
        if source != "repeat"
    ]


def pairs_of(results: Results, pictures: Pictures) -> list[Pair]:
    """The synthetic cells nearest to a training cell, of the first generator of each kind."""
    first = {q["generator"]: q for q in reversed(results["fidelity"])}
    return [
        Pair(
            kind,
            pictures.pixels(pair["synthetic"]),
            pictures.pixels(pair["training"]),
            f"{pair['class']}\n{pair['distance']:.2f}",
            is_copy(pair, quality),
        )
        for kind, quality in reversed(first.items())
        for pair in quality.get("pairs", [])
    ]


def is_copy(pair: dict[str, Any], quality: dict[str, Any]) -> bool:
    """Whether a pair counts as a near-copy; a study of an earlier version has the threshold alone."""
    return bool(pair["copy"] if "copy" in pair else pair["distance"] <= quality["near_copies"]["threshold"])


def _confusions(results: Results, pictures: Pictures) -> list[dict[str, Any]]:
    """Mistakes of the real baseline, of the best synthetic strategy and of the best rival."""
    found, cells = results["conclusion"], results["cells"]
    wanted = dict.fromkeys([BASELINE, found.get("synthetic"), found.get("rival")])
    about = {found.get("rival"): "the best rival", found.get("synthetic"): "the best with synthetic cells"}
    parts = []
    for name in wanted:
        matrices = [t["confusion"] for t in results["trials"] if t["strategy"] == name and "confusion" in t]
        if matrices:
            figure = confusion_figure(mean_confusion(matrices), cells["classes"], cells["rare"])
            image = pictures.plot(f"confusion-{name}", figure)
            words = f"{name}, {about[name]}" if name in about else str(name)
            parts.append({"name": words, "image": image, "alt": f"Confusion matrix of {name}"})
    return parts


def _gain_words(gain: Gain) -> str:
    interval = points_interval(*gain.shown)
    return f"{gain.name}: {points(gain.mean)}" + (f" ({interval})" if interval else "")


def _counts_alt(cells: dict[str, Any]) -> str:
    added = cells["added"]
    return "; ".join(
        f"{c}: {n:,}" + (f" + {added[c]:,}" if c in added else "") for c, n in cells["train"].items()
    )


def _recall_alt(summary: dict[str, Any], rare: Sequence[str]) -> str:
    return "; ".join(
        f"{name}: " + ", ".join(f"{c} {figures[f'recall/{c}']['mean']:.0%}" for c in rare)
        for name, figures in summary.items()
        if all(f"recall/{c}" in figures for c in rare)
    )
