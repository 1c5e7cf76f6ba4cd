"""Public collections and plain layouts on disk, read as one CellSet."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import Field, field_validator

from cells.cellset import ORIGINS, CellSet
from cells.images import find_images, pack
from cells.medmnist import MedmnistData, Size, load_medmnist
from cells.phantom import DEFAULT_COUNTS, phantoms
from runtime.config import Settings
from runtime.errors import InputError, suggest
from runtime.rundir import read_json

SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
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


class FolderData(Settings):
    """A tree ``root/<class>/<image>``, still to be split.

    Attributes:
        root: The folder of class folders.
        image_size: Edge in pixels to resize to.
        crop: Edge of the center square to keep first; None keeps the largest.
        classes: Which class folders to read, in this order; None reads all, by name.
        group: Regular expression searched in ``<class>/<image>``; what its first parenthesis
            matches is the patient, slide or field that must not be split. None: each image its own.
    """

    kind: Literal["folder"] = "folder"
    root: Path
    image_size: Size = 32
    crop: Annotated[int, Field(ge=8)] | None = None
    classes: tuple[str, ...] | None = None
    group: str | None = None

    @field_validator("group")
    @classmethod
    def _one_parenthesis(cls, group: str | None) -> str | None:
        try:
            fits = group is None or re.compile(group).groups >= 1
        except re.error as error:
            raise ValueError(f"is not a regular expression ({error})") from None
        if not fits:
            raise ValueError("needs a parenthesis around the group's name, e.g. '/([^_]+)_'")
        return group


class SplitFolderData(FolderData):
    """A tree already split: ``root/{train,val,test}/<class>/<image>`` (``valid`` works as well)."""

    kind: Literal["split_folder"] = "split_folder"  # type: ignore[assignment]


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


def load(settings: DataSettings) -> CellSet:
    """Read a source.

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
            cells = _load_phantom(settings)
        case MedmnistData():
            cells = load_medmnist(settings)
        case SplitFolderData():
            cells = _load_split_folder(settings)
        case PbcData():
            cells = _load_folder(_checked_pbc(settings))
        case FolderData():
            cells = _load_folder(settings)
    if len(cells.classes) < 2:
        raise InputError(f"data: {settings.kind} gives {len(cells.classes)} class(es); give two or more.")
    return cells


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


# ---------------------------------------------------------------------------- trees of images


@dataclass(frozen=True)
class _Found:
    """One image of a tree, and what a metadata.jsonl beside it says."""

    path: Path
    label: str
    split: str
    record: dict[str, Any]


def _load_folder(settings: FolderData) -> CellSet:
    classes = _class_folders(settings.root, settings.classes)
    found = list(_find(settings.root, classes, ""))
    _check_counts(found, classes, settings.root)
    return _read(found, classes, settings)


def _load_split_folder(settings: SplitFolderData) -> CellSet:
    sides = {}
    for side, names in SPLIT_FOLDERS.items():
        present = [settings.root / name for name in names if (settings.root / name).is_dir()]
        if present:
            sides[side] = present[0]
        elif side != "val":  # val can be carved from train
            _existing(settings.root)
            raise InputError(
                f"{settings.root / side}: no such folder; a split tree has train, test and "
                "perhaps val (an unsplit one is read with data.kind=folder)."
            )
    classes = _class_folders(sides["train"], settings.classes)
    found = []
    for side, folder in sides.items():
        _class_folders(folder, settings.classes, known=classes)
        here = list(_find(folder, classes, side))
        _check_counts(here, classes, folder, at_least=2 if side == "train" else 1)
        found += here
    return _read(found, classes, settings)


def _checked_pbc(settings: PbcData) -> PbcData:
    for name in _class_folders(settings.root, settings.classes):
        if name not in PBC_CLASSES:
            raise InputError(
                f"{settings.root / name}: not a class of PBC.{suggest(name, PBC_CLASSES)} "
                "Rename or remove the folder, or use data.kind=folder."
            )
    return settings


