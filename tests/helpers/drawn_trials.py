"""Trials with the figures that a test wants."""

from typing import Any

import numpy as np


def trial(
    strategy: str, seed: int, rare: float, accuracy: float = 0.9, val: float | None = None
) -> dict[str, Any]:
    def part(recall: float) -> dict[str, Any]:
        return {
            "accuracy": accuracy,
            "balanced_accuracy": (recall + 0.9) / 2,
            "macro_f1": recall,
            "mean_rare_recall": recall,
            "recall": {"a": 0.9, "b": recall, "nobody": None},
        }

    return {
        "strategy": strategy,
        "classifier_seed": seed,
        "metrics": part(rare),
        "validation": part(rare if val is None else val),
    }


def study(
    means: dict[str, float], seeds: int = 6, noise: float = 0.01, seed: int = 0
) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [trial(s, i, m + noise * random.standard_normal()) for s, m in means.items() for i in range(seeds)]
