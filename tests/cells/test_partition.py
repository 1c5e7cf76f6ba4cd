from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cells import CellSet
from cells.split import Split, SplitSettings, divide, folds
from runtime.errors import InputError


def cells(groups: Sequence[Sequence[int]]) -> CellSet:
    """Groups with so many cells of each class."""
    labels, names = [], []
    for number, counts in enumerate(groups):
        for label, count in enumerate(counts):
            labels += [label] * count
            names += [f"patient {number}"] * count
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
    classes = [f"class {i}" for i in range(len(groups[0]))]
    paths = [f"{i}.png" for i in range(len(labels))]
    return CellSet.from_arrays(pixels, labels, classes, names=paths, groups=names)


def check_valid(split: Split) -> None:
    sides = (split.train, split.val, split.test)
    assert all(min(side.counts.values()) > 0 for side in sides), "every class on every side"
    owners = [group for side in sides for group in set(side.groups)]
    assert len(owners) == len(set(owners)), "no group on two sides"


def test_few_large_groups_reach_every_side() -> None:
    patients = cells([[4, 4, 4]] * 5 + [[2, 2, 2]])
    made = divide(patients, SplitSettings())
    check_valid(made)
    assert len(made.train) > max(len(made.val), len(made.test)), "and the shares are kept as far as can be"
    assert made.digest == divide(patients, SplitSettings()).digest


@st.composite
def patients_with_all(draw: st.DrawFn) -> CellSet:
    classes = draw(st.integers(2, 3))
    counts = st.lists(st.integers(1, 5), min_size=classes, max_size=classes)
    return cells(draw(st.lists(counts, min_size=3, max_size=8)))


@settings(deadline=None, max_examples=60)
@given(
    patients_with_all(),
    st.integers(0, 9),
    st.sampled_from([(0.7, 0.15, 0.15), (0.1, 0.45, 0.45), (0.98, 0.01, 0.01)]),
)
def test_groups_that_hold_every_class_always_divide(
    patients: CellSet, seed: int, fractions: tuple[float, float, float]
) -> None:
    made = SplitSettings(seed=seed, fractions=fractions, near_duplicates=False)
    check_valid(divide(patients, made))


@settings(deadline=None, max_examples=20)
@given(patients_with_all(), st.integers(0, 9))
def test_as_many_groups_as_folds_always_divide(patients: CellSet, seed: int) -> None:
    count = len(set(patients.groups))
    for number in {count, 2} if count > 3 else {count}:
        for made in folds(patients, SplitSettings(folds=number, seed=seed, near_duplicates=False)):
            check_valid(made)


def test_a_class_in_three_of_many_groups_reaches_every_side() -> None:
    for seed in range(5):
        check_valid(divide(cells([[9, 3]] * 3 + [[6, 0]] * 8), SplitSettings(seed=seed)))


def test_the_message_says_how_many_groups_a_class_has() -> None:
    with pytest.raises(InputError, match="it is in 2 of 3 groups or different images, and needs 3"):
        divide(cells([[4, 4], [4, 4], [4, 0]]), SplitSettings())
