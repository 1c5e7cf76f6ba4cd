"""Figures of a study's results: counts, gains, recall, mistakes, and what a gain costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter
from numpy.typing import NDArray

from evaluation.gains.statistics import points
from evaluation.reports.figures import INK, MADE, MUTED, REAL, RULE, heat, one_panel
from evaluation.reports.tables import points_interval

WRITTEN = 12  # classes up to which a matrix has its numbers written into it


@dataclass(frozen=True)
class Gain:
    """One row of a forest plot; all figures are shares, in [-1, 1].

    Attributes:
        name: What is compared.
        mean: The difference.
        low: Lower end of the interval over units; None where there is none.
        high: Its upper end.
        wide: The interval over units and test cells, where it is known.
        seeds: The difference of each unit.
        made: Whether a generative model had a part in it.
        primary: Whether it is the primary contrast.
    """

    name: str
    mean: float
    low: float | None = None
    high: float | None = None
    wide: tuple[float, float] | None = None
    seeds: Sequence[float] = ()
    made: bool = False
    primary: bool = False

    @property
    def shown(self) -> tuple[float | None, float | None]:
        """The wider interval where it is known, else that over units."""
        return self.wide or (self.low, self.high)


def counts_figure(before: Mapping[str, int], added: Mapping[str, int], kind: str = "real") -> Figure:
    """Bars of the training cells of each class, and of what was added, on a log scale.

    Args:
        before: Training cells per class, without synthetic ones.
        added: Synthetic cells per class; classes may be left out.
        kind: What the training cells are, for the legend.
    """
    classes = sorted(before, key=lambda c: before[c], reverse=True)
    figure, axes = one_panel(7.6, 0.42 * len(classes) + 0.9)
    for row, cls in enumerate(classes):
        real, extra = before[cls], added.get(cls, 0)
        axes.barh(row, max(real, 0.5), color=REAL, height=0.62)
        axes.barh(row, extra, left=real, color=MADE, height=0.62, hatch="///", edgecolor="white", linewidth=0)
        axes.text((real + extra) * 1.06, row, f"{real:,}" + (f" + {extra:,}" if extra else ""), va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())  # else 3 x 10^0, where less than a decade is shown
    axes.set_xlim(left=max(min(before.values()), 1) / 2, right=max(before.values()) * 3)
    axes.set_yticks(range(len(classes)), classes)
    axes.invert_yaxis()
    axes.set_xlabel("training cells (log scale)")
    if added:
        handles = [Patch(color=REAL), Patch(facecolor=MADE, hatch="///", edgecolor="white", linewidth=0)]
        axes.legend(
            handles, [kind, "added at most"], frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2
        )
    return figure


def forest_figure(gains: Sequence[Gain], label: str) -> Figure:
    """Forest plot: each contrast as its mean, its interval and its units, with the numbers at the right.

    The primary contrast is a diamond at the top, above a line. A thick bar is the interval over units;
    a thin one with ends, that over units and test cells.

    Args:
        gains: The contrasts, from top to bottom, the primary one first where there is one.
        label: Words for the axis.
    """
    figure, axes = one_panel(9.2, 0.46 * len(gains) + 1.3)
    axes.axvline(0, color=INK, linewidth=1)
    for row, gain in enumerate(gains):
        _forest_row(axes, row, gain)
    axes.set_yticks(range(len(gains)), [gain.name.replace(" over ", "\nover ") for gain in gains])
    for tick, gain in zip(axes.get_yticklabels(), gains, strict=True):
        tick.set_fontweight("bold" if gain.primary else "normal")
    primary = sum(gain.primary for gain in gains)
    if primary and primary < len(gains):
        axes.axhline(primary - 0.5, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_ylim(len(gains) - 0.4, -0.6)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    _forest_key(figure, gains)
    return figure


def _forest_row(axes: Axes, row: int, gain: Gain) -> None:
    color = MADE if gain.made else REAL
    dots = 100 * np.asarray(gain.seeds, dtype=np.float64)
    axes.plot(dots, np.full(len(dots), row + 0.24), "o", color=color, alpha=0.4, markersize=3.5, mew=0)
    if gain.wide is not None:
        ends = [100 * bound for bound in gain.wide]
        axes.plot(ends, [row, row], color=color, linewidth=1.0, marker="|", markersize=8)
    if gain.low is not None and gain.high is not None:
        ends = [100 * gain.low, 100 * gain.high]
        axes.plot(ends, [row, row], color=color, linewidth=3, solid_capstyle="butt")
    marker, size = ("D", 9) if gain.primary else ("s" if gain.made else "o", 7)
    axes.plot(100 * gain.mean, row, marker, color=color, markersize=size, mec="white", mew=0.8)
    interval = points_interval(*gain.shown)
    words = points(gain.mean) + (f"  ({interval})" if interval else "")
    weight = "bold" if gain.primary else "normal"
    axes.text(
        1.02, row, words, transform=axes.get_yaxis_transform(), va="center", fontsize=9, fontweight=weight
    )


def _forest_key(figure: Figure, gains: Sequence[Gain]) -> None:
    """The legend, of what is drawn only."""
    entries: list[tuple[Any, str]] = []
    if any(gain.primary for gain in gains):
        entries.append((_mark("D", INK), "primary contrast"))
    if any(gain.made and not gain.primary for gain in gains):
        entries.append((_mark("s", MADE), "with a generative model"))
    if any(not gain.made for gain in gains):
        entries.append((_mark("o", REAL), "without"))
    if any(gain.low is not None for gain in gains):
        entries.append((Line2D([], [], color=MUTED, linewidth=3), "95%, units"))
    if any(gain.wide is not None for gain in gains):
        entries.append((Line2D([], [], color=MUTED, linewidth=1, marker="|"), "95%, units and test cells"))
    if any(len(gain.seeds) for gain in gains):
        entries.append((_mark("o", MUTED, 3.5), "one unit"))
    handles, words = [handle for handle, _ in entries], [word for _, word in entries]
    figure.legend(
        handles, words, loc="outside lower center", ncols=min(len(words), 4), frameon=False, fontsize=9
    )


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "−") if value else "0"


def _mark(marker: str, color: str, size: float = 7) -> Line2D:
    return Line2D([], [], color=color, marker=marker, linestyle="", markersize=size, mec="white", mew=0.5)


def recall_figure(
    summary: Mapping[str, Mapping[str, Any]], classes: Sequence[str], rare: Sequence[str]
) -> Figure:
    """Heat map of mean recall: strategies in rows, classes in columns, the rare ones first.

    Args:
        summary: As `evaluation.gains.statistics.summarize` returns it.
        classes: Class names; those without test cells are left out.
        rare: Names of the rare ones, printed bold.
    """
    strategies = list(summary)
    columns = [
        c for c in [*rare, *(c for c in classes if c not in rare)] if f"recall/{c}" in summary[strategies[0]]
    ]
    values = np.array([[summary[s][f"recall/{c}"]["mean"] for c in columns] for s in strategies])
    low = min(float(values.min()), 0.9)
    figure, axes = one_panel(max(4.2, 0.92 * len(columns) + 2.0), 0.38 * len(strategies) + 1.0)
    heat(axes, values, "{:.0%}", low, 1.0)
    axes.set_xticks(range(len(columns)), columns, rotation=25, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(strategies)), strategies)
    axes.xaxis.tick_top()
    for tick, name in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_fontweight("bold" if name in rare else "normal")
    return figure


def mean_confusion(matrices: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.float64]:
    """Confusion matrices, each normalized by row, and then their mean.

    Args:
        matrices: Counts of each trial, each of shape (C, C): true class in rows.

    Returns:
        Shares, shape (C, C); NaN in the row of a class without test cells.
    """
    shares = []
    for matrix in matrices:
        counts = np.asarray(matrix, dtype=np.float64)
        rows = counts.sum(axis=1, keepdims=True)
        shares.append(np.where(rows > 0, counts / np.maximum(rows, 1), np.nan))
    return np.asarray(np.mean(shares, axis=0))


def confusion_figure(shares: NDArray[np.float64], classes: Sequence[str], rare: Sequence[str]) -> Figure:
    """Which class the cells of each class are given.

    Args:
        shares: As `mean_confusion` returns it.
        classes: The C class names.
        rare: Names of the rare ones, printed bold.
    """
    known = [i for i in range(len(classes)) if not np.isnan(shares[i]).any()]
    edge = 0.5 if len(classes) <= WRITTEN else 0.3
    figure, axes = one_panel(edge * len(classes) + 2.0, edge * 0.8 * len(known) + 1.6)
    hide = 0.005 if len(classes) <= WRITTEN else 2.0
    heat(axes, 100 * shares[known], "{:.0f}", 0.0, 100.0, hide=100 * hide)
    axes.set_xticks(range(len(classes)), classes, rotation=40, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(known)), [classes[i] for i in known])
    axes.xaxis.tick_top()
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    for tick, name in zip(labels, [*classes, *(classes[i] for i in known)], strict=True):
        tick.set_fontweight("bold" if name in rare else "normal")
    axes.set_xlabel("class given, % of the true class")
    axes.set_ylabel("true class")
    return figure


def cost_figure(costs: Sequence[Mapping[str, Any]], label: str) -> Figure:
    """What each strategy gains over what it costs, a point each, its name at the right.

    Args:
        costs: `strategy`, `hours` (of one unit, above 0), `gain`, `low` and `high` (shares; the last two
            may be None) and `made`.
        label: Words for the vertical axis.
    """
    figure, axes = one_panel(8.6, max(3.6, 0.28 * len(costs) + 1.4))
    axes.axhline(0, color=INK, linewidth=1)
    for cost in costs:
        color = MADE if cost["made"] else REAL
        if cost["low"] is not None:
            ends = [100 * cost["low"], 100 * cost["high"]]
            axes.plot([cost["hours"]] * 2, ends, color=color, linewidth=1.6, alpha=0.55)
        axes.plot(cost["hours"], 100 * cost["gain"], "s" if cost["made"] else "o", color=color, markersize=7)
    axes.set_xscale("log")
    hours = [cost["hours"] for cost in costs]
    axes.set_xlim(min(hours) / 1.6, max(hours) * 1.6)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _signed(value)))
    axes.set_xlabel("hours of computing for one unit: generator, sampling and classifier (log scale)")
    axes.set_ylabel(label)
    _names_at_the_right(axes, costs)
    return figure


def _names_at_the_right(axes: Axes, costs: Sequence[Mapping[str, Any]]) -> None:
    """Names beside the plot, apart from each other, each with a thin line to its point."""
    ranked = sorted(costs, key=lambda cost: float(cost["gain"]))
    low, high = axes.get_ylim()
    figure_height = axes.get_figure(root=True).get_size_inches()[1]  # type: ignore[union-attr]
    gap = (high - low) * 0.24 / (figure_height - 1)
    places = spread([float(100 * cost["gain"]) for cost in ranked], gap)
    for cost, place in zip(ranked, held(places, gap, low, high), strict=True):
        color = MADE if cost["made"] else REAL
        axes.annotate(
            str(cost["strategy"]),
            xy=(cost["hours"], 100 * cost["gain"]),
            xytext=(1.03, place),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=color,
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.5,
                "alpha": 0.6,
                "relpos": (0, 0.5),
            },
        )


def held(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move ascending places, a gap apart, between two ends that have room for all of them.

    Args:
        places: In ascending order, neighbors at least `gap` apart.
        gap: Kept between neighbors.
        low: Lower end.
        high: Upper end, at least `gap` times the number of places above it.
    """
    last = len(places) - 1
    raised = [max(place, low + gap * row) for row, place in enumerate(places)]
    return [min(place, high - gap * (last - row)) for row, place in enumerate(raised)]


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Move ascending values apart as little as needed for a gap between neighbors.

    Args:
        values: Ascending.
        gap: Least difference of two neighbors.

    Returns:
        As many values, ascending; groups that were moved keep their mean.
    """
    groups: list[list[float]] = []  # of each: the sum of values, the number
    for value in values:
        groups.append([value, 1])
        while len(groups) > 1 and _bottom(groups[-1], gap) < _top(groups[-2], gap) + gap:
            total, count = groups.pop()
            groups[-1] = [groups[-1][0] + total, groups[-1][1] + count]
    return [_bottom(group, gap) + gap * i for group in groups for i in range(int(group[1]))]


def _bottom(group: Sequence[float], gap: float) -> float:
    return group[0] / group[1] - gap * (group[1] - 1) / 2


def _top(group: Sequence[float], gap: float) -> float:
    return group[0] / group[1] + gap * (group[1] - 1) / 2
