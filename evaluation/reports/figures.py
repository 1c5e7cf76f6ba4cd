"""Pictures of cells and figures of results, as PNG bytes that a page can hold."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
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
    "pdf.fonttype": 42,  # TrueType: journals refuse Type 3
}
# Formats of a figure, and what to leave out of each so that it is always the same.
KINDS: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


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


def agreement_figure(matrix: Sequence[Sequence[float]], classes: Sequence[str]) -> Figure:
    """Which class a judge gives to the cells that were asked for as each class.

    Args:
        matrix: Counts, shape (C, C): intended class in rows. Empty rows are left out.
        classes: The C class names.

    """
    counts = np.asarray(matrix, dtype=np.float64)
    rows = np.flatnonzero(counts.sum(axis=1))
    shares = counts[rows] / counts[rows].sum(axis=1, keepdims=True)
    figure, axes = one_panel(0.72 * len(classes) + 1.8, 0.42 * len(rows) + 1.5)
    heat(axes, shares, "{:.0%}", 0.0, 1.0, hide=0.005)
    axes.set_xticks(range(len(classes)), classes, rotation=25, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), [f"{classes[int(r)]} ({counts[r].sum():.0f})" for r in rows])
    axes.xaxis.tick_top()
    for row, label in enumerate(rows):  # a frame around the class that was asked for
        axes.add_patch(Rectangle((label - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor=MADE, lw=1.6))
    axes.set_xlabel("class given by the judge")
    axes.set_ylabel("class asked for")
    return figure


def heat(
    axes: Axes, values: NDArray[np.float64], text: str, low: float, high: float, hide: float = -1.0
) -> None:
    """Draw a matrix as colors with its numbers, and without a frame.

    Args:
        axes: Where.
        values: Shape (rows, columns).
        text: Format of a number.
        low: Value of the palest color.
        high: Value of the darkest.
        hide: Numbers up to this one are not written.
    """
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


def one_panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of some inches and its only panel."""
    figure, panels = canvas(width, height)
    return figure, panels[0]


def finish(figure: Figure, kind: str = "png") -> bytes:
    """The figure as a file.

    Args:
        figure: What `canvas` made, filled.
        kind: One of `KINDS`. The same figure gives the same bytes: no date is written.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format=kind, dpi=170, metadata=KINDS[kind])
    return buffer.getvalue()


def picture(image: Image.Image) -> bytes:
    """An image as a PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
