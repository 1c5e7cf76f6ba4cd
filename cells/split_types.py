"""What a split is: how it was asked for, its three sides, and what is on none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Self

from pydantic import Field, field_validator, model_validator

from cells.cellset import CellSet
from cells.fitted_steps import Preprocessing
from cells.leaks import LEAKING
from cells.long_tail import LongTailSettings
from runtime.config import Settings

SHOWN_DROPPED = 3  # names in a notice; split.json has them all


class SplitSettings(Settings):
    """How to divide cells; of a source that comes split, only what is missing is divided.

    Attributes:
        fractions: Shares of train, val and test; they sum to 1. With `folds`, only the ratio of
            train to val counts.
        seed: Another seed, another split.
        leaks: What to do where a pre-made split has the same image or group on two sides:
            ``refuse`` it, ``drop`` the cells from train (and, against test, from val), or
            ``allow`` it, which makes every figure on that split look better than it is.
        near_duplicates: Whether an image turned, flipped, cropped a little, relit or saved again
            counts as the same image; False goes by equal pixels only.
        premade: Whether to ``keep`` a split that a source comes with, or to ``ignore`` it and
            divide all of its cells anew.
        folds: Into how many folds to divide for cross-validation; None divides once.
        repeats: How often to divide into folds, each time differently.
        fold: Which fold is the test side, from 0; those of the second repeat come after `folds` of
            the first.
        long_tail: Which cells of train to leave out, for method studies.
        file: A split file to follow to the letter; it says all but `leaks` and `near_duplicates`.
    """

    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15)
    seed: int = 0
    leaks: Literal["refuse", "drop", "allow"] = "refuse"
    near_duplicates: bool = True
    premade: Literal["keep", "ignore"] = "keep"
    folds: int | None = Field(None, ge=2)
    repeats: int = Field(1, ge=1)
    fold: int = Field(0, ge=0)
    long_tail: LongTailSettings | None = None
    file: Path | None = None

    @field_validator("fractions")
    @classmethod
    def _shares(cls, fractions: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
            raise ValueError("give three shares above 0 that sum to 1, e.g. [0.7, 0.15, 0.15]")
        return fractions

    @model_validator(mode="after")
    def _fits(self) -> Self:
        fields = type(self).model_fields
        changed = [key for key in fields if getattr(self, key) != fields[key].default]
        also = [key for key in changed if key not in ("file", "leaks", "near_duplicates")]
        if self.file is not None and also:
            raise ValueError(f"the file says it all: leave out split.{also[0]}, or split.file")
        if self.folds is None and {"repeats", "fold"} & set(changed):
            raise ValueError("repeats and fold need folds: set split.folds, e.g. 5")
        if self.folds is not None and self.fold >= self.folds * self.repeats:
            raise ValueError(
                f"there is no fold {self.fold}: {self.folds} folds x {self.repeats} repeats are "
                f"numbered 0 to {self.folds * self.repeats - 1}"
            )
        return self


class Dropped(NamedTuple):
    """A cell on no side: its name, class and pixel digest, and why: ``leaking`` or ``long_tail``.

    `side` is where the source had it; empty where it did not come split.
    """

    name: str
    label: str
    digest: str
    reason: str
    side: str = ""


@dataclass(frozen=True)
class Split:
    """Cells of three sides that share no group and no image, unless `leaks` allowed it.

    Attributes:
        train: For everything that learns.
        val: Real cells, for choosing.
        test: Real cells, for the final figures.
        digest: 16 hex digits over names, classes, sides and pixels (and the preprocessing).
        dropped: Cells of the source that are on no side.
        leaking: Cells of train and val that share an image or group with a later side, as
            ``leaks=allow`` wanted it.
        preprocessing: What the images went through, fitted to `train` alone; None for nothing.
        source_digest: `digest` without the preprocessing.
    """

    train: CellSet
    val: CellSet
    test: CellSet
    digest: str
    dropped: tuple[Dropped, ...] = ()
    leaking: int = 0
    preprocessing: Preprocessing | None = None
    source_digest: str = ""

    def __post_init__(self) -> None:
        if not self.source_digest:
            object.__setattr__(self, "source_digest", self.digest)

    @property
    def warning(self) -> str:
        """What must be said beside every figure that is measured on it; empty if nothing leaks."""
        if not self.leaking:
            return ""
        return (
            "Leaks were allowed (split.leaks=allow). Cells of train or val that share an image or a group "
            f"with a cell of val or test: {self.leaking}. All figures look better than they are."
        )

    @property
    def leaks_dropped(self) -> list[str]:
        """A sentence for each side that lost cells because a later one has their image or group."""
        said = []
        others_of = {"train": "val or test also have", "val": "test also has", "": "others have"}
        for side, others in others_of.items():
            names = sorted(cell.name for cell in self.dropped if (cell.reason, cell.side) == (LEAKING, side))
            if names:
                some = ", ".join(names[:SHOWN_DROPPED]) + ", …" * (len(names) > SHOWN_DROPPED)
                cells = f"cell{'s' * (len(names) > 1)}{f' of {side}' * bool(side)}"
                said.append(
                    f"Dropped {len(names)} {cells} whose image or group {others} (split.leaks=drop): {some}."
                )
        return said
