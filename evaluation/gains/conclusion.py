"""The primary contrast of a study, and the sentence that its report opens with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.gains.answers import Answers
from evaluation.gains.choice import contenders, sign_flip_of_chosen
from evaluation.gains.intervals import two_way_interval
from evaluation.gains.same_accuracy import at_same_accuracy
from evaluation.gains.statistics import BASELINE, CHOSEN_BY, Trials, points, verdict


def conclude(
    records: Sequence[Mapping[str, Any]],
    *,
    synthetic: Sequence[str],
    majority_rate: float,
    shared_generators: bool | Mapping[str, int],
    unseen: str = "real test cells",
    answers: Answers | None = None,
    baselines: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare the chosen strategies by the rule at the head of `evaluation.gains.statistics`.

    Args:
        records: Trials, see `evaluation.gains.statistics.Trials`.
        synthetic: Names of the strategies that use a generative model.
        majority_rate: Share of the largest class among the test cells, in [0, 1].
        shared_generators: Whether all seeds shared one generator of each kind; or, by strategy, how
            many generators its units share, for those whose units have none of their own.
        unseen: What the test cells are, in words.
        answers: Which test cells each trial got right. Without them the intervals are over seeds alone,
            and the sentence says so.
        baselines: Where `real` was not run: the strategies of real cells alone, such as networks by name. The
            study is broken if all of them are below the majority rate.

    Returns:
        `verdict` (one of `VERDICTS`, `the study is broken`, or `nothing to compare`), `sentence`,
        and, where there is a contrast: `synthetic`, `rival`, `contenders` (what could as well have
        been chosen as `synthetic`), `mean`, `low`, `high`, `p`, `n`, `seed_low` and `seed_high` (the
        interval over seeds alone), `over` (what `low` and `high` are over, in words), `scope` (such as
        "for this generator", or empty), `synthetic_mean`, `rival_mean`, `lost` (classes whose mean
        recall fell against the rival: `{class: {mean, low, high, p, n}}`, the largest loss first) and
        `same_accuracy` (see `evaluation.gains.same_accuracy.at_same_accuracy`).
    """
    trials = Trials(records)
    ours = [s for s in trials.strategies if s in synthetic]
    rivals = [s for s in trials.strategies if s not in synthetic]
    broken = _broken(trials, majority_rate, unseen, baselines)
    if broken:
        return {"verdict": "the study is broken", "sentence": broken}
    if not ours or not rivals or not trials.seeds(*ours, *rivals):
        return {"verdict": "nothing to compare", "sentence": f"Nothing to compare: {_lacking(ours)}"}
    best, rival = trials.best_on_validation(ours), trials.best_on_validation(rivals)
    contrast = _primary(trials, ours, best, rival, answers)
    seeds = trials.seeds(best, rival)
    result = {
        "verdict": verdict(contrast),
        "synthetic": best,
        "rival": rival,
        **contrast,
        "over": "seeds" if answers is None else "seeds and test cells",
        "scope": _scope(shared_generators, best),
        "synthetic_mean": float(trials.values(best, CHOSEN_BY, seeds).mean()),
        "rival_mean": float(trials.values(rival, CHOSEN_BY, seeds).mean()),
        "lost": _lost(trials, best, rival, answers),
        "same_accuracy": None if answers is None else at_same_accuracy(answers, best, rival, seeds),
    }
    return {**result, "sentence": _sentence(result, unseen)}


def _lacking(ours: Sequence[str]) -> str:
    """What a study without a contrast has not."""
    if ours:
        return "the study needs a rival without generated cells on the same seeds."
    return "no strategy has generated cells. The table of strategies has the figures of each."


def _primary(
    trials: Trials, ours: Sequence[str], best: str, rival: str, answers: Answers | None
) -> dict[str, Any]:
    """Contrast and test of the chosen pair; the test knows of the choice among the contenders."""
    contrast = trials.contrast(best, rival, CHOSEN_BY)
    seeds = trials.seeds(*ours, rival)
    rows = contenders(np.stack([trials.values(s, CHOSEN_BY, seeds, "validation") for s in ours]))
    names = [ours[i] for i in rows]
    validation, test = (
        np.stack([trials.differences(s, rival, CHOSEN_BY, seeds, part) for s in names])
        for part in ("validation", "metrics")
    )
    contrast |= {"p": sign_flip_of_chosen(validation, test), "contenders": names}
    contrast |= {"seed_low": contrast["low"], "seed_high": contrast["high"]}
    return contrast | _bounds(trials, best, rival, answers, None)


