from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from cells import CellSet
from cells.duplicates import NearDuplicate
from cells.partition import clusters, image_clusters
from cells.sources import PBC_CLASSES, MedmnistData, load
from cells.split import Split, SplitSettings, divide, folds
from runtime.config import load_config
from runtime.errors import InputError


def cells(
    labels: Sequence[int], groups: Sequence[str] | None = None, splits: Sequence[str] | str = ""
) -> CellSet:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
    names = [f"{i}.png" for i in range(len(labels))]
    classes = [f"class {i}" for i in range(max(labels) + 1)]
    return CellSet.from_arrays(pixels, labels, classes, names=names, groups=groups, splits=splits)


def shares(made: list[Split]) -> np.ndarray:
    return np.array([list(split.test.counts.values()) for split in made])


LONG_TAIL = [0] * 103 + [1] * 22 + [2] * 7


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_without_groups_folds_differ_by_one_cell_at_most(count: int) -> None:
    made = list(folds(cells(LONG_TAIL), SplitSettings(folds=count)))
    assert len(made) == count
    assert np.ptp(shares(made), axis=0).max() <= 1, "of each class"
    assert np.ptp(shares(made).sum(axis=1)) <= 1, "in all"


def test_every_cell_is_tested_once_in_each_repeat_and_repeats_differ() -> None:
    whole = cells(LONG_TAIL)
    made = list(folds(whole, SplitSettings(folds=4, repeats=3)))
    assert len({split.digest for split in made}) == 12
    for repeat in range(3):
        tested = [name for split in made[4 * repeat : 4 * repeat + 4] for name in split.test.names]
        assert sorted(tested) == sorted(whole.names)
    firsts = [frozenset(made[4 * repeat].test.names) for repeat in range(3)]
    assert len(set(firsts)) == 3


def test_divide_makes_the_fold_that_is_asked_for() -> None:
    design = SplitSettings(folds=3, repeats=2, seed=5)
    for fold, split in enumerate(folds(cells(LONG_TAIL), design)):
        alone = divide(cells(LONG_TAIL), SplitSettings(folds=3, repeats=2, seed=5, fold=fold))
        assert alone.digest == split.digest
    other = divide(cells(LONG_TAIL), SplitSettings(folds=3, seed=6))
    assert other.digest != divide(cells(LONG_TAIL), SplitSettings(folds=3, seed=5)).digest


def test_val_is_its_share_of_the_rest() -> None:
    for split in folds(cells([0] * 200 + [1] * 100), SplitSettings(folds=5, fractions=(0.6, 0.2, 0.2))):
        assert split.test.counts == {"class 0": 40, "class 1": 20}
        assert split.val.counts == {"class 0": 40, "class 1": 20}
        assert split.train.counts == {"class 0": 120, "class 1": 60}


