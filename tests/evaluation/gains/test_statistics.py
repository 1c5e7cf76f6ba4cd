"""Reference values from SciPy, and the verdict rule under planted effects."""

import numpy as np
import pytest
from drawn_trials import study, trial
from scipy import stats

from evaluation.gains.statistics import holm, paired, points, sign_flip, summarize, verdict


@pytest.mark.parametrize("n", [2, 6, 9])
def test_sign_flip_is_scipys_permutation_test(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1.0, n)
    reference = stats.permutation_test(
        (values,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert sign_flip(values) == pytest.approx(reference.pvalue)


def test_sign_flip_draws_for_many_units() -> None:
    values = np.random.default_rng(1).normal(0.2, 1.0, 24)
    assert sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=0.15)


def test_one_unit_has_no_interval() -> None:
    assert paired([0.3]) == {"mean": 0.3, "low": None, "high": None, "p": 1.0, "n": 1}


def test_no_difference_at_all_is_no_finding() -> None:
    assert paired([0.0] * 6)["p"] == 1.0


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, never falling.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9]) and holm([]) == []


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ([0.02, 0.03, 0.01, 0.02, 0.03, 0.02], "gain"),
        ([-0.02, -0.03, -0.01, -0.02, -0.03, -0.02], "harm"),
        ([0.02, -0.03, 0.01, 0.02, -0.03, 0.02], "no evidence of gain"),
        ([0.02, 0.03, 0.01, 0.02, 0.03], "too small to tell"),
    ],
)
def test_verdict_rule(differences: list[float], word: str) -> None:
    assert verdict(paired(differences)) == word


def test_six_units_cannot_carry_two_contrasts() -> None:
    contrast = paired([0.02, 0.03, 0.01, 0.02, 0.03, 0.02])
    assert verdict(contrast, comparisons=2) == "too small to tell"
    assert verdict(paired([0.02, 0.03, 0.01] * 3), comparisons=8) == "gain"


def test_at_most_one_null_study_in_twenty_shows_a_gain() -> None:
    random = np.random.default_rng(7)
    words = [verdict(paired(random.normal(0, 0.01, 6))) for _ in range(1000)]
    assert words.count("gain") <= 50 and words.count("harm") <= 50
    # The test is exact: two of 64 sign patterns, half of them upward.
    assert words.count("gain") > 0


def test_summary_pairs_by_seed_and_leaves_real_as_reference() -> None:
    records = study({"real": 0.8, "gan": 0.9}, noise=0.0)
    records += [trial("diffusion", 3, 0.7)]  # a study that is not finished
    summary = summarize(records)
    assert summary["real"]["mean_rare_recall"]["difference"] is None
    assert summary["gan"]["mean_rare_recall"]["difference"] == pytest.approx(0.1)
    assert summary["diffusion"]["mean_rare_recall"]["difference"] == pytest.approx(-0.1)
    assert summary["diffusion"]["mean_rare_recall"]["verdict"] == "too small to tell"
    assert "recall/nobody" not in summary["gan"] and "recall/b" in summary["gan"]


def test_less_calibration_error_is_a_gain() -> None:
    records = study({"real": 0.8, "gan": 0.9})
    for record in records:
        error = 0.3 if record["strategy"] == "real" else 0.1
        record["metrics"]["ece"] = error + 0.01 * record["classifier_seed"]
    found = summarize(records)["gan"]["ece"]
    assert found["difference"] == pytest.approx(-0.2) and found["verdict"] == "gain"


def test_a_contrast_without_bounds_tells_nothing() -> None:
    assert verdict({"low": None, "high": None, "p": 0.01, "n": 9}) == "too small to tell"


def test_points_are_signed_and_never_minus_zero() -> None:
    assert [points(d) for d in (0.0123, -0.0123, -0.0001)] == ["+1.2", "−1.2", "0.0"]
