"""Public collections and plain layouts on disk, read as one CellSet."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field

from cells.cellset import CellSet, Loaded
from cells.medmnist import MedmnistData, Size, load_medmnist
from cells.phantom import DEFAULT_COUNTS, phantoms
from cells.trees import FolderData, SplitFolderData, class_folders, load_folder, load_split_folder
from runtime.config import Settings
from runtime.errors import InputError, suggest

PBC_CLASSES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "ig",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)


class PhantomData(Settings):
    """Drawn cells with known parameters: for trying things out, never evidence about real cells.

    Attributes:
        image_size: Edge in pixels.
        counts: Training cells per class, long-tailed by default.
        val_per_class: Validation cells of each class.
        test_per_class: Test cells of each class.
        seed: Another seed, other cells.
    """

    kind: Literal["phantom"] = "phantom"
    image_size: Size = 32
    counts: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=lambda: dict(DEFAULT_COUNTS))
    val_per_class: Annotated[int, Field(ge=1)] = 40
    test_per_class: Annotated[int, Field(ge=1)] = 100
    seed: int = 0


class PbcData(FolderData):
    """The peripheral blood cell collection in its own layout, 360×363 px images.

    Attributes:
        crop: 200 px around the center hold the cell and little else.
    """

    kind: Literal["pbc"] = "pbc"  # type: ignore[assignment]
    crop: Annotated[int, Field(ge=8)] | None = 200


DataSettings: TypeAlias = Annotated[
    PhantomData | FolderData | SplitFolderData | MedmnistData | PbcData, Field(discriminator="kind")
]


@dataclass(frozen=True)
class Credit:
    """Where images come from and what may be done with them."""

    licence: str
    citation: str


CREDITS: dict[str, Credit] = {
    "phantom": Credit("Apache-2.0", "Drawn by rarecell; not images of cells."),
    "folder": Credit("not known: the folder does not say", "not known"),
    "split_folder": Credit("not known: the folder does not say", "not known"),
    "medmnist": Credit(
        "CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)",
        "Yang et al., MedMNIST v2, Scientific Data 10:41 (2023), doi 10.1038/s41597-022-01721-8.",
    ),
    "pbc": Credit(
        "CC BY 4.0",
        "Acevedo et al., A dataset of microscopic peripheral blood cell images, Data in Brief 30 "
        "(2020), doi 10.1016/j.dib.2020.105474. No patient identifiers are published, so cells of "
        "one patient may be on both sides of a split.",
    ),
}


def read(settings: DataSettings) -> Loaded:
    """Read a source, and say what in it did not become a cell.

    Args:
        settings: Which source, and how.

    Returns:
        All its cells; `splits` says the side where the source comes split, else it is empty.

    Raises:
        InputError: A missing folder or file, no classes, an empty class, a class with one image,
            an unknown class, an unreadable image; the file or key is named.
    """
    match settings:
        case PhantomData():
            loaded = Loaded(_load_phantom(settings))
        case MedmnistData():
            loaded = Loaded(load_medmnist(settings))
        case SplitFolderData():
            loaded = load_split_folder(settings)
        case PbcData():
            loaded = load_folder(_checked_pbc(settings))
        case FolderData():
            loaded = load_folder(settings)
    if len(loaded.cells.classes) < 2:
        raise InputError(
            f"data: {settings.kind} gives {len(loaded.cells.classes)} class(es); give two or more."
        )
    return loaded


def load(settings: DataSettings) -> CellSet:
    """The cells of a source; see `read`."""
    return read(settings).cells


def _load_phantom(settings: PhantomData) -> CellSet:
    names = [name for name, count in settings.counts.items() if count]
    for name in names:
        if settings.counts[name] == 1:
            raise InputError(f"data.counts.{name} = 1: one image cannot be learned from; give more or 0.")
    per_split = {
        "train": settings.counts,
        "val": dict.fromkeys(names, settings.val_per_class),
        "test": dict.fromkeys(names, settings.test_per_class),
    }
    train, val, test = (
        phantoms(counts, settings.image_size, settings.seed, split=side) for side, counts in per_split.items()
    )
    return _only_classes(train + val + test, names)


def _only_classes(cells: CellSet, names: Sequence[str]) -> CellSet:
    """The same cells with the classes that were asked for; the others have none."""
    kept = tuple(name for name in cells.classes if name in names)
    renumber = np.array([kept.index(name) if name in kept else -1 for name in cells.classes])
    return replace(cells, classes=kept, labels=renumber[cells.labels].astype(np.int64))


def _checked_pbc(settings: PbcData) -> PbcData:
    for name in class_folders(settings.root, settings.classes):
        if name not in PBC_CLASSES:
            raise InputError(
                f"{settings.root / name}: not a class of PBC.{suggest(name, PBC_CLASSES)} "
                "Rename or remove the folder, or use data.kind=folder."
            )
    return settings
