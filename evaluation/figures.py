"""Pictures of cells and figures of results, as PNG bytes that a page can hold."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from cells.cellset import CellSet

INK, MUTED, RULE = "#1f2933", "#7b8794", "#d9dee4"
REAL, MADE, RIVAL = "#3d5a80", "#c8553d", "#8d99ae"  # blue: real; brick: made by a model
STYLE: Any = {  # matplotlib types its keys as a literal of all of them
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "ytick.major.size": 0,
    "svg.hashsalt": "rarecell",
}


def strip(pixels: NDArray[np.uint8], columns: int, gap: int = 1) -> bytes:
    """Lay images side by side on white.

    Args:
        pixels: uint8, shape (n, h, w, 3), n >= 1.
        columns: Images a row; the last row may be shorter.
        gap: White pixels between them.

    Returns:
        A PNG, at the images' own resolution.
    """
    n, h, w, _ = pixels.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(pixels):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = image
    return picture(Image.fromarray(sheet))


def contact_sheet(cells: CellSet, per_class: int = 12, edge: int = 64) -> bytes:
    """A row of cells for each class, with the class's name and count at the left.

    Args:
        cells: The cells; the first ones of each class are shown.
        per_class: Cells a row.
        edge: Pixels that each cell is shown at.

    Returns:
        A PNG.
    """
    names = [f"{c} ({n})" for c, n in cells.counts.items()]
    font = ImageFont.load_default(size=14)
    left = int(max(font.getlength(name) for name in names)) + 20
    sheet = Image.new("RGB", (left + per_class * (edge + 2), len(names) * (edge + 2)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (cls, name) in enumerate(zip(cells.classes, names, strict=True)):
        top = row * (edge + 2)
        draw.text((8, top + edge // 2), name, fill=INK, font=font, anchor="lm")
        for column, image in enumerate(cells.of_class(cls).pixels[:per_class]):
            shown = Image.fromarray(image).resize((edge, edge), Image.Resampling.BICUBIC)
            sheet.paste(shown, (left + column * (edge + 2), top))
    return picture(sheet)


def counts_figure(before: Mapping[str, int], added: Mapping[str, int], kind: str = "real") -> bytes:
    """Bars of the training cells of each class, and of what was added, on a log scale.

    Args:
        before: Training cells per class, without synthetic ones.
        added: Synthetic cells per class; classes may be left out.
        kind: What the training cells are, for the legend.

    Returns:
        A PNG.
    """
    classes = sorted(before, key=lambda c: before[c], reverse=True)
    figure, axes = _canvas(7.6, 0.42 * len(classes) + 0.9)
    for row, cls in enumerate(classes):
        real, extra = before[cls], added.get(cls, 0)
        axes.barh(row, max(real, 0.5), color=REAL, height=0.62)
        axes.barh(row, extra, left=real, color=MADE, height=0.62)
        axes.text((real + extra) * 1.06, row, f"{real:,}" + (f" + {extra:,}" if extra else ""), va="center")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlim(left=min(before.values()) / 2, right=max(before.values()) * 3)
    axes.set_yticks(range(len(classes)), classes)
    axes.invert_yaxis()
    axes.set_xlabel("training cells (log scale)")
    handles = [Patch(color=REAL), Patch(color=MADE)]
    axes.legend(handles, [kind, "added"], frameon=False, loc="lower right")
    return finish(figure)


def gains_figure(
    summary: Mapping[str, Mapping[str, Any]],
    metric: str,
    trials: Mapping[str, Sequence[float]],
    synthetic: Sequence[str],
    label: str,
) -> bytes:
    """Difference from `real` of each strategy: a dot per seed, the mean and its 95% interval.

    Args:
        summary: As `evaluation.statistics.summarize` returns it.
        metric: The figure to show.
        trials: Differences of each strategy, one per seed.
        synthetic: Strategies that use a generative model; drawn in another color.
        label: Words for the axis.

    Returns:
        A PNG.
    """
    names = [s for s in summary if summary[s][metric]["difference"] is not None]
    figure, axes = _canvas(7.6, 0.46 * len(names) + 1.0)
    axes.axvline(0, color=INK, linewidth=1)
    for row, name in enumerate(names):
        color = MADE if name in synthetic else REAL
        figures = summary[name][metric]
        dots = 100 * np.asarray(trials[name])
        axes.plot(dots, np.full(len(dots), row + 0.2), "o", color=color, alpha=0.35, markersize=3.5, mew=0)
        if figures["difference_low"] is not None:
            ends = [100 * figures["difference_low"], 100 * figures["difference_high"]]
            axes.plot(ends, [row, row], color=color, linewidth=2.2, solid_capstyle="round")
        axes.plot(100 * figures["difference"], row, "o", color=color, markersize=7)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(label)
    return finish(figure)


def recall_figure(
    summary: Mapping[str, Mapping[str, Any]], classes: Sequence[str], rare: Sequence[str]
) -> bytes:
    """Heat map of mean recall: strategies in rows, classes in columns, the rare ones first.

    Args:
        summary: As `evaluation.statistics.summarize` returns it.
        classes: Class names; those without test cells are left out.
        rare: Names of the rare ones, printed bold.

    Returns:
        A PNG.
    """
    strategies = list(summary)
    columns = [
        c for c in [*rare, *(c for c in classes if c not in rare)] if f"recall/{c}" in summary[strategies[0]]
    ]
    values = np.array([[summary[s][f"recall/{c}"]["mean"] for c in columns] for s in strategies])
    low = min(float(values.min()), 0.9)
    figure, axes = _canvas(max(4.2, 0.92 * len(columns) + 2.0), 0.38 * len(strategies) + 1.0)
    _heat(axes, values, "{:.0%}", low, 1.0)
    axes.set_xticks(range(len(columns)), columns, rotation=25, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(strategies)), strategies)
    axes.xaxis.tick_top()
    for tick, name in zip(axes.get_xticklabels(), columns, strict=True):
        tick.set_fontweight("bold" if name in rare else "normal")
    return finish(figure)


def agreement_figure(matrix: Sequence[Sequence[float]], classes: Sequence[str]) -> bytes:
    """Which class a judge gives to the cells that were asked for as each class.

    Args:
        matrix: Counts, shape (C, C): intended class in rows. Empty rows are left out.
        classes: The C class names.

    Returns:
        A PNG.
    """
    counts = np.asarray(matrix, dtype=np.float64)
    rows = np.flatnonzero(counts.sum(axis=1))
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    figure, axes = _canvas(0.72 * len(classes) + 1.8, 0.42 * len(rows) + 1.5)
    _heat(axes, shares, "{:.0%}", 0.0, 1.0, hide=0.005)
    axes.set_xticks(range(len(classes)), classes, rotation=25, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [f"{classes[int(r)]} ({counts[r].sum():.0f})" for r in rows])
    axes.xaxis.tick_top()
    for row, label in enumerate(rows):  # a frame around the class that was asked for
        axes.add_patch(Rectangle((label - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor=MADE, lw=1.6))
    axes.set_xlabel("class given by the judge")
    axes.set_ylabel("class asked for")
    return finish(figure)


def _heat(
    axes: Axes, values: NDArray[np.float64], text: str, low: float, high: float, hide: float = -1.0
) -> None:
    axes.imshow(values, cmap="Blues", vmin=low - 0.15 * (high - low), vmax=high, aspect="auto")
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        color = "white" if value > low + 0.5 * (high - low) else INK
        if value > hide:
            axes.text(column, row, text.format(value), ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(np.arange(values.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(values.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def canvas(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of some inches and its panels, without pyplot: no display and no global state."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure, figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure, panels = canvas(width, height)
    return figure, panels[0]


def finish(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=170)
    return buffer.getvalue()


def picture(image: Image.Image) -> bytes:
    """An image as a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
