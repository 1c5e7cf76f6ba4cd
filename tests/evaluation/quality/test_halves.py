"""Intervals that mean what they say, on draws whose truth is known."""

from typing import Any

import numpy as np
import pytest

from evaluation.quality.extrapolation import enough, frechet_at_infinity
from evaluation.quality.halves import Side, class_means, halved, interval
from evaluation.quality.metrics import Factor, coverage, frechet
from evaluation.quality.pairwise import Pairwise

WIDTH = 6


def side(n: int, seed: int, shift: float = 0.0) -> Side:
    features = np.random.default_rng(seed).standard_normal((n, WIDTH)) + shift
    return Side(features, np.zeros(n, dtype=np.int64))


def test_halves_are_disjoint_and_equal_in_every_class() -> None:
    labels = np.repeat([0, 1], [30, 14])
    real = Side(np.zeros((44, 1)), labels)
    made = Side(np.zeros((44, 1)), labels[::-1].copy())
    h = halved(real, made, 3)
    assert not set(h.rows) & set(h.others)
    for rows, labels_of in ((h.rows, real), (h.others, real), (h.columns, made)):
        assert np.bincount(labels_of.labels[rows]).tolist() in ([15, 7], [7, 15])
    assert h.alike
    fewer = halved(real, made.at(np.arange(20)), 3)
    assert not fewer.alike


@pytest.mark.parametrize("metric", ["frechet", "kid", "coverage", "precision"])
def test_the_standard_error_is_the_spread_over_fresh_draws(metric: str) -> None:
    """The estimate from one pair of sides, averaged, against what new cells really change."""

    def score(real: Side, made: Side) -> float:
        if metric == "frechet":
            return Factor.of(real.features).frechet(Factor.of(made.features))
        pairs = Pairwise(real.features, made.features)
        if metric == "kid":
            return pairs.kid_parts(np.arange(len(real)), np.arange(len(made)))
        return pairs.manifold()[metric]

    n, values, errors = 120, [], []
    for i in range(40):
        real, made = side(n, 2 * i), side(n, 2 * i + 1, 0.5)
        values.append(score(real, made))
        parts = [halved(real, made, j) for j in range(10)]
        halves = [score(real.at(h.rows), made.at(h.half)) for h in parts]
        errors.append(interval(values[-1], halves)["error"])
    assert 0.7 < np.mean(errors) / np.std(values, ddof=1) < 1.6


def test_an_interval_needs_two_repeats_and_stays_within_its_range() -> None:
    assert interval(0.5, [0.4]) == {"low": None, "high": None, "error": None}
    found = interval(0.9, [0.5, 0.9, 1.0], within=(0.0, 1.0))
    assert found["low"] < 0.9 < found["high"] == 1.0
    wide = interval(0.5, [0.4, 0.6])
    assert wide["high"] - 0.5 == pytest.approx(12.706 * np.std([0.4, 0.6], ddof=1), rel=1e-3)


def test_the_extrapolated_distance_is_nearer_to_the_truth() -> None:
    truth = WIDTH * 0.3**2
    plain, infinite = [], []
    for i in range(12):
        real, made = side(100, 2 * i), side(100, 2 * i + 1, 0.3)
        plain.append(frechet(real.features, made.features))
        infinite.append(frechet_at_infinity(real, made, plain[-1], 6, i)[0])
    assert np.mean(plain) - truth > 0.1
    assert abs(np.mean(infinite) - truth) < 0.35 * (np.mean(plain) - truth)


def test_a_distance_that_is_linear_in_1_over_n_is_extrapolated_exactly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Factor, "of", classmethod(lambda _, features: Fake(len(features))))
    value, points = frechet_at_infinity(side(240, 0), side(240, 1), 2 + 50 / 240, 3, 0)
    assert value == pytest.approx(2, rel=1e-9)
    assert [size for size, _ in points] == [240, 160, 120, 80, 60]
    assert enough(side(20, 0), side(20, 1)) and not enough(side(20, 0), side(17, 1))


class Fake:
    """A distance that is 2 but for a bias of 50 / n."""

    def __init__(self, n: int) -> None:
        self.n = n

    def frechet(self, _: "Fake") -> float:
        return 2 + 50 / self.n


def test_class_means_say_over_which_classes() -> None:
    def entry(value: float, error: float | None) -> dict[str, Any]:
        floor = {"value": value / 2, "repeats": 5}
        return {"value": value, "error": error, "matched": {"repeats": 5}, "floor": floor}

    missing = {"reason": "not computable, n = 3"}
    found = class_means(
        {
            "a": {"kid": entry(1.0, 0.3), "coverage": missing},
            "b": {"kid": entry(3.0, 0.4), "coverage": missing},
            "c": {"kid": missing, "coverage": missing},
        }
    )
    kid = found["kid"]
    assert (kid["value"], kid["floor"], kid["classes"], kid["of"]) == (2.0, 1.0, ["a", "b"], 3)
    assert kid["error"] == pytest.approx(0.25)
    assert kid["high"] - 2 == pytest.approx(2.776 * 0.25, rel=1e-3)
    assert found["coverage"] == {"reason": "not computable for any of 3 classes"}
    assert class_means({"a": {"kid": entry(1.0, None)}})["kid"]["low"] is None


def test_coverage_falls_with_repeated_cells_which_a_bootstrap_would_draw() -> None:
    """Why halves and no bootstrap: its own draws move the figure itself."""
    real, made = side(200, 0), side(200, 1)
    drawn = np.random.default_rng(0).integers(0, 200, (20, 200))
    again = [coverage(real.features[rows], made.features[rows]) for rows in drawn]
    assert np.mean(again) < coverage(real.features, made.features) - 0.1
