"""Splits that do not leak, by shares or as folds, tailed at will; a split has a digest."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from cells.cellset import CellSet
from cells.duplicates import NearDuplicate, near_duplicates
from cells.folds import fold_of_cells
from cells.leaks import LEAKING, SIDES, count_leaking, without_leaks
from cells.leaks import LeakError as LeakError
from cells.long_tail import LongTailSettings, long_tailed
from cells.partition import clusters, divided, image_clusters
from cells.split_file import check_digest, read_split, sides_of
from cells.stacks import by_stack, refuse_stacks
from runtime.config import Settings
from runtime.errors import InputError

if TYPE_CHECKING:
    from cells.preprocessing import Preprocessing

Sides = NDArray[np.object_]

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
    def _fits(self) -> "SplitSettings":
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
    preprocessing: "Preprocessing | None" = None
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


def divide(cells: CellSet, settings: SplitSettings, near: Sequence[NearDuplicate] | None = None) -> Split:
    """Divide cells into train, val and test.

    A pre-made split is kept; where it has no val, val is carved from train. Otherwise each class
    is divided by `fractions` or into folds, and cells of one group, or of one image, stay together.
    The long tail comes last and takes cells from train only.

    Args:
        cells: What a source returned.
        settings: See `SplitSettings`.
        near: Near duplicates among the cells where they are known; None looks for them if
            `settings` say so.

    Raises:
        LeakError: If sides of a pre-made split share a group or an image.
        InputError: If a class is missing on a side or has too few groups to be on all of them,
            if val or test would contain synthetic cells, if a split file does not fit the cells, or
            if there are too few cells for the long tail.
    """
    if near is None:
        near = near_duplicates(cells) if settings.near_duplicates else ()
    images = by_stack(cells, image_clusters(cells, near))
    if settings.file is not None:
        return _as_in_file(cells, images, settings.file, settings.leaks)
    if any(cells.splits) and settings.premade == "keep":
        sides = _premade(cells, images, settings)
    else:
        sides = _divided_anew(cells, images, settings)
    if settings.long_tail is not None:
        refuse_stacks(cells, "split.long_tail: trimming")
        _check_classes(cells, images, sides)
        sides = long_tailed(cells, sides, settings.long_tail)
    return _split(cells, images, sides)


def folds(
    cells: CellSet, settings: SplitSettings, near: Sequence[NearDuplicate] | None = None
) -> Iterator[Split]:
    """All splits of a cross-validation, fold by fold and repeat by repeat.

    Each cell is in test once per repeat. Near duplicates are looked for only once.

    Args:
        cells: What a source returned.
        settings: With `folds`; whatever `fold` is.
        near: See `divide`.

    Raises:
        InputError: If `settings` have no folds; else see `divide`.
    """
    if settings.folds is None:
        raise InputError("split.folds is not set: say how many folds, e.g. split.folds=5.")
    if near is None:
        near = near_duplicates(cells) if settings.near_duplicates else ()
    for fold in range(settings.folds * settings.repeats):
        yield divide(cells, settings.model_copy(update={"fold": fold}), near)


def require_real(cells: CellSet, role: str) -> None:
    """Refuse synthetic cells where only real ones count.

    Args:
        cells: The set.
        role: What it is to be used as, for the message.

    Raises:
        InputError: If any cell is synthetic; the first is named. Phantoms are allowed: they stand
            in for real cells.
    """
    found = np.flatnonzero(cells.is_synthetic)
    if len(found):
        raise InputError(
            f"{cells.names[found[0]]}: is synthetic ({len(found)} of {len(cells)} cells are), and "
            f"{role} must hold real cells only; move synthetic cells to train or leave them out."
        )


def _as_in_file(cells: CellSet, images: NDArray[np.int64], path: Path, leaks: str) -> Split:
    """The split of a file, which may leak only if that is allowed here as well."""
    record = read_split(path)
    sides = sides_of(record, cells, path)
    remedy = f"{path} was made with leaks, which split.leaks=allow accepts, or with another search for them"
    without_leaks(cells, images, sides, "allow" if leaks == "allow" else "refuse", remedy)
    split = _split(cells, images, sides)
    check_digest(record, split.digest, path)
    return split


def _premade(cells: CellSet, images: NDArray[np.int64], settings: SplitSettings) -> Sides:
    """The split that the cells come with, without leaks and with a val side."""
    _check_premade(cells)
    if settings.folds is not None:
        raise InputError(
            f"split.folds={settings.folds}: the data comes split; set split.premade=ignore to divide all "
            "of its cells into folds, or leave out split.folds to keep its split."
        )
    sides = without_leaks(cells, images, cells.splits, settings.leaks)
    real = (sides == "train") & ~cells.is_synthetic
    return sides if "val" in sides else _with_val(cells, images, sides, real, settings)


def _divided_anew(cells: CellSet, images: NDArray[np.int64], settings: SplitSettings) -> Sides:
    """All cells divided by shares, or with one fold as test."""
    require_real(cells, "a set that is still to be split")
    every = np.arange(len(cells))
    if settings.folds is None:
        parts = divided(cells, images, settings.fractions, settings.seed, every)
        return np.array(SIDES, dtype=object)[parts]
    repeat, fold = divmod(settings.fold, settings.folds)
    tested = fold_of_cells(cells, images, settings.folds, repeat, settings.seed) == fold
    return _with_val(cells, images, np.where(tested, "test", "train").astype(object), ~tested, settings)


def _with_val(
    cells: CellSet, images: NDArray[np.int64], sides: Sides, carve: NDArray[np.bool_], settings: SplitSettings
) -> Sides:
    """Take val out of some cells of train, as a share of train and val."""
    train, val, _ = settings.fractions
    shares = (train / (train + val), val / (train + val))
    return np.where(
        divided(cells, images, shares, settings.seed, np.flatnonzero(carve)) == 1, "val", sides
    ).astype(object)


def _check_premade(cells: CellSet) -> None:
    for name, side in zip(cells.names, cells.splits, strict=True):
        if side not in SIDES:
            raise InputError(
                f"{name}: split '{side}' is not one of train, val, test; say it for every cell or for none."
            )
    for side in ("train", "test"):
        if side not in cells.splits:
            raise InputError(
                f"the data comes split but has no {side} cells; add them, "
                "or give it unsplit (data.kind=folder)."
            )


def _split(cells: CellSet, images: NDArray[np.int64], sides: Sides) -> Split:
    """The cells on their sides, if every class is on each and only real ones are in val and test."""
    _check_classes(cells, images, sides)
    train, val, test = (_side(cells, sides, side) for side in SIDES)
    require_real(val, "val")
    require_real(test, "test")
    dropped = tuple(
        Dropped(
            str(cells.names[row]),
            cells.classes[cells.labels[row]],
            cells.digests[row],
            sides[row],
            str(cells.splits[row]),
        )
        for row in np.flatnonzero(~np.isin(sides.astype(str), SIDES))
    )
    leaking = count_leaking(cells, images, sides)
    return Split(train, val, test, _digest([train, val, test]), dropped, leaking)


def _check_classes(cells: CellSet, images: NDArray[np.int64], sides: Sides) -> None:
    for side in SIDES:
        counts = np.bincount(cells.labels[sides == side], minlength=len(cells.classes))
        if counts.min() == 0:
            label = int(counts.argmin())
            raise InputError(
                f"class '{cells.classes[label]}' has no cells in {side}; {_remedy(cells, images, label)}"
            )


def _remedy(cells: CellSet, images: NDArray[np.int64], label: int) -> str:
    """What to do about a side without a class."""
    together = clusters(cells, images, np.arange(len(cells)))
    count = sum(bool((cells.labels[rows] == label).any()) for rows in together)
    has = f"it is in {count} of {len(together)} groups or different images"
    if count < len(SIDES):
        return f"{has}, and needs {len(SIDES)}, one a side: add some, or leave the class out."
    again = "split.premade=ignore to divide anew, " if any(cells.splits) else ""
    return (
        f"{has}, enough for all sides: try {again}other split.fractions, another split.seed or "
        "split.folds, or add some there, before you leave the class out."
    )


def _side(cells: CellSet, sides: Sides, side: str) -> CellSet:
    part = cells.subset(np.flatnonzero(sides == side))
    column = np.empty(len(part), dtype=object)
    column[:] = side
    return replace(part, splits=column)


def _digest(parts: list[CellSet]) -> str:
    rows = sorted(
        f"{name}\t{part.classes[label]}\t{side}\t{pixels}"
        for part in parts
        for name, label, side, pixels in zip(part.names, part.labels, part.splits, part.digests, strict=True)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]
