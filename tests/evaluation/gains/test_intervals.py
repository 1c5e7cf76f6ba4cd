"""Intervals against SciPy, by hand, and by how often they hold a planted truth."""

import numpy as np
import pytest
from scipy import stats

from evaluation.gains import intervals
from evaluation.gains.intervals import bca_two_way, interval, nadeau_bengio, t_two_way, two_way_interval


def crossed(
    random: np.random.Generator, units: int, cells: tuple[int, ...], spread: tuple[float, float, float]
) -> list[np.ndarray]:
    """Tables whose mean is 0 in the long run; spread of units, cells and rest."""
    of_unit = random.normal(0, spread[0], (units, 1))
    return [
        of_unit + random.normal(0, spread[1], (1, m)) + random.normal(0, spread[2], (units, m)) for m in cells
    ]


def covered(units: int, cells: tuple[int, ...], spread: tuple[float, float, float], times: int) -> float:
    random, hits = np.random.default_rng(3), 0
    for _ in range(times):
        low, high = two_way_interval(crossed(random, units, cells, spread))
        assert low is not None and high is not None
        hits += low <= 0 <= high
    return hits / times


@pytest.mark.parametrize("spread", [(1.0, 3.0, 2.0), (0.3, 3.0, 0.0), (1.0, 0.0, 2.0), (0.0, 0.0, 1.0)])
def test_the_two_way_t_interval_holds_the_truth(spread: tuple[float, float, float]) -> None:
    assert 0.93 <= covered(7, (40, 12), spread, times=600) <= 1.0


def test_an_interval_over_units_alone_is_too_narrow_for_other_cells() -> None:
    random, hits = np.random.default_rng(3), 0
    for _ in range(300):
        tables = crossed(random, 7, (40, 12), (1.0, 3.0, 2.0))
        low, high = interval(np.mean([t.mean(axis=1) for t in tables], axis=0))
        assert low is not None and high is not None
        hits += low <= 0 <= high
    assert hits / 300 < 0.90


def test_the_bootstrap_holds_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 300)
    assert 0.90 <= covered(16, (20, 12), (1.0, 3.0, 2.0), times=100) <= 0.99


def test_bca_sets_in_at_fifteen_units() -> None:
    few, many = (crossed(np.random.default_rng(0), n, (9, 8), (1.0, 1.0, 1.0)) for n in (14, 15))
    assert two_way_interval(few) == t_two_way(few)
    assert two_way_interval(many) == bca_two_way(many) != t_two_way(many)


def test_without_cell_effects_and_rest_it_is_the_t_interval_of_the_units() -> None:
    values = np.array([0.1, 0.4, -0.2, 0.3, 0.2, 0.5])
    table = np.repeat(values[:, None], 5, axis=1)
    assert t_two_way([table]) == pytest.approx(interval(values))
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((reference.low, reference.high))


def test_without_unit_effects_and_rest_it_is_the_t_interval_of_the_cells() -> None:
    values = np.array([0.1, 0.4, -0.2, 0.3, 0.2, 0.5])
    assert t_two_way([np.repeat(values[None], 5, axis=0)]) == pytest.approx(interval(values))


def test_the_variance_of_a_crossed_table_by_hand() -> None:
    # Units 0 and 2, cells -1, 0 and 1, and a rest of 0.3, -0.3 and 0 in turn: mean 1.
    rest = np.array([[0.3, -0.3, 0.0], [-0.3, 0.3, 0.0]])
    table = np.array([[0.0], [2.0]]) + np.array([-1.0, 0.0, 1.0]) + rest
    unit, cell, within = 2 / 2, 1 / 3, (4 * 0.09) / 2 / 6
    variance = unit + cell - within
    freedom = variance**2 / (unit**2 / 1 + cell**2 / 2 + within**2 / 2)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert t_two_way([table]) == pytest.approx((1 - reach, 1 + reach))


def test_equal_answers_have_an_interval_of_no_width() -> None:
    for units in (6, 15):
        assert two_way_interval([np.zeros((units, 4)), np.zeros((units, 3))]) == (0.0, 0.0)
    board = np.indices((16, 4)).sum(axis=0) % 2 - 0.5  # no spread of the margins, but of the answers
    low, high = two_way_interval([board])
    assert low is not None and high is not None and low < 0 < high


@pytest.mark.parametrize("shape", [(1, 9), (9, 1)])
def test_one_unit_or_one_cell_has_no_interval(shape: tuple[int, int]) -> None:
    assert two_way_interval([np.zeros((9, 9)), np.zeros(shape)]) == (None, None)


def test_nadeau_bengio_is_the_t_test_with_the_larger_variance() -> None:
    values = np.random.default_rng(0).normal(0.4, 1.0, 30)  # three times ten folds
    found, plain = nadeau_bengio(values, 1 / 9), stats.ttest_1samp(values, 0)
    t = plain.statistic / np.sqrt(1 + 30 / 9)
    assert found["p"] == pytest.approx(2 * stats.t.sf(t, 29))
    half = (plain.confidence_interval().high - values.mean()) * np.sqrt(1 + 30 / 9)
    assert (found["low"], found["high"]) == pytest.approx((values.mean() - half, values.mean() + half))


def test_nadeau_bengio_by_hand() -> None:
    # Mean 2, s² = 1, n = 3, test/train 2/3: variance 1, t = 2, two degrees of freedom: p = 1 - 2/sqrt(6).
    found = nadeau_bengio([1.0, 2.0, 3.0], 2 / 3)
    assert found["p"] == pytest.approx(1 - 2 / np.sqrt(6)) and found["n"] == 3
    assert found["high"] == pytest.approx(2 + stats.t.ppf(0.975, 2))
    assert nadeau_bengio([0.3], 0.5) == {"mean": 0.3, "low": None, "high": None, "p": 1.0, "n": 1}
    assert nadeau_bengio([0.0, 0.0], 0.5)["p"] == 1.0


def test_folds_that_share_cells_find_too_much_by_the_plain_test_only() -> None:
    # Ten folds of one data set are alike: correlation 1/10, the share that the correction is made for.
    random, plain, corrected = np.random.default_rng(1), 0, 0
    for _ in range(400):
        values = np.sqrt(0.1) * random.normal() + np.sqrt(0.9) * random.normal(size=10)
        low, high = interval(values)
        assert low is not None and high is not None
        plain += not low <= 0 <= high
        corrected += nadeau_bengio(values, 1 / 9)["p"] <= 0.05
    assert plain > 40 and corrected <= 28