def _bounds(
    trials: Trials, best: str, rival: str, answers: Answers | None, cls: str | None
) -> dict[str, float | None]:
    """`low` and `high` over seeds and test cells, of the rare classes or of one class."""
    if answers is None:
        return {}
    tables = answers.tables(best, rival, trials.seeds(best, rival), answers.rare if cls is None else [cls])
    low, high = two_way_interval(tables)
    return {"low": low, "high": high}


def _scope(shared: bool | Mapping[str, int], strategy: str) -> str:
    number = (1 if shared else 0) if isinstance(shared, bool) else shared.get(strategy, 0)
    return {0: "", 1: "for this generator"}.get(number, "for these generators")


def _broken(trials: Trials, majority_rate: float, unseen: str, baselines: Sequence[str]) -> str:
    known = [BASELINE] if BASELINE in trials.strategies else [s for s in baselines if trials.seeds(s)]
    means = {s: float(trials.values(s, "accuracy", trials.seeds(s)).mean()) for s in known}
    if not means or max(means.values()) >= majority_rate:
        return ""
    best, accuracy = max(means.items(), key=lambda one: one[1])
    which = "" if best == BASELINE else f" ({best}{', the best of several' * (len(means) > 1)})"
    return (
        f"The study is broken: the classifier trained on real cells alone{which} is right on "
        f"{accuracy:.1%} of the {unseen}, less than always answering the largest class "
        f"({majority_rate:.1%}), so no gain can be read from it."
    )


def _lost(trials: Trials, best: str, rival: str, answers: Answers | None) -> dict[str, Any]:
    lost: dict[str, dict[str, Any]] = {}
    for metric in trials.scored():
        if metric.startswith("recall/"):
            cls, contrast = metric.removeprefix("recall/"), trials.contrast(best, rival, metric)
            if contrast["mean"] < 0:
                lost[cls] = contrast | _bounds(trials, best, rival, answers, cls)
    return dict(sorted(lost.items(), key=lambda item: float(item[1]["mean"])))


def lost_in_words(lost: Mapping[str, Any]) -> str:
    """How many classes lost recall, and how many of them by more than their interval leaves open."""
    some = "1 class" if len(lost) == 1 else f"{len(lost)} classes"
    clear = sum(v["high"] is not None and v["high"] < 0 for v in lost.values())
    return f"{some} lost recall against it, {clear or 'none'} of them with its whole 95% interval below zero"


def _cells_of(strategy: str) -> str:
    """What a strategy with a generator trains on, in words: not all of them add to the real cells."""
    alone = "only" in strategy.split("+")
    return f"the cells of {strategy} in the place of all real ones" if alone else f"cells added by {strategy}"


def _sentence(result: Mapping[str, Any], unseen: str) -> str:
    bounds = ""
    if result["low"] is not None:
        reach = f"{points(result['low'])} to {points(result['high'])}"
        bounds = f"95% interval over {result['over']} {reach}, "
    word = result["verdict"][0].upper() + result["verdict"][1:]
    where = f", {result['scope']}" if result["scope"] else ""
    lost = "No class lost recall against it."
    if result["lost"]:
        cls, worst = next(iter(result["lost"].items()))
        lost = f"{lost_in_words(result['lost'])}; the most {cls} ({points(worst['mean'])} points)."
    return (
        f"{word}{where}: with {_cells_of(result['synthetic'])}, the mean recall of the rare "
        f"classes on {unseen} is {result['synthetic_mean']:.1%}, against "
        f"{result['rival_mean']:.1%} with {result['rival']}, the best strategy without generated "
        f"cells: {points(result['mean'])} points ({bounds}p = {result['p']:.3f}, "
        f"{result['n']} paired seed{'s' * (result['n'] != 1)}). {lost}"
        f"{_same_accuracy_in_words(result['same_accuracy'])}"
    )


def _same_accuracy_in_words(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    reach = "" if found["low"] is None else f"{points(found['low'])} to {points(found['high'])}"
    bounds = f"95% interval over seeds {reach}, " if reach else ""
    missed = found["n"] - found["reached"]
    best = f", or at {missed} of {found['n']} seeds as nearly as it can be" if missed else ""
    return (
        f" Shifted between rare and other classes until it is as accurate ({found['accuracy']:.1%}{best}), "
        f"that rival comes to {found['rival_mean']:.1%}: {points(found['mean'])} points ({bounds}p = "
        f"{found['p']:.3f})."
    )
