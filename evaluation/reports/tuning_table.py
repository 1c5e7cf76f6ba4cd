"""Which settings each strategy's trainings chose on validation cells, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.reports.tables import listed
from evaluation.studies.strategies import strategy_of

PREFIX = "classifier."


def tuning_table(
    trials: Sequence[Mapping[str, Any]], tune: Mapping[str, Sequence[Any]]
) -> dict[str, Any] | None:
    """A row for each strategy, a column for each candidate of each setting: the trials that chose it.

    Args:
        trials: As `results.json` holds them.
        tune: Candidates by key, as the config has them; none: nothing was chosen.

    Returns:
        `text`, `header`, `rows` (all text) and `made` (the strategies with generated cells); None where there
        is nothing to show.
    """
    tuned = [trial for trial in trials if "tuned" in trial]
    if not tune or not tuned:
        return None
    columns = [(key, value) for key, values in tune.items() for value in values]
    strategies = list(dict.fromkeys(trial["strategy"] for trial in tuned))
    rows = []
    for strategy in strategies:
        chosen = [trial["tuned"]["chosen"] for trial in tuned if trial["strategy"] == strategy]
        counts = [sum(one[key] == value for one in chosen) for key, value in columns]
        rows.append([strategy, str(len(chosen)), *map(str, counts)])
    keys = listed([key.removeprefix(PREFIX) for key in tune])
    return {
        "text": (
            f"Each trial trained every combination of {keys} and kept the one with the highest mean rare "
            "recall on validation cells, of equal ones the first. How often each value was chosen:"
        ),
        "header": ["Strategy", "Trials", *(f"{key.removeprefix(PREFIX)} {_word(v)}" for key, v in columns)],
        "rows": rows,
        "made": [name for name in strategies if strategy_of(name).models],
    }


def _word(value: Any) -> str:
    return "null" if value is None else str(value)
