"""The synthetic cells nearest to a training cell, each beside that cell, as one picture."""

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from cells.cellset import CellSet
from evaluation.reports.figures import INK, MADE, MUTED
from runtime.errors import InputError

LINE = 16  # pixels a line of words takes
MARGIN = 12


def pairs_sheet(
    synthetic: CellSet,
    train: CellSet,
    copies: Mapping[str, Any],
    count: int = 12,
    columns: int = 4,
    edge: int = 96,
) -> bytes:
    """A sheet of the nearest pairs: left the synthetic cell, right the training cell; below, the words.

    Near-copies are framed. A distance of 1 is the threshold of the class.

    Args:
        synthetic: The cells that were judged.
        train: The training cells.
        copies: As `evaluation.copies.memorization.near_copies` returns it, or its part ``features``.
        count: Pairs shown at most, >= 1.
        columns: Pairs a row, >= 1.
        edge: Pixels that each cell is shown at.

    Returns:
        A PNG.

    Raises:
        InputError: If there is no pair to show.
    """
    worst = copies["worst"][:count]
    if not worst:
        raise InputError("no pair of a synthetic and a training cell to show: no synthetic cell was judged.")
    wide, high = 2 * edge + 2 + 2 * MARGIN, edge + 2 * LINE + 2 * MARGIN
    rows, across = -(-len(worst) // columns), min(columns, len(worst))
    sheet = Image.new("RGB", (across * wide, rows * high), "white")
    for place, pair in enumerate(worst):
        left, top = place % columns * wide + MARGIN, place // columns * high + MARGIN
        for side, cells in enumerate((synthetic, train)):
            index = pair["train_index" if side else "synthetic_index"]
            shown = Image.fromarray(cells.pixels[index]).resize((edge, edge), Image.Resampling.BICUBIC)
            sheet.paste(shown, (left + side * (edge + 2), top))
        _caption(ImageDraw.Draw(sheet), pair, (left, top, 2 * edge + 2, edge))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _caption(draw: ImageDraw.ImageDraw, pair: Mapping[str, Any], box: tuple[int, int, int, int]) -> None:
    """Class, distance and verdict below a pair, and the frame of a near-copy."""
    left, top, width, edge = box
    font = ImageFont.load_default(size=12)
    said = "near-copy" if pair["copy"] else "no copy"
    draw.text((left, top + edge + 4), str(pair["class"]), fill=INK, font=font)
    words = f"distance {pair['distance']:.2f}: {said}"
    draw.text((left, top + edge + 4 + LINE), words, fill=MADE if pair["copy"] else MUTED, font=font)
    if pair["copy"]:
        draw.rectangle((left - 3, top - 3, left + width + 2, top + edge + 2), outline=MADE, width=2)
