from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cells import CellSet
from cells.long_tail import LongTailSettings, wanted
from cells.sources import PBC_CLASSES, PbcData, load
from cells.split import Split, SplitSettings, divide
from runtime.config import load_config
from runtime.errors import InputError


def cells(
    counts: Sequence[int], splits: Sequence[str] | str = "", origin: str = "real", seed: int = 0
) -> CellSet:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8)
    names = [f"{seed}/{i}.png" for i in range(len(labels))]
    classes = [f"class {i}" for i in range(len(counts))]
    return CellSet.from_arrays(pixels, labels, classes, names=names, splits=splits, origin=origin)


def tailed(whole: CellSet, near_duplicates: bool = False, **words: Any) -> Split:
    return divide(whole, SplitSettings(long_tail=LongTailSettings(**words), near_duplicates=near_duplicates))


def test_a_balanced_set_gets_the_profile_of_the_papers() -> None:
    # CIFAR-10-LT with factor 100, as in Cao et al.: 5000 0.01^(i / 9)
    counts = {f"class {i}": 5000 for i in range(10)}
    found = list(wanted(counts, LongTailSettings(factor=100)).values())
    assert found == [5000, 2997, 1797, 1077, 646, 387, 232, 139, 83, 50]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(50, 4000), min_size=2, max_size=12),
    st.floats(1, 20, allow_nan=False),
    st.randoms(use_true_random=False),
)
def test_the_factor_is_met_whatever_the_set(counts: list[int], factor: float, random: Any) -> None:
    named = {f"class {i}": count for i, count in enumerate(counts)}
    order = list(named)
    random.shuffle(order)
    found = wanted(named, LongTailSettings(factor=factor, order=tuple(order)))
    kept = [found[name] for name in order]
    assert all(found[name] <= named[name] for name in order)
    assert kept == sorted(kept, reverse=True)
    assert (kept[0] - 0.5) / (kept[-1] + 0.5) <= factor <= (kept[0] + 0.5) / (kept[-1] - 0.5)
    assert any(found[name] == named[name] for name in order), "no cell is given away"


def test_the_order_is_by_counts_unless_given() -> None:
    counts = {"a": 100, "b": 300, "c": 200}
    assert wanted(counts, LongTailSettings(factor=4)) == {"b": 300, "c": 150, "a": 75}
    found = wanted(counts, LongTailSettings(factor=4, order=("a", "b", "c")))
    assert found == {"a": 100, "b": 50, "c": 25}


def test_train_is_tailed_and_val_and_test_are_not() -> None:
    plain, tail = divide(cells([100] * 3), SplitSettings()), tailed(cells([100] * 3), factor=7)
    assert tail.train.counts == {"class 0": 70, "class 1": 26, "class 2": 10}
    assert list(tail.val.names) == list(plain.val.names)
    assert list(tail.test.names) == list(plain.test.names)
    assert set(tail.train.names) < set(plain.train.names)
    assert tail.digest != plain.digest
    assert {cell.reason for cell in tail.dropped} == {"long_tail"}
    assert {cell.name for cell in tail.dropped} == set(plain.train.names) - set(tail.train.names)


def test_folds_are_tailed_too() -> None:
    settings = SplitSettings(folds=5, fold=3, long_tail=LongTailSettings(counts={"class 1": 4}))
    tail = divide(cells([50] * 2), settings)
    plain = divide(cells([50] * 2), settings.model_copy(update={"long_tail": None}))
    assert tail.train.counts == {"class 0": plain.train.counts["class 0"], "class 1": 4}
    assert list(tail.test.names) == list(plain.test.names)


def test_a_premade_split_is_tailed() -> None:
    made = cells([30] * 2, splits=(["train"] * 20 + ["val"] * 5 + ["test"] * 5) * 2)
    tail = tailed(made, factor=5)
    assert [tail.train.counts, tail.val.counts] == [
        {"class 0": 20, "class 1": 4},
        {"class 0": 5, "class 1": 5},
    ]


@settings(max_examples=30, deadline=None)
@given(st.floats(1, 30), st.floats(1, 30), st.integers(0, 1000))
def test_the_more_imbalanced_is_within_the_less(one: float, other: float, seed: int) -> None:
    balanced = cells([100] * 3)
    less, more = (
        set(tailed(balanced, factor=factor, seed=seed).train.names) for factor in sorted((one, other))
    )
    assert more <= less


def test_the_seed_says_which_cells_stay_and_the_order_of_the_source_does_not() -> None:
    whole = cells([100] * 2)
    first = tailed(whole, counts={"class 1": 10})
    assert first.digest == tailed(whole, counts={"class 1": 10}).digest
    other = tailed(whole, counts={"class 1": 10}, seed=1)
    assert other.train.counts == first.train.counts and other.digest != first.digest
    sides = cells([100] * 2, splits=(["train"] * 80 + ["val"] * 10 + ["test"] * 10) * 2)
    turned = sides.subset(np.arange(len(sides))[::-1])
    assert tailed(turned, factor=9).digest == tailed(sides, factor=9).digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"counts": {"clas 1": 4}}, r"counts: there is no class 'clas 1'.*'class 1'"),
        ({"counts": {"class 1": 71}}, r"counts\.class 1=71: train has 70 cells"),
        ({"factor": 60}, r"factor=60: leaves 1 training cells of class 'class 2'.*factor up to 35"),
        ({"factor": 5, "order": ("class 0", "class 1")}, "order: class 'class 2' is missing"),
        ({"factor": 5, "order": ("class 0", "class 1", "class 2", "class 0")}, "named twice"),
        ({"factor": 5, "order": ("class 0", "class 1", "x")}, "no class 'x'"),
    ],
)
def test_what_cannot_be_is_an_input_error(words: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tailed(cells([100] * 3), **words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["long_tail.factor=0.5"], "factor"),
        (["long_tail.counts.a=1"], "counts.a"),
        (["long_tail.seed=1"], "either a factor"),
        (["long_tail.factor=3", "long_tail.counts.a=4"], "either a factor"),
        (["long_tail.counts.a=4", "long_tail.order=[a]"], "order goes with a factor"),
        (["long_tail.factr=4"], "factor"),
    ],
)
def test_bad_settings_are_an_input_error(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(SplitSettings, None, words)


def test_synthetic_cells_would_hide_the_tail() -> None:
    made = cells([30] * 2, splits=(["train"] * 20 + ["val"] * 5 + ["test"] * 5) * 2)
    mixed = made + cells([3, 3], splits="train", origin="synthetic", seed=1)
    with pytest.raises(InputError, match="train holds synthetic cells"):
        tailed(mixed, factor=2)


def test_real_cells(shared: Any) -> None:
    whole = load(PbcData(root=shared / "data" / "pbc-original-sample", image_size=28))
    tail = tailed(whole, near_duplicates=True, factor=10, order=PBC_CLASSES[::-1])
    kept = list(tail.train.counts.values())[::-1]
    assert kept == [round(28 * 10 ** (-i / 7)) for i in range(8)]
    assert set(tail.test.counts.values()) == {6}
