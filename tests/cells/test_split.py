from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from cells import CellSet
from cells.duplicates import NearDuplicate
from cells.leaks import shared_cells
from cells.split import LeakError, Split, SplitSettings, divide, require_real
from runtime.config import load_config
from runtime.errors import InputError


def cells(
    labels: Sequence[int],
    groups: Sequence[str] | None = None,
    splits: Sequence[str] | str = "",
    origin: str = "real",
    seed: int = 0,
) -> CellSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
    return CellSet.from_arrays(
        pixels,
        labels,
        ["a", "b"],
        names=[f"{seed}/{i}.png" for i in range(len(labels))],
        groups=groups,
        splits=splits,
        origin=origin,
    )


def parts(split: Split) -> list[CellSet]:
    return [split.train, split.val, split.test]


LONG_TAIL = [0] * 100 + [1] * 10
PREMADE = ["train"] * 6 + ["val"] * 2 + ["test"] * 2


def test_each_class_is_divided_by_the_fractions() -> None:
    split = divide(cells(LONG_TAIL), SplitSettings())
    assert [part.counts for part in parts(split)] == [
        {"a": 70, "b": 6},
        {"a": 15, "b": 2},
        {"a": 15, "b": 2},
    ]
    names = [set(part.names) for part in parts(split)]
    assert len(names[0] | names[1] | names[2]) == 110
    assert set(split.val.splits) == {"val"}


def test_three_cells_are_enough_for_a_class_and_two_are_not() -> None:
    split = divide(cells([0] * 20 + [1] * 3), SplitSettings())
    assert [part.counts["b"] for part in parts(split)] == [1, 1, 1]
    with pytest.raises(InputError, match="class 'b' has no cells in train"):
        divide(cells([0] * 20 + [1] * 2), SplitSettings())


def test_groups_stay_together_and_classes_stay_stratified() -> None:
    rng = np.random.default_rng(0)
    labels = [0] * 300 + [1] * 60
    groups = [f"slide-{rng.integers(40)}" for _ in labels]
    split = divide(cells(labels, groups), SplitSettings())
    sides = [set(part.groups) for part in parts(split)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    for part, share in zip(parts(split), (0.7, 0.15, 0.15), strict=True):
        assert part.counts["a"] == pytest.approx(300 * share, abs=12)
        assert part.counts["b"] == pytest.approx(60 * share, abs=5)


def test_equal_images_stay_together_even_across_groups() -> None:
    plain = cells(LONG_TAIL)
    pixels = plain.pixels.copy()
    pixels[:50:2] = pixels[1:50:2]  # pairs
    paired = CellSet.from_arrays(pixels, plain.labels, plain.classes)
    sides = [set(part.digests) for part in parts(divide(paired, SplitSettings()))]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(InputError, match=r"class 'b' has no cells in .*groups"):
        divide(cells([0] * 20 + [1] * 9, [f"{i}" for i in range(20)] + ["p"] * 9), SplitSettings())


def test_the_digest_tells_splits_apart() -> None:
    first = divide(cells(LONG_TAIL), SplitSettings())
    assert first.digest == divide(cells(LONG_TAIL), SplitSettings()).digest
    assert len(first.digest) == 16
    assert first.digest != divide(cells(LONG_TAIL), SplitSettings(seed=1)).digest
    assert first.digest != divide(cells(LONG_TAIL, seed=1), SplitSettings()).digest
    assert set(first.train.names) != set(divide(cells(LONG_TAIL), SplitSettings(seed=1)).train.names)


def test_a_premade_split_is_kept() -> None:
    split = divide(cells([0, 1] * 5, splits=PREMADE), SplitSettings(seed=5))
    assert [list(part.names) for part in parts(split)] == [
        [f"0/{i}.png" for i in rows] for rows in (range(6), (6, 7), (8, 9))
    ]


def test_val_is_carved_from_train_where_it_is_missing() -> None:
    made = cells([*LONG_TAIL, 0, 1], splits=["train"] * 110 + ["test"] * 2)
    split = divide(made, SplitSettings(fractions=(0.6, 0.2, 0.2)))
    assert split.val.counts == {"a": 25, "b": 2}
    assert split.train.counts == {"a": 75, "b": 8}
    assert list(split.test.names) == ["0/110.png", "0/111.png"]


@pytest.mark.parametrize("side", ["train", "test"])
def test_a_premade_split_needs_train_and_test(side: str) -> None:
    sides = ["val" if name == side else name for name in PREMADE]
    with pytest.raises(InputError, match=f"no {side} cells"):
        divide(cells([0, 1] * 5, splits=sides), SplitSettings())


def test_a_half_made_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"0/0\.png.*every cell or for none"):
        divide(cells([0, 1] * 5, splits=["", *PREMADE[1:]]), SplitSettings())


def test_a_class_missing_on_a_premade_side_is_refused() -> None:
    with pytest.raises(InputError, match="class 'b' has no cells in test"):
        divide(cells([0, 1] * 4 + [0, 0], splits=PREMADE), SplitSettings())


def test_a_group_on_two_sides_is_refused_or_dropped() -> None:
    groups = [f"patient-{i}" for i in range(9)] + ["patient-0"]
    made = cells([0, 1] * 5, groups, splits=PREMADE)
    with pytest.raises(InputError, match=r"0/0\.png: group 'patient-0' is in train and in test"):
        divide(made, SplitSettings())
    split = divide(made, SplitSettings(leaks="drop"))
    assert [len(part) for part in parts(split)] == [5, 2, 2]
    assert "patient-0" not in split.train.groups
    (notice,) = split.leaks_dropped
    assert notice.startswith("Dropped 1 cell of train whose image or group val or test also have")
    assert notice.endswith(": 0/0.png.") and not divide(cells([0, 1] * 5), SplitSettings()).leaks_dropped


