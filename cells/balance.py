"""Target distribution to a plan: how many synthetic cells each class gets, and what held it back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from cells.cellset import CellSet
from runtime.config import Settings
from runtime.errors import InputError, suggest

Word: TypeAlias = Literal["fill", "auto", "not majority", "minority", "not minority", "all"]
Strategy: TypeAlias = Callable[[NDArray[np.object_]], Mapping[str, int]]
WORDS = get_args(Word)


class BalanceSettings(Settings):
    """How far to fill the rare classes; the words are imbalanced-learn's `sampling_strategy`.

    Attributes:
        to: A word brings classes up to the largest one: ``fill``, ``auto``, ``not majority`` and ``all``
            every class, ``minority`` the smallest alone, ``not minority`` all but the smallest. A
            ratio r in (0, 1] brings classes below r times the largest up to that. A mapping says
            how many cells each class has afterwards, real and synthetic together.
        effective_beta: The ratio is one of effective numbers of cells at this β in (0, 1), e.g.
            0.999, instead of counts; see `effective_number`.
        max_share: Synthetic cells are at most this share of a class afterwards, e.g. 0.8.
        max_per_real: At most so many synthetic cells for each real cell of a class, e.g. 10.
    """

    to: Word | Annotated[float, Field(gt=0, le=1)] | dict[str, int] = "fill"
    effective_beta: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_per_real: Annotated[float, Field(gt=0)] | None = None

    @field_validator("to", mode="before")
    @classmethod
    def _known_word(cls, to: Any) -> Any:
        if isinstance(to, str) and to not in WORDS:
            raise ValueError(
                f"is no word for a balance.{suggest(to, WORDS)} A ratio or cells per class would do "
                "as well; a function can be given in Python only, to cells.balance.plan_balance"
            )
        return to

    @model_validator(mode="after")
    def _effective_ratio(self) -> Self:
        if self.effective_beta is not None and not isinstance(self.to, float):
            raise ValueError(
                "effective_beta changes what a ratio means, and balance.to is none; say e.g. to: 0.9, "
                "or leave effective_beta out"
            )
        return self


@dataclass(frozen=True)
class ClassPlan:
    """What is planned for one class.

    Attributes:
        name: The class.
        real: Cells that it has.
        target: Cells that it should have, before any cap; not below `real`.
        added: Synthetic cells that it gets.
        capped_by: The setting that held it back, ``max_share`` or ``max_per_real``; else empty.
    """

    name: str
    real: int
    target: int
    added: int
    capped_by: str = ""

    @property
    def cut(self) -> int:
        """Synthetic cells that the cap took off."""
        return self.target - self.real - self.added

    @property
    def share(self) -> float:
        """Share of synthetic cells in the class afterwards, in [0, 1]."""
        return self.added / max(self.real + self.added, 1)


@dataclass(frozen=True)
class BalancePlan:
    """What is planned for every class, in the order of the classes."""

    classes: tuple[ClassPlan, ...]

    @property
    def quotas(self) -> dict[str, int]:
        """Synthetic cells per class; zeros are left out."""
        return {each.name: each.added for each in self.classes if each.added}


def plan_balance(cells: CellSet, settings: BalanceSettings, strategy: Strategy | None = None) -> BalancePlan:
    """Plan how many synthetic cells each class gets.

    Args:
        cells: The training cells.
        settings: Target and caps.
        strategy: A function in place of ``settings.to``, as imbalanced-learn takes one: it is given
            the class name of each cell, shape (n,), and returns cells per class afterwards.

    Raises:
        InputError: If a mapping (or the function's) names a class that the cells do not have, or asks for
            fewer cells than a class has.
    """
    if strategy is not None:
        names = np.array(cells.classes, dtype=object)[cells.labels]
        targets = _named_targets(dict(strategy(names)), cells.counts, "the strategy's answer")
    elif isinstance(settings.to, dict):
        targets = _named_targets(settings.to, cells.counts, "balance.to")
    elif isinstance(settings.to, float):
        targets = dict.fromkeys(
            cells.classes, _ratio_target(cells.counts, settings.to, settings.effective_beta)
        )
    else:
        targets = dict.fromkeys(_classes_of(settings.to, cells.counts), max(cells.counts.values(), default=0))
    rows = [_planned(name, real, targets.get(name, real), settings) for name, real in cells.counts.items()]
    return BalancePlan(tuple(rows))


def quotas(cells: CellSet, settings: BalanceSettings, strategy: Strategy | None = None) -> dict[str, int]:
    """Synthetic cells to add per class, in the order of the classes; see `plan_balance`."""
    return plan_balance(cells, settings, strategy).quotas


def effective_number(count: float, beta: float) -> float:
    """How many cells the cells of a class are worth, since they overlap: (1 - β^n) / (1 - β).

    Args:
        count: Cells n, 0 or more.
        beta: β in (0, 1); no number of cells is worth more than 1 / (1 - β).

    Source:
        Cui et al., CVPR 2019, arXiv:1901.05555, proposition 1.
    """
    return -math.expm1(count * math.log(beta)) / (1 - beta)


def _ratio_target(counts: Mapping[str, int], ratio: float, beta: float | None) -> int:
    """The cells that make a class worth `ratio` times the largest, in counts or in effective numbers."""
    largest = max(counts.values(), default=0)
    if beta is None or ratio == 1:  # at equal effective numbers the counts are equal, too
        return round(ratio * largest)
    wanted = ratio * effective_number(largest, beta)
    return round(math.log1p(-wanted * (1 - beta)) / math.log(beta))  # the effective number, solved for n


def _classes_of(word: str, counts: Mapping[str, int]) -> list[str]:
    """The classes that a word brings up to the largest one."""
    smallest = min(counts, key=lambda name: counts[name], default="")
    chosen = {
        "minority": [smallest],
        "not minority": [name for name in counts if name != smallest],
    }
    return chosen.get(word, list(counts))  # the largest one is full already


def _named_targets(wanted: Mapping[str, int], counts: Mapping[str, int], where: str) -> dict[str, int]:
    for name, target in wanted.items():
        if name not in counts:
            raise InputError(f"{where}.{name}: unknown class.{suggest(str(name), counts)}")
        if target < counts[name]:
            raise InputError(
                f"{where}.{name} = {target}: the class has {counts[name]} cells already, and none is taken "
                f"away; give {counts[name]} or more, counting real and synthetic cells, or leave it out."
            )
    return {name: int(target) for name, target in wanted.items()}


def _planned(name: str, real: int, target: int, settings: BalanceSettings) -> ClassPlan:
    """The plan of one class: its shortfall, or what the tighter cap leaves of it."""
    target = max(target, real)
    missing, room = target - real, {}
    if settings.max_share is not None:
        room["max_share"] = _whole(settings.max_share * real / (1 - settings.max_share))
    if settings.max_per_real is not None:
        room["max_per_real"] = _whole(settings.max_per_real * real)
    cap = min(room, key=lambda key: room[key], default="")
    if cap and room[cap] < missing:
        return ClassPlan(name, real, target, room[cap], cap)
    return ClassPlan(name, real, target, missing)


def _whole(cells: float) -> int:
    """Cells rounded down, but for what binary fractions lose: 0.9 * 10 / (1 - 0.9) is 90."""
    return math.floor(cells + 1e-9 * max(cells, 1))
