"""Figures of one scoring: the map, bars of each metric, and cells beside their nearest real ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray
from PIL import Image

from evaluation.quality.embedding import EmbeddingMap
from evaluation.reports.figures import INK, MADE, MUTED, REAL, RULE, canvas, finish, picture

PALE = "#e4e8ed"  # cells of other classes
PANELS = 3  # maps a row
GAP = 2  # pixels between two cells of a sheet
HEIGHT = 0.3  # of a bar; two a class

Entry = Mapping[str, Any]


def map_figure(found: EmbeddingMap, classes: Sequence[str]) -> bytes:
    """One map a class: its real and its synthetic cells over all others.

    Args:
        found: Points of the cells.
        classes: Names of the classes to show, as label -> name by position; "" is not shown.

    Returns:
        A PNG.
    """
    shown = [label for label, name in enumerate(classes) if name]
    rows = -(-len(shown) // PANELS)
    columns = min(PANELS, len(shown))
    figure, panels = canvas(max(3.1 * columns, 4.2), 3.0 * rows + 0.4, rows, columns)
    for axes in panels:
        axes.set_axis_off()
    for axes, label in zip(panels, shown, strict=False):
        of_class = found.labels == label
        for rows_of, color, size, marker in (
            (~of_class, PALE, 5, "o"),
            (of_class & ~found.made, REAL, 13, "o"),
            (of_class & found.made, MADE, 17, "x"),
        ):
            x, y = found.points[rows_of].T
            axes.scatter(x, y, s=size, c=color, marker=marker, linewidths=0.9 if marker == "x" else 0)
        counts = (of_class & ~found.made).sum(), (of_class & found.made).sum()
        axes.set_title(f"{classes[label]} ({counts[0]} real, {counts[1]} synthetic)", fontsize=9.5)
    handles = [
        Line2D([], [], color=REAL, marker="o", linestyle="", markersize=5),
        Line2D([], [], color=MADE, marker="x", linestyle="", markersize=5),
    ]
    words = ["real", "synthetic"]
    if len(classes) > 1:
        handles, words = [*handles, Line2D([], [], color=PALE, marker="o", linestyle="")], [*words, "others"]
    figure.legend(handles, words, loc="outside lower center", ncols=len(words), frameon=False)
    return finish(figure)


def bars_figure(entries: Mapping[str, Entry], better: str) -> bytes:
    """Bars of one metric for each class: synthetic cells, and the floor, at the same number of cells.

    The bars are the means over halvings of the reference, with the range of 95 % of them; a diamond is
    the figure of all cells with its own interval, where it has one. A class without a figure has its reason.

    Args:
        entries: Class -> entry of `evaluation.quality.fidelity.fidelity`.
        better: What is better, for the axis: ``lower``, ``higher``, ``near 1``.

    Returns:
        A PNG.
    """
    figure, panels = canvas(5.4, 0.56 * len(entries) + 1.1)
    axes = panels[0]
    for row, entry in enumerate(entries.values()):
        if "reason" in entry:
            axes.text(0, row, f" {entry['reason']}", va="center", color=MUTED, fontsize=9)
            continue
        _bar(axes, row - HEIGHT / 2, entry["matched"], MADE)
        _bar(axes, row + HEIGHT / 2, entry["floor"], REAL)
        if entry.get("low") is not None:
            axes.plot([entry["low"], entry["high"]], [row, row], color=INK, linewidth=1)
        axes.plot(entry["value"], row, "D", color="white", mec=INK, markersize=5, zorder=3)
    axes.axvline(0, color=RULE, linewidth=1)
    axes.set_yticks(range(len(entries)), list(entries))
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_xlabel(f"better: {better}")
    handles = [Patch(color=MADE), Patch(color=REAL), Line2D([], [], color=INK, marker="D", mfc="white")]
    words = ["synthetic", "floor (real)", "all synthetic cells"]
    figure.legend(handles, words, loc="outside lower center", ncols=3, frameon=False)
    return finish(figure)


def neighbors_sheet(
    queries: NDArray[np.uint8], nearest: NDArray[np.uint8], other: NDArray[np.bool_]
) -> bytes:
    """A row for each synthetic cell: at the left the cell, then the real cells nearest to it.

    Args:
        queries: Synthetic cells, uint8, shape (n, h, w, 3), n >= 1.
        nearest: Real cells, uint8, shape (n, k, h, w, 3).
        other: True for those of another class, which get a frame, shape (n, k).

    Returns:
        A PNG, at the images' own resolution.
    """
    n, k, h, w, _ = nearest.shape
    step_y, step_x, apart = h + 2 * GAP, w + 2 * GAP, w // 3
    sheet = np.full((n * step_y, (k + 1) * step_x + apart, 3), 255, np.uint8)
    frame = np.array([int(MADE[i : i + 2], 16) for i in (1, 3, 5)], np.uint8)
    for row, column in np.ndindex(n, k + 1):
        y, x = row * step_y, column * step_x + (apart if column else 0)
        if column and other[row, column - 1]:
            sheet[y : y + step_y, x : x + step_x] = frame
        image = nearest[row, column - 1] if column else queries[row]
        sheet[y + GAP : y + GAP + h, x + GAP : x + GAP + w] = image
    return picture(Image.fromarray(sheet))


def _bar(axes: Axes, place: float, summary: Entry, color: str) -> None:
    if "reason" in summary:
        axes.text(0, place, f" {summary['reason']}", va="center", color=MUTED, fontsize=8)
        return
    axes.barh(place, summary["value"], height=HEIGHT, color=color)
    axes.plot([summary["low"], summary["high"]], [place, place], color=INK, linewidth=1.4, alpha=0.7)
