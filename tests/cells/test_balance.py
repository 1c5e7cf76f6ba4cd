import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from imblearn.utils import check_sampling_strategy
from numpy.typing import NDArray

from cells import CellSet
from cells.balance import WORDS, BalanceSettings, effective_number, plan_balance, quotas
from runtime.config import load_config
from runtime.errors import InputError


def counted(**counts: int) -> CellSet:
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    return CellSet.from_arrays(np.zeros((len(labels), 2, 2, 3), np.uint8), labels, list(counts))


CELLS = counted(common=100, mid=40, rare=5, none=0)


@pytest.mark.parametrize("word", ["fill", "auto", "not majority", "all"])
def test_most_words_bring_every_class_to_the_largest(word: Any) -> None:
    assert quotas(CELLS, BalanceSettings(to=word)) == {"mid": 60, "rare": 95, "none": 100}


def test_a_ratio_fills_only_what_is_below_it() -> None:
    assert quotas(CELLS, BalanceSettings(to=0.3)) == {"rare": 25, "none": 30}
    assert quotas(CELLS, BalanceSettings(to=1.0)) == quotas(CELLS, BalanceSettings())


def test_a_mapping_says_how_many_there_are_afterwards() -> None:
    assert quotas(CELLS, BalanceSettings(to={"rare": 7, "none": 4, "mid": 40})) == {"rare": 2, "none": 4}


def test_a_function_is_given_the_classes_of_all_cells() -> None:
    def twice_the_rare(names: NDArray[np.object_]) -> Mapping[str, int]:
        return {"rare": 2 * int((names == "rare").sum())}

    assert quotas(CELLS, BalanceSettings(), twice_the_rare) == {"rare": 5}
    with pytest.raises(InputError, match=r"the strategy's answer\.rare = 4: the class has 5"):
        quotas(CELLS, BalanceSettings(), lambda names: {"rare": 4})


def test_a_balanced_set_needs_nothing() -> None:
    assert quotas(counted(a=3, b=3), BalanceSettings()) == {}


some_counts = st.lists(st.integers(1, 60), min_size=2, max_size=6)


@given(some_counts, st.sampled_from(WORDS))
def test_words_mean_what_they_do_in_imbalanced_learn(counts: list[int], word: Any) -> None:
    cells = counted(**{f"c{i}": n for i, n in enumerate(counts)})
    theirs = check_sampling_strategy("auto" if word == "fill" else word, cells.labels, "over-sampling")
    expected = {cells.classes[label]: int(n) for label, n in theirs.items() if n}
    assert quotas(cells, BalanceSettings(to=word)) == expected


@given(some_counts, st.data())
def test_mappings_and_functions_mean_what_they_do_in_imbalanced_learn(
    counts: list[int], data: st.DataObject
) -> None:
    cells = counted(**{f"c{i}": n for i, n in enumerate(counts)})
    targets = {i: n + data.draw(st.integers(0, 40)) for i, n in enumerate(counts) if data.draw(st.booleans())}
    theirs: Mapping[int, int] = check_sampling_strategy(targets, cells.labels, "over-sampling")
    expected = {cells.classes[i]: int(n) for i, n in sorted(theirs.items()) if n}
    named = {cells.classes[i]: n for i, n in targets.items()}
    assert quotas(cells, BalanceSettings(to=named)) == expected
    assert quotas(cells, BalanceSettings(), lambda names: OrderedDict(named)) == expected


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.05, 1))
def test_a_ratio_is_that_of_imbalanced_learn_where_it_has_one(one: int, other: int, ratio: float) -> None:
    """It knows ratios of two classes only, rounds down, and refuses one that adds nothing."""
    cells = counted(a=one, b=other)
    try:
        theirs = check_sampling_strategy(ratio, cells.labels, "over-sampling")
    except ValueError:
        assert sum(quotas(cells, BalanceSettings(to=ratio)).values()) <= 1
    else:
        ours = quotas(cells, BalanceSettings(to=ratio))
        assert all(abs(ours.get("ab"[label], 0) - n) <= 1 for label, n in theirs.items())


@pytest.mark.parametrize(
    ("count", "beta", "expected"),
    [(1, 0.9, 1), (2, 0.9, 1.9), (3, 0.5, 1.75), (10_000, 0.999, 999.954827), (0, 0.9, 0)],
)
def test_effective_number_has_its_known_values(count: int, beta: float, expected: float) -> None:
    assert effective_number(count, beta) == pytest.approx(expected, abs=1e-6)
    assert effective_number(count, beta) == pytest.approx(sum(beta**j for j in range(count)))


def test_effective_number_nears_the_count_as_cells_cease_to_overlap() -> None:
    assert effective_number(5000, 1 - 1e-12) == pytest.approx(5000, rel=1e-4)


