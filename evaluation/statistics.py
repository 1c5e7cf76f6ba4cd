"""Paired differences, their intervals and tests, and the rule that turns them into a verdict.

The rule, written down before any study is run:

1. The unit is a seed, with its own classifier (and its own generators, unless they are shared:
   then the verdict is said to hold for these generators). Strategies are paired by seed.
2. If even the most extreme outcome could not reach p <= 0.05, the study is `too small to tell`.
   The two-sided sign-flip test of n units cannot fall below 2 / 2^n, times the number of
   contrasts that Holm's method spreads the risk over. One contrast needs six units.
3. p <= 0.05 and the whole 95% interval above zero: `gain`. Below zero: `harm`.
4. Otherwise: `no evidence of gain`.

The primary contrast is fixed before the test set is looked at: the synthetic strategy and the
rival without synthetic cells that are best in mean *validation* recall of the rare classes,
compared on test. All other contrasts are secondary: every strategy against `real`, by Holm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation.gain import METRICS

ALPHA = 0.05
CHOSEN_BY = "mean_rare_recall"
BASELINE = "real"
ENUMERATED = 20  # up to 2^20 sign patterns are all tried; beyond, that many are drawn
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


def interval(values: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """The 95% interval of a mean by Student's t; (None, None) for fewer than two values."""
    n = len(values)
    if n < 2:
        return None, None
    reach = float(stats.t.ppf(1 - ALPHA / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - reach, float(values.mean()) + reach


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
        One of `VERDICTS`.
    """
    if comparisons * 2.0 ** (1 - contrast["n"]) > ALPHA:
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
            `validation`, the latter two as `evaluation.gain.scores` returns them.
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
        """One figure a seed, shape (seeds,). `metric` is a name, or `recall/<class>`."""
        name, _, cls = metric.partition("/")
        found = [self.records[strategy, s][part][name] for s in seeds]
        return np.array([f[cls] if cls else f for f in found], dtype=np.float64)

    def contrast(self, strategy: str, other: str, metric: str) -> dict[str, Any]:
        """`strategy` minus `other` on test, paired by seed, as `paired` returns it."""
        seeds = self.seeds(strategy, other)
        return paired(self.values(strategy, metric, seeds) - self.values(other, metric, seeds))

    def best_on_validation(self, strategies: Sequence[str]) -> str:
        """The strategy with the largest mean validation recall of the rare classes.

        The first one wins a tie. Only seeds that all of them have are looked at.
        """
        seeds = self.seeds(*strategies)
        means = [self.values(s, CHOSEN_BY, seeds, "validation").mean() for s in strategies]
        return strategies[int(np.argmax(means))]

    def scored(self) -> list[str]:
        """Names of all figures: `METRICS`, then `recall/<class>` for classes that have one."""
        recall = next(iter(self.records.values()))["metrics"]["recall"]
        return [*METRICS, *(f"recall/{c}" for c, value in recall.items() if value is not None)]


def summarize(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Mean, interval and difference from `real` of every strategy and figure.

    Args:
        records: Trials, see `Trials`.

    Returns:
        `{strategy: {metric: {mean, low, high, n, difference, difference_low, difference_high, p,
        verdict}}}`, recall per class under `recall/<class>`. `p` is adjusted by Holm over the
        strategies. For `real` itself, and where `real` was not run, `difference` and what follows
        are None.
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
                "verdict": verdict({**contrast, "p": p}, comparisons=len(others)),
            }
    return summary


def _spread(trials: Trials, strategy: str, metric: str) -> dict[str, Any]:
    values = trials.values(strategy, metric, trials.seeds(strategy))
    low, high = interval(values)
    nothing = dict.fromkeys(("difference", "difference_low", "difference_high", "p", "verdict"))
    return {"mean": float(values.mean()), "low": low, "high": high, "n": len(values), **nothing}


def conclude(
    records: Sequence[Mapping[str, Any]],
    *,
    synthetic: Sequence[str],
    majority_rate: float,
    shared_generators: bool,
    unseen: str = "real test cells",
) -> dict[str, Any]:
    """The primary contrast and the sentence that a report opens with.

    Args:
        records: Trials, see `Trials`.
        synthetic: Names of the strategies that use a generative model.
        majority_rate: Share of the largest class among the test cells, in [0, 1].
        shared_generators: Whether all seeds shared one generator of each kind.
        unseen: What the test cells are, in words.

    Returns:
        `verdict` (one of `VERDICTS`, `the study is broken`, or `nothing to compare`), `sentence`,
        and, where there is a contrast: `synthetic`, `rival`, `mean`, `low`, `high`, `p`, `n`,
        `synthetic_mean`, `rival_mean` and `lost` (classes whose mean recall fell against the
        rival: `{class: {mean, low, high, p, n}}`, the largest loss first).
    """
    trials = Trials(records)
    ours = [s for s in trials.strategies if s in synthetic]
    rivals = [s for s in trials.strategies if s not in synthetic]
    broken = _broken(trials, majority_rate, unseen)
    if broken:
        return {"verdict": "the study is broken", "sentence": broken}
    if not ours or not rivals or not trials.seeds(*ours, *rivals):
        lacking = "a strategy with generated cells" if not ours else "a rival without them"
        return {
            "verdict": "nothing to compare",
            "sentence": f"Nothing to compare: the study needs {lacking} on the same seeds.",
        }
    best, rival = trials.best_on_validation(ours), trials.best_on_validation(rivals)
    contrast = trials.contrast(best, rival, CHOSEN_BY)
    seeds = trials.seeds(best, rival)
    result = {
        "verdict": verdict(contrast),
        "synthetic": best,
        "rival": rival,
        **contrast,
        "synthetic_mean": float(trials.values(best, CHOSEN_BY, seeds).mean()),
        "rival_mean": float(trials.values(rival, CHOSEN_BY, seeds).mean()),
        "lost": _lost(trials, best, rival),
    }
    return {**result, "sentence": _sentence(result, shared_generators, unseen)}


def _broken(trials: Trials, majority_rate: float, unseen: str) -> str:
    if BASELINE not in trials.strategies:
        return ""
    accuracy = trials.values(BASELINE, "accuracy", trials.seeds(BASELINE)).mean()
    if accuracy >= majority_rate:
        return ""
    return (
        f"The study is broken: the classifier trained on real cells alone is right on "
        f"{accuracy:.1%} of the {unseen}, less than always answering the largest class "
        f"({majority_rate:.1%}), so no gain can be read from it."
    )


def _lost(trials: Trials, best: str, rival: str) -> dict[str, Any]:
    recalls = [m for m in trials.scored() if m.startswith("recall/")]
    contrasts = {m.removeprefix("recall/"): trials.contrast(best, rival, m) for m in recalls}
    lost = {c: v for c, v in contrasts.items() if v["mean"] < 0}
    return dict(sorted(lost.items(), key=lambda item: float(item[1]["mean"])))


def points(difference: float) -> str:
    """A difference of shares as signed percentage points: -0.0123 -> "−1.2"."""
    text = f"{100 * difference:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def _sentence(result: Mapping[str, Any], shared: bool, unseen: str) -> str:
    bounds = ""
    if result["low"] is not None:
        bounds = f"95% interval {points(result['low'])} to {points(result['high'])}, "
    word = result["verdict"][0].upper() + result["verdict"][1:]
    where = ", for these generators" if shared else ""
    lost = "No class lost recall against it."
    if result["lost"]:
        cls, worst = next(iter(result["lost"].items()))
        some = "1 class" if len(result["lost"]) == 1 else f"{len(result['lost'])} classes"
        lost = f"{some} lost recall against it, the most {cls} ({points(worst['mean'])} points)."
    return (
        f"{word}{where}: with cells added by {result['synthetic']}, the mean recall of the rare "
        f"classes on {unseen} is {result['synthetic_mean']:.1%}, against "
        f"{result['rival_mean']:.1%} with {result['rival']}, the best strategy without generated "
        f"cells: {points(result['mean'])} points ({bounds}p = {result['p']:.3f}, "
        f"{result['n']} paired seeds). {lost}"
    )
