"""Target distribution to a quota of synthetic cells per class."""

from typing import Annotated, Literal

from pydantic import Field

from cells.cellset import CellSet
from runtime.config import Settings
from runtime.errors import InputError, suggest


class BalanceSettings(Settings):
    """How far to fill the rare classes.

    Attributes:
        to: ``fill`` brings every class up to the largest one; a ratio r in (0, 1] brings classes
            below r times the largest up to that; a mapping says how many synthetic cells each
            class gets.
    """

    to: Literal["fill"] | Annotated[float, Field(gt=0, le=1)] | dict[str, Annotated[int, Field(ge=0)]] = (
        "fill"
    )


def quotas(cells: CellSet, settings: BalanceSettings) -> dict[str, int]:
    """How many synthetic cells each class is short of.

    Args:
        cells: The training cells.
        settings: The target.

    Returns:
        Synthetic cells to add per class, in the order of the classes; zeros are left out.

    Raises:
        InputError: If a mapping names a class that the cells do not have.
    """
    if isinstance(settings.to, dict):
        wanted = settings.to
        for name in wanted:
            if name not in cells.classes:
                raise InputError(f"balance.to.{name}: unknown class.{suggest(name, cells.classes)}")
    else:
        ratio = 1.0 if settings.to == "fill" else settings.to
        target = round(ratio * max(cells.counts.values(), default=0))
        wanted = {name: target - count for name, count in cells.counts.items()}
    return {name: wanted[name] for name in cells.classes if wanted.get(name, 0) > 0}
