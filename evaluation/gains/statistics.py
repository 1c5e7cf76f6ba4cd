"""Paired differences, their tests, and the rule that turns them into a verdict.

The rule, written down before any study is run:

1. The unit is a seed, with its own classifier (and its own generators, unless they are shared:
   then the verdict is said to hold for this generator, or these). Strategies are paired by seed.
2. The primary contrast is fixed before the test set is looked at: the synthetic strategy and the
   rival without synthetic cells that are best in mean *validation* recall of the rare classes. On
   test they are compared by the exact sign-flip test, which repeats the choice of the synthetic
   strategy in every sign pattern, and by a 95% interval over seeds and test cells: by Student's t
   below 15 seeds, by the BCa bootstrap from there on.
3. If even the most extreme outcome could not reach p <= 0.05, the study is `too small to tell`.
   The two-sided sign-flip test of n units is taken to reach 2 / 2^n at the least, times the number
   of contrasts that Holm's method spreads the risk over. One contrast needs six units.
4. p <= 0.05 and the whole 95% interval above zero: `gain`. Below zero: `harm`.
5. Otherwise: `no evidence of gain`.
6. If `real` is right on fewer test cells than always answering the largest class would be, `the
   study is broken`, whatever else it says. Where `real` was not run, what is real cells alone takes its
   place (networks by name, `unaugmented`): the study is broken if all of these fall below.

All other contrasts are secondary: every strategy against `real`, p-values by Holm, intervals over
seeds alone, for these test cells. Harm is counted: the classes whose mean recall fell, and how many
of them have their whole interval below zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.gains.choice import ENUMERATED, chosen
from evaluation.gains.gain import FURTHER, LOWER_IS_BETTER, METRICS
from evaluation.gains.intervals import interval

ALPHA = 0.05
CHOSEN_BY = "mean_rare_recall"
BASELINE = "real"
PER_CLASS = ("recall", "auprc")
VERDICTS = ("gain", "no evidence of gain", "harm", "too small to tell")


def sign_flip(differences: NDArray[np.float64]) -> float:
    """Two-sided sign-flip test: could these differences as well have had other signs?

    Args:
        differences: Paired differences, shape (n,), n >= 1.

    Returns:
        The share of sign patterns whose absolute sum reaches the observed one, in (0, 1]. All
        2^n patterns are tried up to n = 20; beyond, 2^20 are drawn from a fixed seed.

    Source:
        Fisher, The Design of Experiments, 1935, section 21.
    """
    n = len(differences)
    observed = abs(differences.sum())
    tolerance = 1e-9 * max(float(np.abs(differences).sum()), 1e-300)
    if n <= ENUMERATED:
        sums = np.zeros(1)
        for d in differences:  # doubles the list: (2^k,) -> (2^(k+1),)
            sums = np.concatenate([sums + d, sums - d])
        return float(np.mean(np.abs(sums) >= observed - tolerance))
    draws, random, hits = 1 << ENUMERATED, np.random.default_rng(0), 1
    for _ in range(64):  # in 64 parts, to keep the memory small
        signs = random.integers(0, 2, size=(draws // 64, n)) * 2 - 1
        hits += int(np.sum(np.abs(signs @ differences) >= observed - tolerance))
    return hits / (draws + 1)


def paired(differences: Sequence[float] | NDArray[np.float64]) -> dict[str, Any]:
    """Sum up paired differences.

    Args:
        differences: One difference per unit, shape (n,), n >= 1.

    Returns:
        `mean`, `low` and `high` (95% t interval; None if n < 2), `p` (sign-flip) and `n`.
    """
    values = np.asarray(differences, dtype=np.float64)
    assert values.ndim == 1 and len(values) > 0
    low, high = interval(values)
    return {
        "mean": float(values.mean()),
        "low": low,
        "high": high,
        "p": sign_flip(values),
        "n": len(values),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values so that the chance of any false finding among them stays below the level.

    Args:
        p_values: m p-values in [0, 1].

    Returns:
        m adjusted p-values in [0, 1], in the same order.

    Source:
        Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def verdict(contrast: Mapping[str, Any], comparisons: int = 1) -> str:
    """Say in words what a contrast shows, by the rule at the head of this file.

    Args:
        contrast: As `paired` returns it; `p` already adjusted if there are several.
        comparisons: The number of contrasts that `p` was adjusted over.

    Returns:
        One of `VERDICTS`. Where an interval has no bounds, as of a class with a single test cell,
        nothing can be told.
    """
    if comparisons * 2.0 ** (1 - contrast["n"]) > ALPHA or contrast["low"] is None:
        return "too small to tell"
    if contrast["p"] <= ALPHA and contrast["low"] > 0:
        return "gain"
    if contrast["p"] <= ALPHA and contrast["high"] < 0:
        return "harm"
    return "no evidence of gain"


class Trials:
    """Results of trials, looked up by strategy and seed.

    Args:
        records: Trials as in `results.json`: `strategy`, `classifier_seed`, `metrics` (test) and
            `validation`, the latter two as `evaluation.gains.gain.scores` returns them.
    """

    def __init__(self, records: Sequence[Mapping[str, Any]]) -> None:
        self.records = {(r["strategy"], r["classifier_seed"]): r for r in records}
        self.strategies = list(dict.fromkeys(r["strategy"] for r in records))

    def seeds(self, *strategies: str) -> list[int]:
        """The seeds for which every one of these strategies has a result, in order."""
        of = [{s for (name, s) in self.records if name == strategy} for strategy in strategies]
        return sorted(set.intersection(*of)) if of else []

    def values(
        self, strategy: str, metric: str, seeds: Sequence[int], part: str = "metrics"
    ) -> NDArray[np.float64]:
        """One figure a seed, shape (seeds,). `metric` is a name, or such as `recall/<class>`."""
        name, _, cls = metric.partition("/")
        found = [self.records[strategy, s][part][name] for s in seeds]
        return np.array([f[cls] if cls else f for f in found], dtype=np.float64)

    def differences(
        self, strategy: str, other: str, metric: str, seeds: Sequence[int], part: str = "metrics"
    ) -> NDArray[np.float64]:
        """`strategy` minus `other`, one figure a seed, shape (seeds,)."""
        return self.values(strategy, metric, seeds, part) - self.values(other, metric, seeds, part)

    def contrast(self, strategy: str, other: str, metric: str) -> dict[str, Any]:
        """`strategy` minus `other` on test, paired by seed, as `paired` returns it."""
        return paired(self.differences(strategy, other, metric, self.seeds(strategy, other)))

    def best_on_validation(self, strategies: Sequence[str]) -> str:
        """The strategy with the largest mean validation recall of the rare classes.

        The first one wins a tie. Only seeds that all of them have are looked at.
        """
        seeds = self.seeds(*strategies)
        return strategies[
            chosen(np.stack([self.values(s, CHOSEN_BY, seeds, "validation") for s in strategies]))
        ]

    def scored(self) -> list[str]:
        """Names of all figures that every trial has: `recall/<class>` and `auprc/<class>` come last."""
        found = [r["metrics"] for r in self.records.values()]
        names = [m for m in (*METRICS, *FURTHER) if all(f.get(m) is not None for f in found)]
        for kind in PER_CLASS:
            of_class = [f.get(kind, {}) for f in found]
            names += [f"{kind}/{c}" for c in of_class[0] if all(f.get(c) is not None for f in of_class)]
        return names


def summarize(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, interval and difference from `real` of every strategy and figure.

    Args:
        records: Trials, see `Trials`.

    Returns:
        `{strategy: {metric: {mean, low, high, n, difference, difference_low, difference_high, p,
        verdict}}}`, per class under `recall/<class>` and `auprc/<class>`. `p` is adjusted by Holm over
        the strategies; where less is better, a gain is a difference below zero. For `real` itself, and
        where `real` was not run, `difference` and what follows are None.
    """
    trials = Trials(records)
    summary: dict[str, dict[str, Any]] = {s: {} for s in trials.strategies}
    others = [s for s in trials.strategies if s != BASELINE and trials.seeds(s, BASELINE)]
    for metric in trials.scored():
        for strategy in trials.strategies:
            summary[strategy][metric] = _spread(trials, strategy, metric)
        contrasts = [trials.contrast(s, BASELINE, metric) for s in others]
        adjusted = holm([c["p"] for c in contrasts])
        for strategy, contrast, p in zip(others, contrasts, adjusted, strict=True):
            summary[strategy][metric] |= {
                "difference": contrast["mean"],
                "difference_low": contrast["low"],
                "difference_high": contrast["high"],
                "p": p,
                "verdict": verdict(_upward({**contrast, "p": p}, metric), comparisons=len(others)),
            }
    return summary


def _upward(contrast: dict[str, Any], metric: str) -> dict[str, Any]:
    """The contrast with its sign such that more is better."""
    if metric not in LOWER_IS_BETTER or contrast["low"] is None:
        return contrast
    return {**contrast, "low": -contrast["high"], "high": -contrast["low"]}


def _spread(trials: Trials, strategy: str, metric: str) -> dict[str, Any]:
    values = trials.values(strategy, metric, trials.seeds(strategy))
    low, high = interval(values)
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high", "p", "verdict"))
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values), **nothing}


def points(difference: float) -> str:
    """A difference of shares as signed percentage points: -0.0123 -> "−1.2"."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