@st.composite
def grouped(draw: st.DrawFn) -> tuple[CellSet, list[NearDuplicate]]:
    """Cells of two or three classes in groups of up to six, some of which share an image."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=36, max_size=70))
    labels, groups = [], []
    for i, size in enumerate(sizes):  # 12 groups of one class at least, others mixed
        pure = i < 36
        labels += [i % 3 if pure else draw(st.integers(0, 2)) for _ in range(size)]
        groups += [f"slide {i}"] * size
    rows = st.integers(0, len(labels) - 1)
    pairs = draw(st.lists(st.tuples(rows, rows), max_size=4))
    near = [NearDuplicate(min(pair), max(pair), 1.0) for pair in pairs if pair[0] != pair[1]]
    return cells(labels, groups), near


@settings(max_examples=40, deadline=None)
@given(grouped(), st.integers(2, 5), st.integers(0, 2**31))
def test_no_group_and_no_image_is_on_two_sides(
    drawn: tuple[CellSet, list[NearDuplicate]], count: int, seed: int
) -> None:
    whole, near = drawn
    images = dict(zip(whole.names, image_clusters(whole, near), strict=True))
    tested: Counter[str] = Counter()
    for split in folds(whole, SplitSettings(folds=count, seed=seed), near):
        sides = (split.train, split.val, split.test)
        assert sum(map(len, sides)) == len(whole)
        for keys in ([set(s.groups) for s in sides], [{images[n] for n in s.names} for s in sides]):
            assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
        tested.update(split.test.names)
    assert set(tested.values()) == {1} and len(tested) == len(whole)


@settings(max_examples=40, deadline=None)
@given(grouped(), st.integers(2, 5), st.integers(0, 2**31))
def test_class_shares_are_even_to_within_the_largest_cluster(
    drawn: tuple[CellSet, list[NearDuplicate]], count: int, seed: int
) -> None:
    whole, near = drawn
    together = clusters(whole, image_clusters(whole, near), np.arange(len(whole)))
    found = shares(list(folds(whole, SplitSettings(folds=count, seed=seed), near)))
    even = np.bincount(whole.labels) / count
    assert np.abs(found - even).max() <= max(map(len, together)) + 1


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    ours, theirs = [], []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        labels = np.array([0] * 300 + [1] * 80 + [2] * 30)
        groups = rng.integers(0, 90, len(labels))
        made = folds(cells(list(labels), [f"slide {g}" for g in groups]), SplitSettings(folds=5))
        even = np.bincount(labels) / 5
        ours.append(np.abs(shares(list(made)) - even).max(axis=0) / even)
        reference = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(labels, labels, groups)
        found = np.array([np.bincount(labels[test], minlength=3) for _, test in reference])
        theirs.append(np.abs(found - even).max(axis=0) / even)
    assert np.mean(ours) <= np.mean(theirs)


@pytest.mark.parametrize(("count", "rare"), [(2, 3), (3, 2), (5, 4)])
def test_too_few_groups_for_the_folds_are_refused(count: int, rare: int) -> None:
    with pytest.raises(InputError, match=rf"folds={count}: class 'class 1' has {rare} groups.*fewer folds"):
        divide(cells([0] * 20 + [1] * rare), SplitSettings(folds=count))
    one_group = cells([0] * 20 + [1] * 9, [f"{i}" for i in range(20)] + ["p"] * 9)
    with pytest.raises(InputError, match="class 'class 1' has 1 groups"):
        divide(one_group, SplitSettings(folds=3))


@pytest.mark.parametrize(("count", "rare"), [(2, 4), (3, 3), (5, 5)])
def test_just_enough_cells_are_enough(count: int, rare: int) -> None:
    made = list(folds(cells([0] * 20 + [1] * rare), SplitSettings(folds=count)))
    assert all(min(part.counts.values()) >= 1 for s in made for part in (s.train, s.val, s.test))


def test_a_premade_split_is_folded_only_where_it_is_to_be_ignored() -> None:
    premade = cells([0, 1] * 10, splits=["train"] * 12 + ["val"] * 4 + ["test"] * 4)
    with pytest.raises(InputError, match=r"comes split; set split\.premade=ignore"):
        divide(premade, SplitSettings(folds=3))
    made = list(folds(premade, SplitSettings(folds=3, premade="ignore")))
    assert sum(len(split.test) for split in made) == 20
    unsplit = list(folds(cells([0, 1] * 10), SplitSettings(folds=3)))
    assert [split.digest for split in made] == [split.digest for split in unsplit]


def test_a_premade_split_may_be_ignored_without_folds() -> None:
    premade = cells([0, 1] * 10, splits=["train"] * 12 + ["val"] * 4 + ["test"] * 4)
    ignored = divide(premade, SplitSettings(premade="ignore"))
    assert ignored.digest == divide(cells([0, 1] * 10), SplitSettings()).digest
    assert ignored.digest != divide(premade, SplitSettings()).digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["folds=1"], "folds"),
        (["fold=1"], "need folds"),
        (["repeats=2"], "need folds"),
        (["folds=3", "fold=3"], "no fold 3: 3 folds x 1 repeats are numbered 0 to 2"),
        (["folds=3", "repeats=2", "fold=6"], "no fold 6"),
        (["folds=3", "fold=-1"], "fold"),
        (["folds=3", "file=x.json"], r"leave out split\.folds, or split\.file"),
    ],
)
def test_bad_settings_are_an_input_error(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(SplitSettings, None, words)
    with pytest.raises(InputError, match=r"split\.folds is not set"):
        next(folds(cells(LONG_TAIL), SplitSettings()))


def test_real_cells_in_ten_folds(shared: Path) -> None:
    data = MedmnistData(name=str(shared / "data" / "pbc-natural-28.npz"), classes=PBC_CLASSES)
    whole = load(data)
    design = SplitSettings(folds=10, premade="ignore")
    near: list[NearDuplicate] = []  # that they stay together is tested above
    first = divide(whole, design, near)
    even = np.array(list(whole.counts.values())) / 10
    assert np.abs(np.array(list(first.test.counts.values())) - even).max() < 1
    second = divide(whole, design.model_copy(update={"fold": 1}), near)
    assert not set(first.test.names) & set(second.test.names)
