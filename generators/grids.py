"""Grids of samples, for people: a row of images for each class, its name at the left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from generators.protocol import Generator
from runtime.rundir import writing
from runtime.seeds import seed_of

ZOOM_EDGE = 64  # grids are enlarged so that a cell has at least this many pixels


def write_grid(generator: Generator, path: Path, columns: int) -> None:
    """Draw a grid of samples: a row per class, its name at the left, the same seeds each time."""
    count = len(generator.classes)
    labels = torch.arange(count).repeat_interleave(columns)
    seeds = torch.tensor([seed_of(generator.seed, "grid", i) for i in range(len(labels))])
    images = generator.sample(labels, seeds).permute(0, 2, 3, 1).numpy()  # (n, h, w, 3)
    with writing(path) as aside:
        labelled_grid(images.reshape(count, columns, *images.shape[1:]), generator.classes).save(aside)


def labelled_grid(images: np.ndarray, names: tuple[str, ...]) -> Image.Image:
    """Rows of images with a name at the left of each.

    Args:
        images: uint8, shape (rows, columns, h, w, 3).
        names: One per row.
    """
    rows, columns, height, width, _ = images.shape
    zoom = max(1, -(-ZOOM_EDGE // width))
    font = ImageFont.load_default(size=16)
    margin = int(max(font.getlength(name) for name in names)) + 16
    tiles = images.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    sheet = Image.fromarray(tiles).resize(
        (columns * width * zoom, rows * height * zoom), Image.Resampling.NEAREST
    )
    page = Image.new("RGB", (margin + sheet.width, sheet.height), "white")
    page.paste(sheet, (margin, 0))
    pen = ImageDraw.Draw(page)
    for row, name in enumerate(names):
        pen.text((8, (row + 0.5) * height * zoom), name, fill="black", font=font, anchor="lm")
    return page
