"""Every metric against an independent implementation on the same features, and its direction."""

import contextlib
import io

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from prdc import compute_prdc
from scipy.linalg import sqrtm
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from evaluation.quality.metrics import (
    Factor,
    coverage,
    density,
    frechet,
    inception_score,
    kid,
    precision_recall,
)
from evaluation.quality.pairwise import Pairwise

Array = NDArray[np.float64]


def drawn(n: int, d: int = 12, shift: float = 0.0, seed: int = 0) -> Array:
    """Correlated features, as networks make them."""
    random = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((d, d)) / d**0.5
    return random.standard_normal((n, d)) @ mix + shift


def frechet_by_root(x: Array, y: Array) -> float:
    """The closed form with scipy's matrix root."""
    root = sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False))
    spread = np.trace(np.cov(x, rowvar=False)) + np.trace(np.cov(y, rowvar=False))
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + spread - 2 * np.trace(root).real)


def kid_by_loops(x: Array, y: Array) -> float:
    """The unbiased estimate, one pair of cells at a time."""

    def mean(a: Array, b: Array, skip: bool) -> float:
        total, count = 0.0, 0
        for i in range(len(a)):
            for j in range(len(b)):
                if not (skip and i == j):
                    total += (float(a[i] @ b[j]) / a.shape[1] + 1) ** 3
                    count += 1
        return total / count

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def prdc(x: Array, y: Array, k: int) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        return {name: float(value) for name, value in compute_prdc(x, y, k).items()}


@pytest.mark.parametrize(("n", "m"), [(200, 150), (40, 40), (60, 300)])
def test_frechet_is_the_closed_form(n: int, m: int) -> None:
    x, y = drawn(n), drawn(m, shift=0.3, seed=1)
    assert frechet(x, y) == pytest.approx(frechet_by_root(x, y), rel=1e-6)


@pytest.mark.parametrize(("n", "d"), [(300, 20), (40, 64)])
def test_the_fast_frechet_is_the_same(n: int, d: int) -> None:
    """Also where cells are fewer than features and the covariances are singular."""
    x, y = drawn(n, d), drawn(n + 7, d, shift=0.2, seed=1)
    assert Factor.of(x).frechet(Factor.of(y)) == pytest.approx(frechet(x, y), rel=1e-6)


def test_kid_is_the_double_loop() -> None:
    x, y = drawn(50), drawn(50, shift=0.2, seed=1)
    assert kid(x, y) == pytest.approx(kid_by_loops(x, y), rel=1e-6)


def test_kid_of_unequal_sides_averages_subsets() -> None:
    x, y = drawn(90), drawn(60, shift=0.2, seed=1)
    values = [kid(x, y, seed) for seed in range(20)]
    assert np.mean(values) == pytest.approx(kid_by_loops(x, y), rel=0.05)
    assert kid(x, y, seed=3) == values[3]


def test_precision_and_recall_are_those_of_prdc() -> None:
    x, y = drawn(120), drawn(150, shift=0.4, seed=1)
    expected = prdc(x, y, 3)
    assert precision_recall(x, y) == pytest.approx((expected["precision"], expected["recall"]), rel=1e-6)


@pytest.mark.parametrize("k", [3, 5])
def test_density_and_coverage_are_those_of_prdc(k: int) -> None:
    x, y = drawn(120), drawn(150, shift=0.4, seed=1)
    expected = prdc(x, y, k)
    assert density(x, y, k) == pytest.approx(expected["density"], rel=1e-6)
    assert coverage(x, y, k) == pytest.approx(expected["coverage"], rel=1e-6)
    assert 0.05 < expected["coverage"] < 0.95  # or the comparison shows nothing


def test_pairwise_is_each_function() -> None:
    x, y = drawn(80), drawn(110, shift=0.3, seed=1)
    pairs = Pairwise(x, y)
    found = pairs.manifold()
    assert pairs.kid(seed=5) == pytest.approx(kid(x, y, seed=5), rel=1e-9)
    assert (found["precision"], found["recall"]) == pytest.approx(precision_recall(x, y), rel=1e-6)
    assert found["density"] == pytest.approx(density(x, y), rel=1e-9)
    assert found["coverage"] == pytest.approx(coverage(x, y), rel=1e-9)


def test_pairwise_of_parts_is_the_metric_of_the_parts() -> None:
    x, y = drawn(80), drawn(110, shift=0.3, seed=1)
    rows, others, columns = np.arange(0, 40), np.arange(40, 80), np.arange(30, 70)
    pairs = Pairwise(x, y)
    assert pairs.kid_matched(rows, columns) == pytest.approx(kid(x[rows], y[columns]), rel=1e-9)
    assert pairs.kid_halves(rows, others) == pytest.approx(kid(x[rows], x[others]), rel=1e-9)
    part = pairs.manifold(rows, columns)
    half = pairs.manifold_halves(rows, others)
    assert part["coverage"] == pytest.approx(coverage(x[rows], y[columns]), rel=1e-9)
    assert half["density"] == pytest.approx(density(x[rows], x[others]), rel=1e-9)
    assert half["recall"] == pytest.approx(precision_recall(x[rows], x[others])[1], rel=1e-6)