def _existing(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.root to the folder of the images.")


def _class_folders(
    root: Path, asked: Sequence[str] | None, known: Sequence[str] | None = None
) -> tuple[str, ...]:
    """Class names of a tree.

    Args:
        root: The folder of class folders.
        asked: The setting `classes`.
        known: The classes of train, when another side is read; others there are an error.
    """
    _existing(root)
    present = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not present:
        raise InputError(f"{root}: has no class folders; expected {root}/<class>/<image>.")
    for name in asked or ():
        if name not in present:
            raise InputError(f"data.classes: {root} has no class '{name}'.{suggest(name, present)}")
    for name in present:
        if known is not None and not asked and name not in known:
            raise InputError(f"{root / name}: unknown class, train has no '{name}'.{suggest(name, known)}")
    return tuple(asked or _saved_order(root, present))


def _saved_order(root: Path, present: list[str]) -> list[str]:
    """A set that `CellSet.save` wrote keeps the order of its classes."""
    saved = root / "classes.json"
    order = read_json(saved) if saved.is_file() else present
    return order if isinstance(order, list) and sorted(map(str, order)) == present else present


def _find(root: Path, classes: Sequence[str], split: str) -> Iterator[_Found]:
    records = _metadata(root)
    for label in classes:
        folder = root / label
        for path in find_images(folder) if folder.is_dir() else ():
            record = records.get(f"{label}/{path.name}", {})
            yield _Found(path, label, split or str(record.get("split", "")), record)


def _metadata(root: Path) -> dict[str, dict[str, Any]]:
    """What ``metadata.jsonl`` says of each file, so that groups and synthetic origin survive."""
    path = root / "metadata.jsonl"
    if not path.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        records = {str(row["file_name"]): dict(row) for row in rows}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not one JSON object with a file_name a line; mend or remove it.") from None
    for name, row in records.items():
        if row.get("origin", "real") not in ORIGINS:
            raise InputError(f"{path}: {name} has origin '{row['origin']}'.{suggest('', ORIGINS)}")
    return records


def _check_counts(found: Sequence[_Found], classes: Sequence[str], root: Path, at_least: int = 2) -> None:
    labels = [item.label for item in found]
    for name in classes:
        count = labels.count(name)
        if count == 0:
            raise InputError(f"{root / name}: has no images; add some or remove the class.")
        if count < at_least:
            raise InputError(
                f"{root / name}: has one image, and one cannot be learned from; add more or remove the class."
            )


def _read(found: Sequence[_Found], classes: tuple[str, ...], settings: FolderData) -> CellSet:
    # A saved set says where each cell came from first, so that its split keeps its digest.
    paths = [item.path.relative_to(settings.root).as_posix() for item in found]
    names = [str(item.record.get("name") or path) for item, path in zip(found, paths, strict=True)]
    cells = CellSet.from_arrays(
        pack([item.path for item in found], settings.image_size, settings.crop),
        [classes.index(item.label) for item in found],
        classes,
        names=names,
        groups=[
            str(item.record.get("group") or _group(f"{item.label}/{item.path.name}", settings, name))
            for item, name in zip(found, names, strict=True)
        ],
        splits=[item.split for item in found],
    )
    plain = ("file_name", "label", "name", "group", "split", "origin", "sha256")
    origins, provenance = np.empty(len(found), object), np.empty(len(found), object)
    for i, item in enumerate(found):
        origins[i] = item.record.get("origin", "real")
        made = origins[i] == "synthetic"
        provenance[i] = {k: v for k, v in item.record.items() if made and k not in plain}
    return replace(cells, origins=origins, provenance=provenance)


def _group(inner: str, settings: FolderData, name: str) -> str:
    if settings.group is None:
        return name
    match = re.search(settings.group, inner)
    if match is None or not match.group(1):
        raise InputError(f"{settings.root / name}: data.group={settings.group!r} does not match it.")
    return match.group(1)
