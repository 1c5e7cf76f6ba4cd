"""Public collections and plain layouts on disk, read as one CellSet."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from pydantic import Field

from cells.archives import inner_folder, is_archive, unpacked
from cells.boxes import BoxesData, load_boxes
from cells.cellset import XRAY, CellSet, Loaded
from cells.collections import (
    COLLECTIONS,
    XRAYS,
    BccdData,
    CollectionData,
    Credit,
    PbcData,
    TaleqaniData,
    load_bccd,
    load_collection,
    obtained,
)
from cells.collections import PBC_CLASSES as PBC_CLASSES
from cells.cross_site import joined
from cells.decoding import TooManyUnreadable
from cells.manifest import HfFolderData, ManifestData, load_hf_folder, load_manifest
from cells.medmnist import SETS, MedmnistData, Size, load_medmnist
from cells.parquet import ParquetData, load_parquet
from cells.phantom import DEFAULT_COUNTS, phantoms
from cells.trees import FolderData, SplitFolderData, load_folder, load_split_folder
from runtime.config import Settings
from runtime.errors import InputError


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


OneSource: TypeAlias = (
    PhantomData
    | FolderData
    | SplitFolderData
    | ManifestData
    | HfFolderData
    | ParquetData
    | BoxesData
    | MedmnistData
    | PbcData
    | TaleqaniData
    | BccdData
    | CollectionData
)


class CrossSiteData(Settings):
    """Train on the cells of one source, test on those of another; val is carved from train.

    Each is taken whole: a split that it comes with is not used.

    Attributes:
        train: The source to learn from, with all of its own keys.
        test: The source to test on.
        classes: Class of train that a class of test is, ``{name in test: name in train}``; null
            leaves it out. What is not named has the same name in both.
        drop_unmatched: Leave out the classes of train that test does not have, instead of refusing.
    """

    kind: Literal["cross_site"] = "cross_site"
    train: Annotated[OneSource, Field(discriminator="kind")]
    test: Annotated[OneSource, Field(discriminator="kind")]
    classes: dict[str, str | None] = Field(default_factory=dict)
    drop_unmatched: bool = False


DataSettings: TypeAlias = Annotated[OneSource | CrossSiteData, Field(discriminator="kind")]

_UNKNOWN = Credit("not known: the files do not say", "not known")
_MEDMNIST = "Yang et al., MedMNIST v2, Scientific Data 10:41 (2023), doi 10.1038/s41597-022-01721-8."

CREDITS: dict[str, Credit] = {
    "phantom": Credit("Apache-2.0", "Drawn by rarecell; not images of cells."),
    **dict.fromkeys(("folder", "split_folder", "manifest", "hf_folder", "parquet", "boxes"), _UNKNOWN),
    "medmnist": Credit("CC BY 4.0 (DermaMNIST: CC BY-NC 4.0)", _MEDMNIST),
    **{name: Credit(licence, _MEDMNIST) for name, licence in SETS.items()},
    **{name: Credit(known.licence, known.citation) for name, known in COLLECTIONS.items()},
}

# Sources whose images come in their own sizes and are resized to what is asked.
TREE_KINDS = tuple(kind for kind in CREDITS if kind not in ("phantom", "medmnist", *SETS))


def credit_of(settings: DataSettings) -> Credit:
    """Licence and citation of a source; of two sites, those of both."""
    if not isinstance(settings, CrossSiteData):
        return CREDITS[settings.kind]
    train, test = (credit_of(site) for site in (settings.train, settings.test))
    if train == test:
        return train
    same = train.licence == test.licence
    return Credit(
        train.licence if same else f"train: {train.licence}; test: {test.licence}",
        f"Train ({settings.train.kind}): {train.citation} Test ({settings.test.kind}): {test.citation}",
    )


def name_of(settings: DataSettings) -> str:
    """Where a source lies, in words: its root, or its name; of two sites, those of both."""
    if isinstance(settings, CrossSiteData):
        return f"train {name_of(settings.train)}, test {name_of(settings.test)}"
    if isinstance(settings, MedmnistData):
        return settings.name
    return settings.kind if isinstance(settings, PhantomData) else str(settings.root)


def is_xray(settings: DataSettings) -> bool:
    """True for chest X-rays, which have an up and a left: they are not flipped or turned."""
    if isinstance(settings, CrossSiteData):
        return is_xray(settings.train) or is_xray(settings.test)
    name = Path(settings.name).stem if isinstance(settings, MedmnistData) else settings.kind
    return name.split("_")[0] in XRAYS


def located(settings: DataSettings) -> DataSettings:
    """The same source with the folder that its files lie in as root: fetched and unpacked at need.

    Raises:
        InputError: If there is nothing at the root and nothing to download; see `obtained`.
    """
    if isinstance(settings, CrossSiteData):
        sites = {"train": located(settings.train), "test": located(settings.test)}
        return settings.model_copy(update=sites)
    if not isinstance(settings, FolderData):
        return settings
    root = settings.root
    if is_archive(root):
        root = unpacked(root) if settings.kind in COLLECTIONS else inner_folder(unpacked(root))
    elif settings.kind in COLLECTIONS:
        root = obtained(settings.kind, root)
    elif isinstance(settings, ManifestData) and root.is_file():
        return settings.model_copy(update={"root": root.parent, "manifest": root})
    return settings.model_copy(update={"root": root})


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
    if isinstance(settings, CrossSiteData):
        return _read_sites(settings)
    loaded = _read_one(settings)
    if len(loaded.cells.classes) < 2:
        raise InputError(
            f"data: {settings.kind} gives {len(loaded.cells.classes)} class(es); give two or more."
        )
    return loaded


def _read_one(settings: OneSource) -> Loaded:
    match located(settings):
        case PhantomData() as drawn:
            loaded = Loaded(_load_phantom(drawn))
        case MedmnistData() as packed:
            loaded = Loaded(load_medmnist(packed))
        case SplitFolderData() as tree:
            loaded = load_split_folder(tree)
        case ManifestData() as listed:
            loaded = load_manifest(listed)
        case HfFolderData() as listed:
            loaded = load_hf_folder(listed)
        case ParquetData() as table:
            loaded = load_parquet(table)
        case BccdData() as fields:
            loaded = load_bccd(fields)
        case BoxesData() as fields:
            loaded = load_boxes(fields)
        case CollectionData() as collection:
            loaded = load_collection(collection)
        case FolderData() as tree:
            loaded = load_folder(tree)
    return replace(loaded, cells=_of_modality(loaded.cells, settings))


def _of_modality(cells: CellSet, settings: OneSource) -> CellSet:
    """The cells with the modality that is set, or known of the source; a saved set says its own."""
    asked = "auto" if isinstance(settings, PhantomData) else settings.modality
    if asked != "auto":
        return cells.with_modality(asked)
    return cells.with_modality(XRAY) if is_xray(settings) else cells


def load(settings: DataSettings) -> CellSet:
    """The cells of a source; see `read`."""
    return read(settings).cells


def _read_sites(settings: CrossSiteData) -> Loaded:
    with _named_site("train", settings.train):
        train = read(settings.train)
    left_out = [name for name, target in settings.classes.items() if not target]
    site = settings.test
    if isinstance(site, FolderData):
        site = site.as_test_site(left_out)
    with _named_site("test", site):
        test = _read_one(site)  # of one class, if need be: nothing is learned there
    return joined(train, test, settings.classes, drop_unmatched=settings.drop_unmatched)


@contextmanager
def _named_site(key: str, site: OneSource) -> Iterator[None]:
    """Errors that name the site, and its keys in full."""
    try:
        yield
    except TooManyUnreadable as error:
        found = {f"{key}/{name}": reason for name, reason in error.unreadable.items()}
        raise TooManyUnreadable(f"data.{key}: {error}", found) from None
    except InputError as error:
        keys = "|".join(type(site).model_fields)
        message = re.sub(rf"(?<![\w./-])data\.(?=({keys})\b)", f"data.{key}.", str(error))
        own = message.startswith(f"data.{key}.")
        raise InputError(message if own else f"data.{key}: {message.removeprefix('data: ')}") from None


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
