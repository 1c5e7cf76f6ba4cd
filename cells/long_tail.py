"""Long-tailing: cells of train left out until the classes have a given imbalance, for method studies."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from cells.cellset import CellSet
from runtime.config import Settings
from runtime.errors import InputError, suggest
from runtime.seeds import numpy_generator

TRIMMED = "long_tail"  # in the place of a side: left out by the long tail
FEWEST = 2


class LongTailSettings(Settings):
    """How many cells of each class train keeps; val and test stay as they are.

    Attributes:
        factor: The largest class over the smallest; sizes fall off exponentially in between.
        counts: Instead: cells of each class; a class that is not named keeps all.
        order: Classes from the most to the least frequent, with `factor`; None goes by their counts.
        seed: Which cells stay. Of one seed, fewer cells of a class are among the more.
    """

    factor: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    counts: dict[str, Annotated[int, Field(ge=FEWEST)]] | None = None
    order: tuple[str, ...] | None = None
    seed: int = 0

    @model_validator(mode="after")
    def _one_way(self) -> "LongTailSettings":
        if (self.factor is None) == (not self.counts):
            raise ValueError("give either a factor (e.g. 50) or counts (e.g. {basophil: 20})")
        if self.order is not None and self.factor is None:
            raise ValueError("order goes with a factor; counts say it all")
        return self


def long_tailed(
    cells: CellSet, sides: NDArray[np.object_], settings: LongTailSettings
) -> NDArray[np.object_]:
    """The sides, with `TRIMMED` for the cells of train that are left out.

    Args:
        cells: The cells.
        sides: The side of each, shape (n,).
        settings: How many to keep, and which.

    Raises:
        InputError: An unknown class, more cells than there are, fewer than two, or synthetic cells
            in train.
    """
    train = np.flatnonzero(sides == "train")
    if cells.is_synthetic[train].any():
        raise InputError(
            "split.long_tail: train holds synthetic cells, which would hide the tail; leave them out."
        )
    found = np.bincount(cells.labels[train], minlength=len(cells.classes)).tolist()
    counts = dict(zip(cells.classes, found, strict=True))
    sides = sides.copy()
    for name, kept in wanted(counts, settings).items():
        rows = train[cells.labels[train] == cells.index_of(name)]
        # By digest and name, so that the choice does not hang on the order of the source.
        rows = rows[np.lexsort((cells.names[rows].astype(str), cells.digests[rows].astype(str)))]
        order = numpy_generator(settings.seed, "long tail", name).permutation(len(rows))
        sides[rows[order[kept:]]] = TRIMMED
    return sides


def wanted(counts: dict[str, int], settings: LongTailSettings) -> dict[str, int]:
    """Cells that each class is to keep.

    With a factor f the class of rank i of C keeps n_max f^(-i / (C - 1)) cells, rounded, where n_max
    is the largest for which every class has enough: of a balanced set all of the first class.

    Args:
        counts: Cells of each class in train.
        settings: See `LongTailSettings`.

    Raises:
        InputError: See `long_tailed`.

    Source:
        Cui et al., CVPR 2019, arXiv:1901.05555, section 5.1; Cao et al., NeurIPS 2019,
        arXiv:1906.07413, section 4.
    """
    if settings.factor is None:
        return _given(counts, settings.counts or {})
    order = _ranked(counts, settings.order)
    falloff = (settings.factor ** (-np.arange(len(order)) / (len(order) - 1))).tolist()
    largest = min(counts[name] / share for name, share in zip(order, falloff, strict=True))
    kept = {name: round(largest * share) for name, share in zip(order, falloff, strict=True)}
    for name, count in kept.items():
        if count < FEWEST:
            raise InputError(
                f"split.long_tail.factor={settings.factor:g}: leaves {count} training cells of class "
                f"'{name}', and {FEWEST} are the fewest to learn from; use a factor up to "
                f"{largest / FEWEST:.4g}."
            )
    return kept


def _given(counts: dict[str, int], asked: dict[str, int]) -> dict[str, int]:
    for name, count in asked.items():
        _check_known(name, counts, "counts")
        if count > counts[name]:
            raise InputError(
                f"split.long_tail.counts.{name}={count}: train has {counts[name]} cells of it; "
                "ask for no more."
            )
    return dict(asked)


def _ranked(counts: dict[str, int], order: tuple[str, ...] | None) -> list[str]:
    if order is None:
        return sorted(counts, key=lambda name: -counts[name])  # stable: equal ones as they come
    for name in order:
        _check_known(name, counts, "order")
    missing = [name for name in counts if name not in order]
    if missing or len(order) != len(counts):
        what = f"class '{missing[0]}' is missing" if missing else "a class is named twice"
        raise InputError(f"split.long_tail.order: {what}; name each class once.")
    return list(order)


def _check_known(name: str, counts: dict[str, int], key: str) -> None:
    if name not in counts:
        raise InputError(f"split.long_tail.{key}: there is no class '{name}'.{suggest(name, counts)}")
