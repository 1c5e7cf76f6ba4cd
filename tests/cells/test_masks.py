"""Masks find the drawn nucleus and cell, and boxes hold the cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from cells.masks import METHODS, HsvMasks, cell_boxes, nucleus_and_cytoplasm
from cells.phantom import CLASSES, draw, phantom_masks
from cells.regions import filled
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


@pytest.fixture(scope="module")
def overlaps() -> dict[str, dict[str, float]]:
    """Mean IoU of the nucleus, by method and class, at 64 px."""
    found: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    for label, name in enumerate(CLASSES):
        pixels = np.stack([draw(label, 7_000 + seed, 64) for seed in range(16)])
        true = np.stack([phantom_masks(label, 7_000 + seed, 64)[0] for seed in range(16)])
        for method, settings in METHODS.items():
            nucleus = nucleus_and_cytoplasm(pixels, settings()).nucleus
            both, any_ = (nucleus & true).sum((1, 2)), (nucleus | true).sum((1, 2))
            found[method][name] = float((both / any_).mean())
    return found


def test_nuclei_by_otsu_are_those_drawn(overlaps: dict[str, dict[str, float]]) -> None:
    seen = [value for name, value in overlaps["otsu"].items() if name != "granular"]  # hidden there
    assert np.mean(seen) >= 0.88
    assert min(seen) >= 0.78


def test_nuclei_by_hsv_thresholds_are_those_drawn(overlaps: dict[str, dict[str, float]]) -> None:
    assert np.mean(list(overlaps["hsv"].values())) >= 0.85
    assert min(value for name, value in overlaps["hsv"].items() if name != "granular") >= 0.85


@pytest.mark.parametrize("stain", [0.75, 1.3])
def test_hsv_thresholds_follow_the_stain(stain: float) -> None:
    image, true = draw(CLASSES.index("kidney"), 7_003, 64), phantom_masks(CLASSES.index("kidney"), 7_003, 64)
    light = np.percentile(image.reshape(-1, 3), 95, axis=0)
    other = (light * np.minimum(image / light, 1) ** stain).astype(np.uint8)  # Beer-Lambert: more of it
    nucleus = nucleus_and_cytoplasm(other, HsvMasks()).nucleus
    assert (nucleus & true[0]).sum() / (nucleus | true[0]).sum() > 0.85


def test_hsv_thresholds_can_be_set() -> None:
    image = draw(CLASSES.index("kidney"), 7_003, 64)
    usual = nucleus_and_cytoplasm(image, HsvMasks()).nucleus.sum()
    assert nucleus_and_cytoplasm(image, HsvMasks(value=0.95)).nucleus.sum() < usual
    assert nucleus_and_cytoplasm(image, HsvMasks(saturation=0.95)).nucleus.sum() < usual
    assert not nucleus_and_cytoplasm(image, HsvMasks(hue=(60, 120))).cell.any()
    with pytest.raises(ValueError, match="less than or equal to 1"):
        HsvMasks(value=1.5)


def test_holes_are_filled_as_scipy_fills_them() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random((17, 23)) < 0.6
        assert np.array_equal(filled(mask), ndimage.binary_fill_holes(mask))


def test_true_masks_lie_inside_each_other_at_every_size() -> None:
    for label in range(len(CLASSES)):
        shares = []
        for size in (32, 50, 128):
            nucleus, cell = phantom_masks(label, 1, size)
            assert nucleus.shape == cell.shape == (size, size)
            assert nucleus.any() and not (nucleus & ~cell).any()
            shares.append([nucleus.mean(), cell.mean()])
        assert np.ptp(shares, axis=0).max() < 0.02


def test_one_image_is_as_good_as_a_batch() -> None:
    image = draw(0, 3, 48)
    alone, batch = nucleus_and_cytoplasm(image), nucleus_and_cytoplasm(image[None])
    assert alone.nucleus.shape == (48, 48)
    assert np.array_equal(alone.nucleus, batch.nucleus[0])
    assert np.array_equal(alone.cytoplasm, batch.cytoplasm[0])
    assert not (batch.nucleus & batch.cytoplasm).any()


def test_darker_light_changes_little() -> None:
    image = draw(CLASSES.index("round"), 3, 64)
    dim = (image * np.array([0.8, 0.75, 0.7])).astype(np.uint8)
    one, other = nucleus_and_cytoplasm(image).nucleus, nucleus_and_cytoplasm(dim).nucleus
    assert (one & other).sum() / (one | other).sum() > 0.95


def test_real_cells_have_a_nucleus_in_the_middle(shared: Path) -> None:
    for folder in sorted((shared / "data/pbc-lt-128/test").iterdir()):
        files = sorted(folder.glob("*.jpg"))[::40]
        pixels = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
        masks = nucleus_and_cytoplasm(pixels)
        area, whole = masks.nucleus.mean((1, 2)), masks.cell.mean((1, 2))
        assert 0.01 < np.median(area) < 0.4, folder.name
        assert 0.03 < np.median(whole) < 0.7, folder.name
        dark = [image[mask].mean() for image, mask in zip(pixels, masks.nucleus, strict=True) if mask.any()]
        assert np.mean(dark) < 130, folder.name
