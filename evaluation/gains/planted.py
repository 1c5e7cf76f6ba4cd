"""Studies drawn from a model whose truth is known: what the verdict's rule makes of them is counted.

A test cell is answered rightly with the probability 1 / (1 + exp(-z)), where

    z = skill of the strategy + luck of its seed + luck of its seed with this class
        + ease of the cell + ease of the cell for this strategy.

Validation and test have cells of their own and share all else, so that a lucky seed is lucky on both.
With equal skills, no strategy is better than another in the long run, over all seeds and cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.gains.answers import Answers

COMMON = "common"  # the class that is not rare; its cells are easy for all
EASE = 3.0  # of its cells, on top of the skill


@dataclass(frozen=True)
class Plan:
    """What to draw. Usual values give the spread that `docs/results/pbc_longtail` shows over seeds.

    Attributes:
        skills: Of each strategy, in logits. 3.0 is a mean recall of about 0.80.
        units: Seeds.
        cells: Test cells of each class.
        validation: Validation cells of each class.
        rare: Number of rare classes; one common class comes on top.
        seeds: Standard deviation of a seed's luck, in logits; half of it besides for each class.
        ease: Standard deviation of a cell's ease.
        taste: Standard deviation of a cell's ease for one strategy.
    """

    skills: Mapping[str, float]
    units: int = 6
    cells: int = 250
    validation: int = 100
    rare: int = 3
    seeds: float = 0.25
    ease: float = 3.0
    taste: float = 1.0
    classes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(f"rare {k}" for k in range(self.rare))
        object.__setattr__(self, "classes", (*names, COMMON))


def planted(plan: Plan, random: np.random.Generator) -> tuple[list[dict[str, Any]], Answers]:
    """Draw one study.

    Args:
        plan: What to draw.
        random: Where from.

    Returns:
        Trials, as `evaluation.gains.conclusion.conclude` takes them, and their answers to the test cells.
    """
    luck = random.normal(0, plan.seeds, (len(plan.skills), plan.units))
    luck = luck[..., None] + random.normal(0, plan.seeds / 2, (*luck.shape, len(plan.classes)))
    luck += np.array(list(plan.skills.values()))[:, None, None]  # (strategies, units, classes)
    luck[..., -1] += EASE
    on_test, on_validation = (_right(plan, luck, n, random) for n in (plan.cells, plan.validation))
    pairs = [(s, name, unit) for s, name in enumerate(plan.skills) for unit in range(plan.units)]
    records = [
        {
            "strategy": name,
            "classifier_seed": unit,
            "metrics": _figures(plan, on_test[s, unit]),
            "validation": _figures(plan, on_validation[s, unit]),
        }
        for s, name, unit in pairs
    ]
    labels = np.repeat(np.arange(len(plan.classes)), plan.cells)
    right = {(name, unit): on_test[s, unit].ravel() for s, name, unit in pairs}
    return records, Answers(labels, plan.classes, plan.classes[:-1], right)


def expected_difference(plan: Plan, strategy: str, other: str, draws: int = 200_000) -> float:
    """The difference in mean recall of the rare classes that the plan's skills amount to, in [-1, 1]."""
    random = np.random.default_rng(0)
    spread = np.sqrt(1.25 * plan.seeds**2 + plan.ease**2 + plan.taste**2)
    noise = random.normal(0, spread, draws)
    ours, theirs = (_logistic(noise + plan.skills[s]).mean() for s in (strategy, other))
    return float(ours - theirs)


def _right(
    plan: Plan, luck: NDArray[np.float64], cells: int, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Which cells of one side are answered rightly, shape (strategies, units, classes, cells)."""
    strategies, units, classes = luck.shape
    ease = random.normal(0, plan.ease, (classes, cells))
    taste = random.normal(0, plan.taste, (strategies, 1, classes, cells))
    chance = _logistic(luck[..., None] + ease + taste)
    return np.asarray(random.random((strategies, units, classes, cells)) < chance)


def _logistic(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-z)))


def _figures(plan: Plan, right: NDArray[np.bool_]) -> dict[str, Any]:
    recall = dict(zip(plan.classes, right.mean(axis=1).tolist(), strict=True))
    return {
        "accuracy": float(right.mean()),
        "mean_rare_recall": float(np.mean([recall[c] for c in plan.classes[:-1]])),
        "recall": recall,
    }
