"""Preprocessing: fitted on train alone, the same again from its file, and never a hole in the leak check."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from cells import chunked, fitted_steps
from cells.cellset import UNPROCESSED, CellSet
from cells.preprocessing import FILE, Preprocessing, preprocessed
from cells.reading import read_set
from cells.sources import MedmnistData, PhantomData, load
from cells.split import Split, SplitSettings, divide
from cells.stain import lab_statistics, light_of, optical_density, stains_of
from cells.steps import CropToCell, Denoise, Gamma, Mask, StainNormalization, Steps, Unsharp
from cells.writing import write_set
from runtime.errors import InputError
from runtime.parallel import Each

ALL: Steps = TypeAdapter(Steps).validate_python(
    [
        {"kind": "crop_to_cell"},
        {"kind": "mask"},
        {"kind": "stain_normalization"},
        {"kind": "stain_normalization", "method": "macenko"},
        {"kind": "clahe"},
        {"kind": "equalize"},
        {"kind": "gamma", "gamma": 1.2},
        {"kind": "denoise"},
        {"kind": "unsharp"},
    ]
)
MACENKO = StainNormalization(method="macenko")


@pytest.fixture(scope="module")
def split() -> Split:
    counts = {"lobed": 14, "round": 14, "blast": 6}
    data = PhantomData(image_size=48, counts=counts, val_per_class=6, test_per_class=12)
    return divide(load(data), SplitSettings(near_duplicates=False))


@pytest.mark.parametrize("step", ALL, ids=lambda step: step.kind)
def test_every_step_keeps_cells_and_changes_images(split: Split, step: Any) -> None:
    made = preprocessed(split, [step])
    for before, after in zip(
        (split.train, split.val, split.test), (made.train, made.val, made.test), strict=True
    ):
        assert after.pixels.shape == before.pixels.shape and after.pixels.dtype == np.uint8
        assert not np.array_equal(after.pixels, before.pixels)
        assert (after.names == before.names).all() and (after.labels == before.labels).all()
        assert (after.original_digests == before.digests).all()
    assert made.digest != split.digest


def test_no_steps_leave_the_split_as_it_is(split: Split) -> None:
    assert preprocessed(split, []) is split


def test_the_digest_follows_steps_and_settings(split: Split) -> None:
    lists = [[Gamma()], [Gamma(gamma=0.7)], [Gamma(), Unsharp()], [Unsharp(), Gamma()], [Gamma(gamma=1.0)]]
    digests = {preprocessed(split, steps).digest for steps in lists}
    assert len(digests) == len(lists) and split.digest not in digests


def _spoiled(cells: CellSet) -> CellSet:
    return replace(cells, pixels=(255 - cells.pixels[::-1]).copy())


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_val_and_test_do_not_touch_the_fit(split: Split, method: str) -> None:
    steps = [Gamma(), StainNormalization.model_validate({"method": method})]
    usual = preprocessed(split, steps)
    other = preprocessed(replace(split, val=_spoiled(split.val), test=_spoiled(split.test)), steps)
    assert usual.preprocessing == other.preprocessing is not None
    assert np.array_equal(usual.train.pixels, other.train.pixels)
    train = preprocessed(replace(split, train=replace(split.train, pixels=split.train.pixels // 2)), steps)
    assert train.preprocessing is not None
    assert train.preprocessing.learned != usual.preprocessing.learned  # train does


def test_a_step_is_fitted_to_what_the_ones_before_made(split: Split) -> None:
    fitted = Preprocessing.fit((Gamma(gamma=0.5), StainNormalization()), split.train)
    seen = Preprocessing.fit((Gamma(gamma=0.5),), split.train).cells(split.train)
    assert fitted.learned[1] == Preprocessing.fit((StainNormalization(),), seen).learned[0]


def test_the_result_does_not_hang_on_the_number_of_processes(split: Split) -> None:
    steps = [*ALL, Denoise(method="nl_means")]
    alone, together = (preprocessed(split, steps, processes) for processes in (1, 2))
    assert alone.preprocessing == together.preprocessing
    assert alone.digest == together.digest
    for one, other in zip(
        (alone.train, alone.val, alone.test), (together.train, together.val, together.test), strict=True
    ):
        assert np.array_equal(one.pixels, other.pixels) and (one.provenance == other.provenance).all()


def test_many_cells_are_worked_on_by_all_cores(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    @contextmanager
    def noted(processes: int) -> Iterator[Each]:
        asked.append(processes)
        yield map

    monkeypatch.setattr(fitted_steps, "workers", noted)
    monkeypatch.setattr(chunked, "cores", lambda: 7)
    preprocessed(split, [Gamma()])
    monkeypatch.setattr(chunked, "ENOUGH", 10)
    done = preprocessed(split, [Gamma()])
    assert done.preprocessing is not None
    done.preprocessing.apply(split.train.pixels)
    assert asked == [1, 7, 7]


def test_it_is_the_same_from_its_file(split: Split, tmp_path: Path) -> None:
    fitted = Preprocessing.fit(ALL, split.train)
    fitted.save(tmp_path)
    again = Preprocessing.load(tmp_path)
    assert again == fitted and again.digest == fitted.digest
    assert np.array_equal(again.apply(split.test.pixels), fitted.apply(split.test.pixels))
    assert Preprocessing.load(tmp_path / "nothing") is None


@pytest.mark.parametrize("content", ["{}", '{"steps": [{"settings": {"kind": "what"}, "learned": {}}]}', "["])
def test_a_damaged_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    with pytest.raises(InputError, match=FILE.replace(".", r"\.")):
        Preprocessing.load(tmp_path)


def test_another_size_is_refused(split: Split) -> None:
    fitted = Preprocessing.fit((Gamma(),), split.train)
    with pytest.raises(InputError, match="image_size=48"):
        fitted.cells(split.test.resized(32))


def test_digests_of_the_originals_survive_a_second_preprocessing_and_a_file(
    split: Split, tmp_path: Path
) -> None:
    once = Preprocessing.fit((Gamma(),), split.train).cells(split.train)
    twice = Preprocessing.fit((Unsharp(),), once).cells(once)
    write_set(twice, tmp_path / "set")
    read = read_set(tmp_path / "set")
    assert (read.original_digests == split.train.digests).all()
    assert all(UNPROCESSED in said for said in read.provenance)


def test_reinhard_gives_all_images_the_mean_statistics_of_train(split: Split) -> None:
    made = preprocessed(split, [StainNormalization()])
    means = np.array([lab_statistics(image)[0] for image in split.train.pixels])
    after = np.array([lab_statistics(image)[0] for image in made.test.pixels])
    assert after.std(axis=0).max() < 0.25 * means.std(axis=0).min()
    assert after.mean(axis=0) == pytest.approx(means.mean(axis=0), abs=0.6)


def _azure(cells: CellSet) -> np.ndarray:
    """The first stain of each cell that suits the model, shape (m, 3)."""
    found = []
    for image in cells.pixels:
        light = light_of(image)
        stains = stains_of(optical_density(image, light).reshape(-1, 3), light)
        if stains is not None and stains.suit:
            found.append(stains.vectors[0])
    return np.array(found)


def test_macenko_makes_stains_alike_and_keeps_the_classes_apart(split: Split) -> None:
    made = preprocessed(split, [MACENKO])
    restained = (made.test.pixels != split.test.pixels).any(axis=(1, 2, 3))
    assert restained.mean() > 0.8
    before, after = _azure(split.test.subset(restained)), _azure(made.test.subset(restained))
    assert after.var(axis=0).sum() < 0.35 * before.var(axis=0).sum()
    kept = []
    for sides in (split, made):  # nearest class mean in dark area, which lobed, round and blast differ in
        dark = [(side.pixels.mean(axis=3) < 130).mean(axis=(1, 2)) for side in (sides.train, sides.test)]
        means = np.array([dark[0][sides.train.labels == k].mean() for k in np.unique(sides.train.labels)])
        guess = np.unique(sides.train.labels)[np.abs(dark[1][:, None] - means).argmin(axis=1)]
        kept.append((guess == sides.test.labels).mean())
    assert kept[1] >= kept[0] - 0.1


def test_stain_normalization_refuses_what_has_no_stain(split: Split) -> None:
    gray = split.train.pixels.mean(axis=3, keepdims=True).astype(np.uint8).repeat(3, axis=3)
    for method in ("reinhard", "macenko"):
        step = StainNormalization.model_validate({"method": method})
        with pytest.raises(InputError, match="gray"):
            Preprocessing.fit((step,), replace(split.train, pixels=gray))
    with pytest.raises(InputError, match="X-rays"):
        Preprocessing.fit((MACENKO,), split.train.with_modality("xray"))
    noise = np.random.default_rng(0).integers(0, 256, split.train.pixels.shape, dtype=np.uint8)
    with pytest.raises(InputError, match=r"does not suit the training cells \(angle"):
        Preprocessing.fit((MACENKO,), replace(split.train, pixels=noise))


def test_a_part_that_the_model_does_not_suit_is_told_once(split: Split) -> None:
    pixels = split.train.pixels[[-1] * len(split.train)]  # one that suits, again and again
    assert Preprocessing.fit((MACENKO,), replace(split.train, pixels=pixels)).notices == ()
    pixels = pixels.copy()
    pixels[0, :24] = 0  # a black half: one of 34 cells, one of 6 blasts
    assert Preprocessing.fit((MACENKO,), replace(split.train, pixels=pixels)).notices == ()
    pixels = pixels.copy()
    pixels[:2, :24] = 0
    fitted = Preprocessing.fit((MACENKO,), replace(split.train, pixels=pixels))
    assert len(fitted.notices) == 1
    assert "6% of the training cells, and 33% of class 'blast'" in fitted.notices[0]
    made = fitted.apply(pixels)
    assert np.array_equal(made[0], pixels[0]) and not np.array_equal(made[-1], pixels[-1])


def test_xrays_are_refused_for_stains_and_taken_by_the_rest(shared: Path) -> None:
    cells = load(MedmnistData(name=str(shared / "data" / "pneumoniamnist.npz")))
    cells = cells.subset(np.arange(0, len(cells), 200))
    with pytest.raises(InputError, match="X-rays"):
        Preprocessing.fit((StainNormalization(),), cells)
    made = Preprocessing.fit((*ALL[4:], Denoise(method="nl_means")), cells).apply(cells.pixels)
    assert (made == made[..., :1]).all()


@pytest.mark.parametrize(
    "steps",
    [
        [{"kind": "gama"}],
        [{"kind": "gamma", "gamma": 0}],
        [{"kind": "stain_normalization", "method": "vahadane"}],
        [{"kind": "denoise", "radius": 0}],
        [{"kind": "clahe", "limit": 1}],
    ],
)
def test_wrong_steps_are_refused(steps: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Steps).validate_python(steps)


def test_the_crop_fills_the_image_with_the_cell(split: Split) -> None:
    cells = split.test
    made = Preprocessing.fit((CropToCell(),), split.train).cells(cells)
    before, after = ((side.pixels.mean(axis=3) < 150).mean(axis=(1, 2)) for side in (cells, made))
    assert np.median(after / before) > 1.2
    assert made.image_size == cells.image_size


def test_the_mask_paints_over_all_but_the_cell(split: Split) -> None:
    cells, color = split.test, (1, 254, 3)
    shares = []
    for what in ("cell", "nucleus"):
        step = Mask.model_validate({"what": what, "background": color})
        made = Preprocessing.fit((step,), split.train).apply(cells.pixels)
        painted = (made == np.array(color)).all(axis=3)
        assert np.array_equal(made[~painted], cells.pixels[~painted])
        shares.append(painted.mean(axis=(1, 2)))
    assert (shares[1] >= shares[0]).all() and 0.1 < np.median(shares[0]) < np.median(shares[1]) < 0.99
    blank = np.full((1, 48, 48, 3), 240, np.uint8)
    assert np.array_equal(Mask().apply(blank[0], {}), blank[0])


@pytest.mark.parametrize("step", [CropToCell(), Mask()], ids=["crop", "mask"])
def test_masks_are_refused_for_xrays_and_said_where_they_fail(split: Split, step: Any) -> None:
    with pytest.raises(InputError, match=f"{step.kind} needs stained cells"):
        step.fit(split.train.with_modality("xray"))
    assert step.fit(split.train)[1] == []
    pixels = split.train.pixels.copy()
    pixels[: len(pixels) // 4] = (240, 230, 220)
    assert "finds no cell in 24%" in step.fit(replace(split.train, pixels=pixels))[1][0]
