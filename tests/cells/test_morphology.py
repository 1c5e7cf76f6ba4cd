"""Numbers of drawn cells are those of what was drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull
from skimage.color import rgb2hsv
from skimage.measure import perimeter

from cells.cellset import CellSet
from cells.masks import HsvMasks, nucleus_and_cytoplasm, transmittance
from cells.morphology import COLUMNS, Morphology, _blurred, as_csv, lobe_count, measure, read_morphology
from cells.phantom import CLASSES, draw, phantom_masks
from runtime.errors import InputError

COUNT = 20
SIZE = 64


@pytest.fixture(scope="module")
def drawn() -> CellSet:
    pairs = [(label, 5_000 + seed) for label in range(len(CLASSES)) for seed in range(COUNT)]
    pixels = np.stack([draw(*pair, SIZE) for pair in pairs])
    return CellSet.from_arrays(pixels, [label for label, _ in pairs], CLASSES)


@pytest.fixture(scope="module")
def measured(drawn: CellSet) -> Morphology:
    return measure(drawn)


def medians(drawn: CellSet, column: NDArray[np.float64]) -> dict[str, float]:
    return {name: float(np.nanmedian(column[drawn.labels == i])) for i, name in enumerate(CLASSES)}


def test_lobes_are_those_drawn(drawn: CellSet, measured: Morphology) -> None:
    lobes = medians(drawn, measured["lobes"])
    assert lobes["bilobed"] == 2
    assert 3 <= lobes["lobed"] <= 5
    assert lobes["round"] == lobes["blast"] == lobes["kidney"] == 1


def test_ratio_tells_wide_nuclei_from_ample_cytoplasm(drawn: CellSet, measured: Morphology) -> None:
    for name in ("nucleus_to_cytoplasm", "nucleus_to_cell"):
        ratio = medians(drawn, measured[name])
        assert min(ratio["round"], ratio["blast"]) > 1.3 * max(ratio["kidney"], ratio["lobed"])


def test_granules_are_seen(drawn: CellSet, measured: Morphology) -> None:
    grains = medians(drawn, measured["granularity"])
    assert max(grains, key=lambda name: grains[name]) == "granular"


def test_nucleus_area_follows_the_truth(drawn: CellSet, measured: Morphology) -> None:
    true = np.array(
        [phantom_masks(int(label), 5_000 + i % COUNT, SIZE)[0].sum() for i, label in enumerate(drawn.labels)]
    )
    # Granules hide the nucleus of one class; of some blasts much of the cytoplasm is taken for nucleus.
    for without, bound in ((("granular",), 0.9), (("granular", "blast"), 0.95)):
        rows = ~np.isin(drawn.labels, [CLASSES.index(name) for name in without])
        assert np.corrcoef(true[rows], measured["nucleus_area_px"][rows])[0, 1] > bound


def test_round_and_indented_nuclei_differ_in_shape(drawn: CellSet, measured: Morphology) -> None:
    solidity = medians(drawn, measured["nucleus_solidity"])
    assert solidity["round"] > 0.93 > solidity["kidney"] > 0
    assert medians(drawn, measured["nucleus_eccentricity"])["bilobed"] > 0.8


def test_areas_add_up(measured: Morphology) -> None:
    parts = measured["nucleus_area_px"] + measured["cytoplasm_area_px"]
    assert np.array_equal(parts, measured["cell_area_px"])
    assert np.allclose(measured["cell_share"] * SIZE**2, measured["cell_area_px"])


def test_a_mirrored_cell_has_the_same_numbers(drawn: CellSet, measured: Morphology) -> None:
    mirrored = measure(CellSet.from_arrays(drawn.pixels[:30, ::-1].copy(), drawn.labels[:30], CLASSES))
    for name, bound in (("cell_area_px", 0.1), ("nucleus_area_px", 0.05), ("granularity", 0.1)):
        change = np.abs(mirrored[name] / measured[name][:30] - 1)
        assert np.median(change) < bound, name


def test_shortcuts_change_no_number(drawn: CellSet, measured: Morphology) -> None:
    for i in range(0, len(drawn), 13):
        nucleus = nucleus_and_cytoplasm(drawn.pixels[i]).nucleus
        points = np.argwhere(nucleus)
        corners = np.concatenate([points + step for step in ((0, 0), (0, 1), (1, 0), (1, 1))])
        hsv = rgb2hsv(transmittance(drawn.pixels[i]))[nucleus]
        for name, plain in (
            ("nucleus_perimeter_px", perimeter(np.pad(nucleus, 1))),
            ("nucleus_solidity", len(points) / ConvexHull(corners).volume),
            ("nucleus_saturation", hsv[:, 1].mean()),
            ("lobes", lobe_count(nucleus)),
        ):
            assert measured[name][i] == pytest.approx(plain, rel=1e-6), name


def test_the_blur_is_scipys() -> None:
    values = np.random.default_rng(1).random((40, 50), np.float32)
    plain = ndimage.gaussian_filter(values, 2.2, mode="constant", truncate=3)
    np.testing.assert_allclose(_blurred(values, 2.2), plain, rtol=1e-5)


@pytest.mark.parametrize("lobes", [1, 2, 3, 4])
def test_lobes_of_discs_on_a_line(lobes: int) -> None:
    y, x = np.indices((128, 128))
    shape = np.abs(y - 64) < 3
    shape &= (x > 20) & (x < 20 + 26 * lobes - 6)
    for i in range(lobes):
        shape |= np.hypot(y - 64, x - 30 - 26 * i) < 11
    assert lobe_count(shape) == lobes


def test_without_a_cell_there_is_no_number_but_areas() -> None:
    blank = CellSet.from_arrays(np.full((2, 24, 24, 3), 230, np.uint8), [0, 0], ["a"])
    found = measure(blank)
    assert found.not_found == 2
    assert not found.values[:, :6].any() and np.isnan(found.values[:, 6:]).all()
    assert measure(blank.subset([])).values.shape == (0, len(COLUMNS))


def test_more_processes_give_the_same(drawn: CellSet, measured: Morphology) -> None:
    some = drawn.subset(np.arange(70))
    np.testing.assert_array_equal(measure(some, processes=2).values, measured.values[:70])


def test_the_method_matters(drawn: CellSet, measured: Morphology) -> None:
    narrow = measure(drawn.subset(np.arange(8)), HsvMasks(value=0.95))
    assert (narrow["nucleus_area_px"] < measured["nucleus_area_px"][:8]).mean() > 0.5


def test_it_is_read_back(measured: Morphology, tmp_path: Path) -> None:
    names = [f'a "b", c/{i}.png' for i in range(len(measured))]
    (tmp_path / "morphology.csv").write_text(as_csv(measured, names))
    found, numbers = read_morphology(tmp_path)
    assert found == names and numbers.names == COLUMNS
    np.testing.assert_allclose(numbers.values, measured.values, rtol=1e-5)


def test_a_missing_or_wrong_table_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="morphology=true"):
        read_morphology(tmp_path)
    for text in ("file_name,lobes\na,b\n", "x\n", "", "file_name,lobes\na,1\n"):
        (tmp_path / "morphology.csv").write_text(text)
        with pytest.raises(InputError, match="make it again"):
            read_morphology(tmp_path)