def test_a_ratio_of_effective_numbers_asks_for_fewer_cells_of_a_large_set() -> None:
    cells = counted(common=2330, mid=400, rare=23)
    settings = BalanceSettings(to=0.5, effective_beta=0.999)
    plan = {each.name: each for each in plan_balance(cells, settings).classes}
    assert plan["rare"].target == 600  # E(2330) = 902.82; by the series, E(600) = 451.35
    assert quotas(cells, settings) == {"mid": 200, "rare": 577}
    assert quotas(cells, BalanceSettings(to=0.5)) == {"mid": 765, "rare": 1142}


@given(st.integers(1, 5000), st.floats(0.05, 1), st.floats(0.5, 0.99999))
def test_the_target_is_the_count_of_that_effective_number(largest: int, ratio: float, beta: float) -> None:
    cells = counted(common=largest, none=0)
    target = quotas(cells, BalanceSettings(to=ratio, effective_beta=beta)).get("none", 0)
    wanted = ratio * effective_number(largest, beta)
    assert target <= largest
    assert effective_number(max(target - 0.51, 0), beta) <= wanted * (1 + 1e-9)
    assert effective_number(target + 0.51, beta) >= wanted * (1 - 1e-9)


def test_a_cap_holds_a_class_back_and_the_plan_says_so() -> None:
    plan = plan_balance(CELLS, BalanceSettings(max_share=0.5, max_per_real=10))
    rows = {each.name: each for each in plan.classes}
    assert plan.quotas == {"mid": 40, "rare": 5}
    assert (rows["rare"].target, rows["rare"].capped_by, rows["rare"].cut) == (100, "max_share", 90)
    assert (rows["none"].added, rows["none"].cut, rows["none"].share) == (0, 100, 0)
    assert (rows["common"].added, rows["common"].capped_by, rows["common"].cut) == (0, "", 0)
    assert rows["mid"].share == 0.5
    tighter = plan_balance(CELLS, BalanceSettings(max_share=0.9, max_per_real=0.5))
    assert {each.capped_by for each in tighter.classes} == {
        "",
        "max_per_real",
        "max_share",
    }  # a class without cells
    assert tighter.quotas == {"mid": 20, "rare": 2}


@given(some_counts, st.floats(0.01, 0.99), st.none() | st.floats(0.1, 20))
def test_no_class_exceeds_its_caps(counts: list[int], share: float, per_real: float | None) -> None:
    cells = counted(**{f"c{i}": n for i, n in enumerate(counts)})
    for each in plan_balance(cells, BalanceSettings(max_share=share, max_per_real=per_real)).classes:
        assert each.share <= share + 1e-9
        assert per_real is None or each.added <= per_real * each.real * (1 + 1e-8)
        assert each.added + each.cut == each.target - each.real
        assert bool(each.cut) == bool(each.capped_by)
        if each.capped_by == "max_share":
            assert (each.added + 1) / (each.real + each.added + 1) > share - 1e-9, "as many as it allows"


def test_a_round_share_loses_no_cell_to_binary_fractions() -> None:
    cells = counted(common=10_000, rare=10)
    for share, per_real in ((0.9, 9), (0.8, 4), (0.75, 3), (0.5, 1)):
        assert quotas(cells, BalanceSettings(max_share=share)) == {"rare": 10 * per_real}
        assert quotas(cells, BalanceSettings(max_per_real=per_real)) == {"rare": 10 * per_real}


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ({"rarre": 7}, r"balance\.to\.rarre: unknown class.*'rare'"),
        ({"rare": -1}, r"balance\.to\.rare = -1: the class has 5"),
        ({"mid": 39}, r"balance\.to\.mid = 39: the class has 40 cells already.*give 40 or more"),
    ],
)
def test_a_mapping_that_cannot_be_met_is_an_input_error(to: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quotas(CELLS, BalanceSettings(to=to))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("to=0", "'to' = 0: "),
        ("to=1.5", "less than or equal to 1"),
        ("to=full", r"'to' = 'full'.*Did you mean 'fill'"),
        ("to=majority", "Did you mean 'not majority'"),
        ("to=my_module.my_function", "a function can be given in Python only"),
        ("to={rare: few}", "'to' = {'rare': 'few'}"),
        ("max_share=1", "less than 1"),
        ("max_per_real=0", "greater than 0"),
        ("effective_beta=1", "less than 1"),
        ("effective_beta=0.9", "changes what a ratio means"),
    ],
)
def test_a_bad_setting_is_an_input_error(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(BalanceSettings, None, [word])


def test_settings_are_read_as_written() -> None:
    assert load_config(BalanceSettings, None, ["to=0.5"]).to == 0.5
    assert load_config(BalanceSettings, None, ["to.rare=5"]).to == {"rare": 5}
    assert load_config(BalanceSettings, None, ["to=not minority"]).to == "not minority"
    assert math.isclose(load_config(BalanceSettings, None, ["to=1", "max_share=0.8"]).max_share or 0, 0.8)
