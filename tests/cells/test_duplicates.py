import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cells import CellSet
from cells.duplicates import _invariants, _oriented, _thumbnails, near_duplicates
from cells.phantom import CLASSES, phantoms
from cells.sources import MedmnistData, SplitFolderData, load

Pixels = NDArray[np.uint8]


def turn(image: Pixels, amount: float) -> Pixels:
    return np.rot90(image, 1 + int(amount * 2.999))


def flip(image: Pixels, amount: float) -> Pixels:
    return image[:, ::-1] if amount < 0.5 else image[::-1]


def jpeg(image: Pixels, amount: float) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "jpeg", quality=75)
    return np.asarray(Image.open(file))


def crop(image: Pixels, amount: float) -> Pixels:
    size = len(image)
    corner = 0.04 * size * amount
    box = (corner, 0.0, corner + 0.96 * size, 0.96 * size)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize((size, size), box=box)
    return np.asarray(resized)


def brighten(image: Pixels, amount: float) -> Pixels:
    return (image * (0.92 + 0.16 * amount)).clip(0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Pixels, float], Pixels]] = {
    "turn": turn,
    "flip": flip,
    "jpeg": jpeg,
    "crop": crop,
    "brighten": brighten,
}


def every(image: Pixels, amount: float) -> Pixels:
    for change in CHANGES.values():
        image = change(image, amount)
    return image


def planted(cells: CellSet, change: Callable[[Pixels, float], Pixels], count: int) -> CellSet:
    """The cells, then a changed copy of the first ones."""
    amounts = np.random.default_rng(0).random(count)
    copies = np.stack([change(cells.pixels[i], amounts[i]) for i in range(count)])
    everything = np.concatenate([cells.pixels, copies])
    return CellSet.from_arrays(everything, [0] * len(everything), ["a"])


def found_and_false(cells: CellSet, count: int) -> tuple[float, set[int]]:
    """The share of planted copies found, and the original cells paired with another original."""
    originals = len(cells) - count
    pairs = {(pair.first, pair.second) for pair in near_duplicates(cells)}
    recall = float(np.mean([(i, originals + i) in pairs for i in range(count)]))
    return recall, {row for pair in pairs if pair[1] < originals for row in pair}


def drawn(size: int = 32, each: int = 25) -> CellSet:
    return phantoms(dict.fromkeys(CLASSES, each), size, seed=1)


@pytest.mark.parametrize("change", [*CHANGES.values(), every], ids=[*CHANGES, "every"])
def test_a_changed_copy_is_found(change: Callable[[Pixels, float], Pixels]) -> None:
    recall, false = found_and_false(planted(drawn(), change, 60), 60)
    assert recall >= 0.95
    assert not false


def test_drawn_cells_are_no_duplicates_of_one_another() -> None:
    assert near_duplicates(drawn(each=60)) == []
    assert near_duplicates(drawn(size=16, each=60)) == []


def test_equal_pixels_are_left_to_the_digests() -> None:
    cells = drawn(each=5)
    assert near_duplicates(cells + cells) == []


def test_the_agreement_of_a_turned_copy_is_nearly_one() -> None:
    pairs = near_duplicates(planted(drawn(each=5), turn, 3))
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 30), (1, 31), (2, 32)]
    assert all(pair.agreement > 0.999 for pair in pairs)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_small_sets_are_no_error(count: int) -> None:
    assert near_duplicates(drawn(each=1).subset(np.arange(count))) == []


def test_flat_images_are_no_duplicates() -> None:
    flat = np.stack([np.full((32, 32, 3), value, np.uint8) for value in range(200, 220)])
    assert near_duplicates(CellSet.from_arrays(flat, [0] * 20, ["a"])) == []


def test_images_too_small_for_detail_give_none() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    cells = CellSet.from_arrays(np.concatenate([pixels, pixels[:, ::-1]]), [0] * 8, ["a"])
    assert near_duplicates(cells) == []


def test_invariants_do_not_change_with_the_orientation_and_only_shrink_distances() -> None:
    thumbnails = _thumbnails(drawn(each=4).pixels, 1.0)
    before = _invariants(thumbnails)
    for which in range(8):
        np.testing.assert_allclose(_invariants(_oriented(thumbnails, which)), before, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), 1, atol=1e-5)
    nearer = np.linalg.norm(before[1:] - before[:-1], axis=1)
    for which in range(8):
        flat = (thumbnails[1:] - _oriented(thumbnails, which)[:-1]).reshape(len(nearer), -1)
        assert (nearer <= np.linalg.norm(flat, axis=1) + 1e-5).all()


@pytest.mark.parametrize("size", [28, 64])
def test_real_cells(shared: Path, size: int) -> None:
    cells = load(SplitFolderData(root=shared / "data" / "pbc-lt-128", image_size=size))
    some = cells.subset(np.random.default_rng(0).permutation(len(cells))[:2500])
    recall, false = found_and_false(planted(some, every, 300), 300)
    assert recall >= 0.95
    assert len(false) <= 0.01 * len(some)


def test_the_same_cell_photographed_twice_is_found(shared: Path) -> None:
    cells = load(SplitFolderData(root=shared / "data" / "pbc-lt-128", image_size=28))
    names = ["train/ig/IG_855229.jpg", "test/ig/IG_466905.jpg"]
    (pair,) = near_duplicates(cells.of_class("ig"))
    ig = cells.of_class("ig")
    assert {ig.names[pair.first], ig.names[pair.second]} == set(names)


def test_a_real_npz_has_hardly_any(shared: Path) -> None:
    cells = load(MedmnistData(name=str(shared / "data" / "pbc-natural-28.npz")))
    assert len(near_duplicates(cells.subset(np.arange(5000)))) <= 5
