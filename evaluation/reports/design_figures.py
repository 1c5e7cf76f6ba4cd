"""One figure per study design."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.gains.gain import METRICS
from evaluation.reports.figures import INK, MADE, MUTED, REAL, RIVAL, RULE, canvas

Found = Mapping[str, Any]
COLORS = (MADE, "#7a5195", "#2f855a", "#b7791f")


def dose_figure(found: Found) -> Figure:
    """Rare recall by dose on validation and test, a panel for each strategy; the chosen dose ringed."""
    families = found["families"]
    figure, panels = canvas(7.6, 3.1 * len(families) + 0.3, rows=len(families))
    for axes, family in zip(panels, families, strict=True):
        steps = family["steps"]
        places = list(range(len(steps)))
        for part, color, shift in (("validation", MUTED, -0.06), ("test", MADE, 0.06)):
            _curve(axes, [p + shift for p in places], [s[part] for s in steps], color, part)
        chosen = next(i for i, step in enumerate(steps) if step["dose"] == family["chosen"])
        at = 100 * steps[chosen]["test"]["mean"]
        axes.plot(chosen + 0.06, at, "o", ms=13, mfc="none", mec=INK, label="chosen on validation")
        axes.set_xticks(places, [f"{s['dose']}\n{s['added']:,.0f} cells" for s in steps])
        axes.set_title(family["strategy"], loc="left", fontsize=11)
        _finish_axes(axes, "dose, and the cells that it adds", "rare recall, %")
    return figure


def hunger_figure(found: Found) -> Figure:
    """Rare recall by the number of real cells, with and without generated ones."""
    figure, (axes,) = canvas(7.6, 4.4)
    colors = dict(zip(found["synthetic"], COLORS * len(found["synthetic"]), strict=False))
    for name, curve in found["curves"].items():
        color = colors.get(name, REAL if name == found["real"] else RIVAL)
        _curve(axes, found["counts"], curve["test"], color, name, "s" if name in colors else "o")
    axes.set_xscale("log")
    axes.set_xticks(found["counts"], [str(n) for n in found["counts"]])
    axes.minorticks_off()
    _finish_axes(axes, "real training cells of each rare class (log scale)", "rare recall on test, %")
    return figure


def selection_figure(found: Found) -> Figure:
    """Every candidate with its interval and its folds, the best first."""
    cells = sorted(found["cells"], key=lambda cell: -cell["mean"])
    figure, (axes,) = canvas(7.6, 0.42 * len(cells) + 1.1)
    for row, cell in enumerate(cells):
        color = MADE if "behind" not in cell else RIVAL if cell["told_apart"] else REAL
        folds = 100 * np.asarray(cell["values"])
        axes.plot(folds, np.full(len(folds), row + 0.22), "o", color=color, alpha=0.35, ms=3.5, mew=0)
        if cell["low"] is not None:
            axes.plot([100 * cell["low"], 100 * cell["high"]], [row, row], color=color, lw=2.2)
        axes.plot(100 * cell["mean"], row, "o", color=color, ms=7)
    axes.set_yticks(range(len(cells)), [f"{cell['column']}, {cell['row']}" for cell in cells])
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{METRICS[found['metric']]} on test folds, % (brick: best; gray: worse than it)")
    return figure


def _curve(
    axes: Axes,
    places: Sequence[float],
    figures: Sequence[Mapping[str, Any]],
    color: str,
    label: str,
    marker: str = "o",
) -> None:
    means = [100 * each["mean"] for each in figures]
    axes.plot(places, means, f"{marker}-", color=color, label=label, lw=1.6, ms=5)
    for place, each in zip(places, figures, strict=True):
        if each["low"] is not None:
            axes.plot([place, place], [100 * each["low"], 100 * each["high"]], color=color, lw=1.2, alpha=0.7)


def _finish_axes(axes: Axes, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, -5.0), min(top, 105.0))  # of a recall; t intervals of few seeds go beyond it
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9)
