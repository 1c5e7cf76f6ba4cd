"""Masks find the drawn nucleus and cell, and boxes hold the cell."""

from __future__ import annotations

import numpy as np
import pytest

from cells.masks import cell_boxes, nucleus_and_cytoplasm
from cells.phantom import CLASSES, draw, phantom_masks
from runtime.errors import InputError


@pytest.mark.parametrize("method", ["otsu", "hsv"])
def test_boxes_are_squares_around_the_cell(method: str) -> None:
    pairs = [(label, seed) for label in range(len(CLASSES)) for seed in range(6)]
    pixels = np.stack([draw(*pair, 64) for pair in pairs])
    boxes = cell_boxes(pixels, method)  # type: ignore[arg-type]
    assert boxes.shape == (len(pairs), 4) and boxes.dtype == np.int64
    held = []
    for (top, left, bottom, right), pair in zip(boxes, pairs, strict=True):
        assert bottom - top == right - left and 0 <= top < bottom <= 64 and 0 <= left < right <= 64
        cell = phantom_masks(*pair, 64)[1]
        held.append(cell[top:bottom, left:right].sum() / cell.sum())
    assert np.mean(np.array(held) > 0.97) > 0.9


def test_an_image_without_a_cell_keeps_all_of_itself() -> None:
    flat = np.full((2, 20, 30, 3), 200, np.uint8)
    assert cell_boxes(flat).tolist() == [[0, 0, 20, 30]] * 2
    assert cell_boxes(flat[:0]).shape == (0, 4)
    assert not nucleus_and_cytoplasm(flat).cell.any()


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(InputError, match="'otzu'"):
        cell_boxes(np.zeros((1, 8, 8, 3), np.uint8), "otzu")  # type: ignore[arg-type]
