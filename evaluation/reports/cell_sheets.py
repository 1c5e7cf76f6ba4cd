"""Cells as figures for a paper: samples of each class, and pairs that are most like copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from evaluation.reports.figures import INK, MADE, MUTED, REAL, canvas

PAIRS = 6  # a row


class Strip(NamedTuple):
    """Cells of one class from one source, side by side: `pixels` of shape (h, w, 3)."""

    name: str
    source: str
    pixels: NDArray[np.uint8]
    made: bool


class Pair(NamedTuple):
    """A synthetic cell and the training cell nearest to it, each of shape (h, w, 3)."""

    generator: str
    synthetic: NDArray[np.uint8]
    training: NDArray[np.uint8]
    text: str
    flagged: bool


def samples_figure(strips: Sequence[Strip]) -> Figure:
    """A row a strip: the class above its first one, the source at the left.

    Args:
        strips: In their order; those of one class follow each other.
    """
    figure, panels = canvas(6.6, 0.62 * len(strips) + 0.1, len(strips), 1)
    widest = max(strip.pixels.shape[1] / strip.pixels.shape[0] for strip in strips)
    before = ""
    for axes, strip in zip(panels, strips, strict=True):
        _image(axes, strip.pixels)
        axes.set_xlim(-0.5, widest * strip.pixels.shape[0] - 0.5)
        axes.set_anchor("W")
        color = MADE if strip.made else REAL
        title = f"{strip.name}\n" if strip.name != before else ""
        axes.text(-0.02, 0.5, strip.source, transform=axes.transAxes, ha="right", va="center", color=color)
        if title:
            axes.set_title(strip.name, loc="left", fontsize=10, fontweight="bold", color=INK, pad=3)
        before = strip.name
    return figure


def pairs_figure(pairs: Sequence[Pair]) -> Figure:
    """A row of pairs for each generator: synthetic at the left of each, training cell at the right.

    Args:
        pairs: In their order; those of one generator follow each other. Flagged ones have a brick frame.
    """
    kinds = list(dict.fromkeys(pair.generator for pair in pairs))
    figure, panels = canvas(7.6, 1.15 * len(kinds) + 0.2, len(kinds), PAIRS)
    for axes in panels:
        axes.set_axis_off()
    for row, kind in enumerate(kinds):
        of_kind = [pair for pair in pairs if pair.generator == kind][:PAIRS]
        for axes, pair in zip(panels[row * PAIRS :], of_kind, strict=False):
            gap = np.full((pair.synthetic.shape[0], 1, 3), 255, np.uint8)
            _image(axes, np.concatenate([pair.synthetic, gap, pair.training], axis=1))
            color = MADE if pair.flagged else MUTED
            axes.set_title(pair.text + (" (copy)" if pair.flagged else ""), fontsize=7.5, color=color, pad=2)
        panels[row * PAIRS].text(
            -0.08, 0.5, kind, transform=panels[row * PAIRS].transAxes, ha="right", va="center", rotation=90
        )
    return figure


def _image(axes: Axes, pixels: NDArray[np.uint8]) -> None:
    axes.imshow(pixels, interpolation="nearest", aspect="equal")
    axes.set_axis_off()
