"""How many synthetic cells a strategy trains on: as the balance plans, by dose, or in place of the real."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluation.studies.strategies import FILL, Strategy


def quota_of(
    strategy: Strategy, planned: Mapping[str, int], real: Mapping[str, int], rare: Sequence[str]
) -> dict[str, int]:
    """Synthetic cells per class that a strategy trains on, in the order of the classes.

    A dose goes by the real cells of the rare classes, whatever the balance. A strategy without the
    real cells gets synthetic ones of all classes: as many as it replaces, times the dose if it has one.

    Args:
        strategy: With a generator; without one it gets none.
        planned: What the balance gives each class.
        real: Real training cells per class.
        rare: The rare classes.
    """
    if strategy.generator is None:
        return {}
    if strategy.dose is None and not strategy.only:
        return dict(planned)
    classes = [name for name in real if strategy.only or name in rare]
    if strategy.dose == FILL:
        largest = max(real.values())
        wanted = {name: largest - real[name] * (not strategy.only) for name in classes}
    else:
        wanted = {name: max(1, round((strategy.dose or 1.0) * real[name])) for name in classes}
    return {name: count for name, count in wanted.items() if count}


def largest(quotas: Sequence[Mapping[str, int]], classes: Sequence[str]) -> dict[str, int]:
    """The most that any of several quotas asks of each class; classes that none asks for are left out."""
    most = {name: max((quota.get(name, 0) for quota in quotas), default=0) for name in classes}
    return {name: count for name, count in most.items() if count}