def test_precision_recall_is_torch_fidelity() -> None:
    """Which side is called the generated one: swapping them would swap the two numbers."""
    x, y = drawn(90), drawn(70, shift=0.5, seed=1)
    direct = prc_features_to_metric(torch.from_numpy(y), torch.from_numpy(x), verbose=False)
    assert precision_recall(x, y) == (direct["precision"], direct["recall"])


@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_the_fast_forms_are_torch_fidelity(shift: float) -> None:
    """What `fidelity` calls, against the reference's functions on the same features."""
    x, y = drawn(90, 16), drawn(90, 16, shift, seed=1)
    sides = torch.from_numpy(x), torch.from_numpy(y)
    direct = fid_statistics_to_metric(*map(fid_features_to_statistics, sides), verbose=False)
    fast = Factor.of(x).frechet(Factor.of(y))
    assert fast == pytest.approx(direct["frechet_inception_distance"], rel=1e-6)
    subsets = {"kid_subsets": 10, "kid_subset_size": 60, "verbose": False, "rng_seed": 3}
    direct = kid_features_to_metric(sides[0], torch.from_numpy(y[:60]), **subsets)
    fast = Pairwise(x, y[:60]).kid(seed=3)
    assert fast == pytest.approx(direct["kernel_inception_distance_mean"], rel=1e-6)
    direct = prc_features_to_metric(sides[1], sides[0], verbose=False)
    found = Pairwise(x, y).manifold()
    assert found["precision"] == pytest.approx(direct["precision"], rel=1e-6)
    assert found["recall"] == pytest.approx(direct["recall"], rel=1e-6)


def test_inception_score_is_torch_fidelity_and_the_formula() -> None:
    logits = np.random.default_rng(0).standard_normal((200, 30)) * 3
    direct = isc_features_to_metric(torch.from_numpy(logits))
    expected = direct["inception_score_mean"], direct["inception_score_std"]
    assert inception_score(logits) == pytest.approx(expected, rel=1e-6)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    divergence = (p * (np.log(p) - np.log(p.mean(axis=0)))).sum(axis=1).mean()
    assert inception_score(logits, splits=1) == pytest.approx((np.exp(divergence), 0), rel=1e-9)
    with pytest.raises(ValueError, match="n >= 10"):
        inception_score(logits[:9])


def test_kid_of_parts_of_any_size_is_the_double_loop() -> None:
    x, y = drawn(40), drawn(40, shift=0.2, seed=1)
    pairs, rows, columns = Pairwise(x, y), np.arange(5, 30), np.arange(12)
    assert pairs.kid_parts(rows, columns) == pytest.approx(kid_by_loops(x[rows], y[columns]), rel=1e-9)
    assert pairs.kid_parts(rows, rows) == pytest.approx(pairs.kid_matched(rows, rows), rel=1e-9)


def test_noise_is_worse_everywhere() -> None:
    x, near = drawn(300), drawn(300, seed=1)
    noisy = near + np.random.default_rng(2).standard_normal(near.shape) * 2
    assert frechet(x, noisy) > 2 * frechet(x, near)
    assert kid(x, noisy) > kid(x, near)
    assert precision_recall(x, noisy)[0] < precision_recall(x, near)[0]
    assert density(x, noisy) < density(x, near)
    assert coverage(x, noisy) < coverage(x, near)


def test_a_dropped_mode_lowers_coverage_and_recall_not_precision() -> None:
    x = np.concatenate([drawn(150), drawn(150, shift=8, seed=1)])
    both = np.concatenate([drawn(150, seed=2), drawn(150, shift=8, seed=3)])
    one = drawn(300, seed=4)
    assert coverage(x, one) < 0.6 < coverage(x, both)
    assert precision_recall(x, one)[1] < precision_recall(x, both)[1] - 0.3
    assert precision_recall(x, one)[0] > precision_recall(x, both)[0] - 0.1


def test_two_samples_of_one_distribution_score_near_ideal() -> None:
    x, y = drawn(400), drawn(400, seed=1)
    assert kid(x, y) == pytest.approx(0, abs=0.05)
    assert density(x, y) == pytest.approx(1, abs=0.15)
    assert coverage(x, y) > 0.85
    assert frechet(x, x) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y"), [(drawn(20), drawn(20, d=5)), (drawn(1), drawn(20)), (drawn(20)[0], drawn(20))]
)
def test_unusable_features_are_refused_in_words(x: Array, y: Array) -> None:
    with pytest.raises(ValueError, match=r"features must be|too few cells"):
        frechet(x, y)
