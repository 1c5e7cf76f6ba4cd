import numpy as np
import pytest

from cells import CellSet
from cells.balance import BalanceSettings, quotas
from runtime.config import load_config
from runtime.errors import InputError


def counted(**counts: int) -> CellSet:
    labels = np.repeat(np.arange(len(counts)), list(counts.values()))
    return CellSet.from_arrays(np.zeros((len(labels), 2, 2, 3), np.uint8), labels, list(counts))


CELLS = counted(common=100, mid=40, rare=5, none=0)


def test_fill_brings_every_class_to_the_largest() -> None:
    added = quotas(CELLS, BalanceSettings())
    assert added == {"mid": 60, "rare": 95, "none": 100}


def test_a_ratio_fills_only_what_is_below_it() -> None:
    assert quotas(CELLS, BalanceSettings(to=0.3)) == {"rare": 25, "none": 30}
    assert quotas(CELLS, BalanceSettings(to=1.0)) == quotas(CELLS, BalanceSettings())


def test_a_mapping_says_how_many_to_add() -> None:
    assert quotas(CELLS, BalanceSettings(to={"rare": 7, "common": 2, "mid": 0})) == {
        "common": 2,
        "rare": 7,
    }


def test_a_balanced_set_needs_nothing() -> None:
    assert quotas(counted(a=3, b=3), BalanceSettings()) == {}


def test_an_unknown_class_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"balance\.to\.rarre.*'rare'"):
        quotas(CELLS, BalanceSettings(to={"rarre": 7}))


@pytest.mark.parametrize("value", ["0", "1.5", "full", "{rare: -1}"])
def test_a_bad_target_is_an_input_error(value: str) -> None:
    with pytest.raises(InputError, match="to"):
        load_config(BalanceSettings, None, [f"to={value}"])
    assert load_config(BalanceSettings, None, ["to=0.5"]).to == 0.5
    assert load_config(BalanceSettings, None, ["to.rare=5"]).to == {"rare": 5}