def test_an_image_on_two_sides_is_refused_or_dropped() -> None:
    plain = cells([0, 1] * 5, splits=PREMADE)
    pixels = plain.pixels.copy()
    pixels[3], pixels[6] = pixels[7], pixels[8]
    made = CellSet.from_arrays(pixels, plain.labels, ["a", "b"], splits=PREMADE)
    with pytest.raises(InputError, match=r"image\[3\]: the same image is in train and in val"):
        divide(made, SplitSettings())
    with pytest.raises(InputError, match="class 'a' has no cells in val"):
        divide(made, SplitSettings(leaks="drop"))  # its only one is in test


def test_synthetic_cells_may_train_and_nothing_else() -> None:
    real = cells([0, 1] * 5, splits=PREMADE)
    train_only = real + cells([0, 1], splits="train", origin="synthetic", seed=1)
    assert divide(train_only, SplitSettings()).train.is_synthetic.sum() == 2
    for side in ("val", "test"):
        mixed = real + cells([0, 1], splits=side, origin="synthetic", seed=1)
        with pytest.raises(InputError, match=rf"1/0\.png: is synthetic.*{side} must hold real"):
            divide(mixed, SplitSettings())
    with pytest.raises(InputError, match="real cells only"):
        divide(cells(LONG_TAIL) + cells([0], origin="synthetic", seed=1), SplitSettings())


def test_synthetic_cells_are_never_carved_into_val() -> None:
    made = (
        cells(LONG_TAIL, splits="train")
        + cells([0, 1] * 40, splits="train", origin="synthetic", seed=1)
        + cells([0, 1], splits="test", seed=2)
    )
    split = divide(made, SplitSettings())
    assert not split.val.is_synthetic.any()
    assert split.train.is_synthetic.sum() == 80


def test_phantoms_stand_in_for_real_cells() -> None:
    require_real(cells([0, 1], origin="phantom"), "test")
    with pytest.raises(InputError, match="the reference must hold real"):
        require_real(cells([0, 1], origin="synthetic"), "the reference")


def test_bad_fractions_are_an_input_error() -> None:
    for bad in ("[0.5,0.5,0]", "[0.5,0.2,0.2]"):
        with pytest.raises(InputError, match="sum to 1"):
            load_config(SplitSettings, None, [f"fractions={bad}"])


def patchy(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images of 24 px with plain detail."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


def test_turned_and_flipped_copies_stay_on_one_side() -> None:
    pixels = patchy(40)
    copies = np.concatenate([pixels, np.rot90(pixels, axes=(1, 2)), pixels[:, ::-1]])
    made = CellSet.from_arrays(copies, [0, 1] * 60, ["a", "b"])

    def sides_of(settings: SplitSettings) -> list[set[str]]:
        side = {
            name: which for which, part in enumerate(parts(divide(made, settings))) for name in part.names
        }
        return [{side[f"image[{i + 40 * copy}]"] for copy in range(3)} for i in range(40)]

    assert all(len(sides) == 1 for sides in sides_of(SplitSettings()))
    assert any(len(sides) > 1 for sides in sides_of(SplitSettings(near_duplicates=False)))


def test_without_near_duplicates_the_split_is_the_same() -> None:
    made = CellSet.from_arrays(patchy(60), [0, 1] * 30, ["a", "b"])
    on, off = divide(made, SplitSettings()), divide(made, SplitSettings(near_duplicates=False))
    assert on.digest == off.digest


def test_a_near_duplicate_on_two_sides_is_refused_dropped_or_allowed() -> None:
    pixels = patchy(10)
    pixels[8] = pixels[0, :, ::-1]
    made = CellSet.from_arrays(pixels, [0, 1] * 5, ["a", "b"], splits=PREMADE)
    with pytest.raises(LeakError, match=r"image\[0\]: nearly the same image \(image\[8\]\) is in train and"):
        divide(made, SplitSettings())
    for leaks, sizes in (("drop", [5, 2, 2]), ("allow", [6, 2, 2])):
        split = divide(made, load_config(SplitSettings, None, [f"leaks={leaks}"]))
        assert [len(part) for part in parts(split)] == sizes
        assert split.leaking == (leaks == "allow")
        assert ("with a cell of val or test: 1." in split.warning) == (leaks == "allow")
    assert len(divide(made, SplitSettings(near_duplicates=False)).train) == 6


def test_what_is_shared_with_unseen_cells_is_counted() -> None:
    pixels = patchy(12)
    pixels[8], pixels[9] = pixels[0, :, ::-1], pixels[1]
    names = [f"{i % 8}.png" for i in range(12)]  # of two folders that use the same names
    made = CellSet.from_arrays(pixels, [0, 1] * 6, ["a", "b"], names=names)
    known, unseen = np.arange(8), np.arange(8, 12)
    assert shared_cells(made.subset(known), made.subset(unseen)) == 2  # one turned, one equal
    groups = ["p1", *names[1:7], "p2", *names[8:10], "p2", "p3"]
    grouped = CellSet.from_arrays(pixels, [0, 1] * 6, ["a", "b"], names=names, groups=groups)
    assert shared_cells(grouped.subset(known), grouped.subset(unseen)) == 3
    assert shared_cells(grouped.subset(known[2:7]), grouped.subset(unseen)) == 0


def test_near_duplicates_connect_through_others() -> None:
    made = CellSet.from_arrays(patchy(10), [0, 1] * 5, ["a", "b"], splits=PREMADE)
    chain = [NearDuplicate(0, 2, 1.0), NearDuplicate(2, 8, 1.0)]
    split = divide(made, SplitSettings(leaks="drop"), chain)
    assert not {"image[0]", "image[2]"} & set(split.train.names)
    assert len(split.train) == 4
