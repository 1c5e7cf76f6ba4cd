"""Trees of images, a folder per class: read as they lie, or already split."""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator

from cells.cellset import ORIGINS, CellSet, Loaded
from cells.decoding import TooManyUnreadable
from cells.images import DEFAULT, Decoding, find_images, is_image, pack_readable
from cells.medmnist import Modality, Size
from cells.names import check_class_names
from cells.records import provenance_of
from cells.stacks import INDEX, STACK, Listed, check_stacks
from cells.writing import CLASSES, OWN, TABLE, refuse_unfinished
from runtime.config import Settings
from runtime.errors import InputError, suggest
from runtime.rundir import read_json

NAMED = 3  # unreadable files that an error names
SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


class FolderData(Settings):
    """A tree ``root/<class>/<image>``, still to be split.

    Attributes:
        root: The folder of class folders.
        image_size: Edge in pixels to resize to.
        crop: Edge of the center square to keep first; None keeps the largest.
        classes: Which class folders to read, in this order; None reads all, by name.
        group: Regular expression searched in ``<class>/<image>``; what its first parenthesis
            matches is the patient, slide or field that must not be split. None: each image its own.
        decoding: How files become 8-bit RGB: depth, background, page, largest size.
        unreadable: The largest share of the files that may be unreadable and is then left out; by
            default any is an error.
        modality: ``xray`` for images that have an up and a left: they are not flipped or turned.
            ``auto``: as the source or the saved set is known to be, else ``microscopy``.
    """

    kind: Literal["folder"] = "folder"
    root: Path
    image_size: Size = 32
    crop: Annotated[int, Field(ge=8)] | None = None
    classes: tuple[str, ...] | None = None
    group: str | None = None
    decoding: Decoding = DEFAULT
    unreadable: Annotated[float, Field(ge=0, lt=1)] = 0
    modality: Modality = "auto"
    # Not settings: how a cross-site split reads the site that it tests on.
    _tested_only: bool = PrivateAttr(False)
    _left_out: frozenset[str] = PrivateAttr(frozenset())

    def as_test_site(self, left_out: Iterable[str]) -> Self:
        """The same source where nothing is learned: one image of a class is enough there.

        Args:
            left_out: Classes whose images are not read; they stay classes, without cells.
        """
        copied = self.model_copy()
        copied._tested_only, copied._left_out = True, frozenset(left_out)
        return copied

    @property
    def at_least(self) -> int:
        """Images that a class needs."""
        return 1 if self._tested_only else 2

    @property
    def tested_only(self) -> bool:
        """Whether nothing is learned from these images."""
        return self._tested_only

    def read_of(self, classes: Iterable[str]) -> list[str]:
        """Those of the classes whose images are read."""
        return [name for name in classes if name not in self._left_out]

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


@dataclass(frozen=True)
class Found:
    """One image, and what is known of it: name, group, origin, stack, …, and which row lists it."""

    path: Path
    label: str
    split: str
    record: dict[str, Any]
    top: Path | None = None  # the folder of class folders, of a tree
    where: str = ""  # file and line or row of a table


def load_folder(settings: FolderData) -> Loaded:
    """Read an unsplit tree."""
    _existing(settings.root)
    if settings.classes is None:
        _check_unsplit(settings.root)
    classes = class_folders(settings.root, settings.classes)
    wanted = settings.read_of(classes)
    found = _find(settings.root, wanted, "")
    check = partial(_check_counts, classes=wanted, at_least={settings.root: settings.at_least})
    loaded = read_found(found, classes, settings, check)
    return replace(loaded, ignored=tuple(_ignored(settings.root, settings.root, classes)))


def load_split_folder(settings: SplitFolderData) -> Loaded:
    """Read a tree that comes split."""
    _existing(settings.root)
    sides = {}
    for side, names in SPLIT_FOLDERS.items():
        present = [settings.root / name for name in names if (settings.root / name).is_dir()]
        if present:
            sides[side] = present[0]
        elif side != "val":  # val can be carved from train
            _explain_refusal(settings.root)
            raise InputError(
                f"{settings.root / side}: no such folder; a split tree has train, test and "
                "perhaps val (an unsplit one is read with data.kind=folder)."
            )
    classes = class_folders(sides["train"], settings.classes)
    wanted = settings.read_of(classes)
    found: list[Found] = []
    for side, folder in sides.items():
        class_folders(folder, settings.classes, known=classes)
        found += _find(folder, wanted, side)
    at_least = {folder: 2 if side == "train" else 1 for side, folder in sides.items()}
    if settings.tested_only:  # its own split is not used: a side may well lack a class
        at_least = {}
    check = partial(_check_counts, classes=wanted, at_least=at_least)
    loaded = read_found(found, classes, settings, check)
    passed = [path for path in sorted(settings.root.iterdir()) if path not in sides.values()]
    inner = [name for folder in sides.values() for name in _ignored(settings.root, folder, classes)]
    return replace(loaded, ignored=(*_named(passed, settings.root), *inner))


def _explain_refusal(root: Path) -> None:
    """Where `prepare` refused a split there is nothing but its audit."""
    path = root / "audit.json"
    facts = read_json(path) if path.is_file() else None
    refused = facts.get("refused") if isinstance(facts, dict) else None
    if refused:
        raise InputError(
            f"{root}: holds only the audit of a split that prepare refused ({str(refused).rstrip('.')}); "
            "see audit.html there, run prepare again with what it says, and then this."
        )


def _check_unsplit(root: Path) -> None:
    """A tree with folders for train and test in the place of classes, which hold folders again."""
    sides = [[root / name for name in names if (root / name).is_dir()] for names in SPLIT_FOLDERS.values()]
    present = [folder for found in sides for folder in found]
    if not (sides[0] and len(present) > 1):
        return
    holding = [any(is_image(path) for path in folder.iterdir()) for folder in present]
    if not any(holding):
        raise InputError(
            f"{root}: looks like a split tree (it has {' and '.join(path.name for path in present)}, "
            "without images of their own); read it with data.kind=split_folder (prepare: "
            "source=split_folder)."
        )


def _existing(root: Path) -> None:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set data.root to the folder of the images.")
    refuse_unfinished(root)


def class_folders(
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
    present = _saved_order(root, present)
    if not present:
        raise InputError(f"{root}: has no class folders; expected {root}/<class>/<image>.")
    check_class_names(present, str(root))
    for name in asked or ():
        if name not in present:
            raise InputError(f"data.classes: {root} has no class '{name}'.{suggest(name, present)}")
    for name in present:
        if known is not None and not asked and name not in known:
            raise InputError(f"{root / name}: unknown class, train has no '{name}'.{suggest(name, known)}")
    return tuple(asked or present)


def _saved_order(root: Path, present: list[str]) -> list[str]:
    """A set that `write_set` wrote keeps its classes in order, those without cells included."""
    saved = root / CLASSES
    order = read_json(saved) if saved.is_file() else present
    return order if isinstance(order, list) and set(present) <= set(map(str, order)) else present


def _find(root: Path, classes: Sequence[str], split: str) -> list[Found]:
    """The images of a tree: in the order of its metadata.jsonl, the others after them by name."""
    records = _metadata(root)
    place = {name: i for i, name in enumerate(records)}
    found = _listed(root, classes, split, records)
    return sorted(found, key=lambda item: place.get(f"{item.label}/{item.path.name}", len(place)))


def _listed(
    root: Path, classes: Sequence[str], split: str, records: dict[str, dict[str, Any]]
) -> Iterator[Found]:
    for label in classes:
        folder = root / label
        for path in find_images(folder) if folder.is_dir() else ():
            record = records.get(f"{label}/{path.name}", {})
            yield Found(path, label, split or str(record.get("split", "")), record, root)


def _metadata(root: Path) -> dict[str, dict[str, Any]]:
    """What ``metadata.jsonl`` says of each file, so that groups and synthetic origin survive."""
    path = root / "metadata.jsonl"
    if not path.is_file():
        return {}
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        records = {str(row["file_name"]): dict(row) for row in rows}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not one JSON object with a file_name a line; mend or remove it.") from None
    for name, row in records.items():
        if row.get("origin", "real") not in ORIGINS:
            raise InputError(f"{path}: {name} has origin '{row['origin']}'.{suggest('', ORIGINS)}")
    return records


def _ignored(root: Path, top: Path, classes: Sequence[str]) -> Iterator[str]:
    """What lies beside and in the class folders and is no image: dotfiles, notes, deeper folders."""
    beside = (path for path in top.iterdir() if not path.is_dir() or path.name.startswith("."))
    yield from _named(sorted(beside), root)
    for folder in (top / label for label in classes):
        inside = folder.iterdir() if folder.is_dir() else ()
        yield from _named(sorted(path for path in inside if not is_image(path)), root)


def _named(paths: Iterable[Path], root: Path) -> Iterator[str]:
    """Relative to the root, folders with a slash at the end."""
    for path in paths:
        if path.name not in OWN:
            yield path.relative_to(root).as_posix() + "/" * path.is_dir()


def _is_saved(top: Path) -> bool:
    return (top / CLASSES).is_file() and (top / TABLE).is_file()


def _with_images(folder: Path) -> list[str]:
    """Names of the folders in a class folder that hold images."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    return [path.name for path in inner if any(is_image(image) for image in path.iterdir())][:NAMED]


def _check_counts(found: Sequence[Found], classes: Sequence[str], at_least: Mapping[Path, int]) -> None:
    """Every class has the images it needs in each folder of class folders."""
    counts = Counter((item.top, item.label) for item in found)
    # A saved set is what it is: what cannot be learned from is refused when it is divided.
    at_least = {top: least for top, least in at_least.items() if not _is_saved(top)}
    for top, name in itertools.product(at_least, classes):
        count = counts[top, name]
        if count == 0:
            deeper = _with_images(top / name)
            if deeper:
                raise InputError(
                    f"{top / name}: has no images of its own, but folders of them ({', '.join(deeper)}); if "
                    "these are the classes, set data.root to the folder above them."
                )
            raise InputError(f"{top / name}: has no images; add some or remove the class.")
        if count < at_least[top]:
            raise InputError(
                f"{top / name}: has one image, and one cannot be learned from; add more or remove the class."
            )


def _decoded(
    found: Sequence[Found], settings: FolderData
) -> tuple[NDArray[np.uint8], list[Found], dict[str, str]]:
    """The images, whose they are, and what could not be read, if that is no more than is allowed."""
    packed = pack_readable(
        [item.path for item in found], settings.image_size, settings.crop, decoding=settings.decoding
    )
    faults = packed.unreadable
    unreadable = {
        _relative(found[i], settings): error.reason + _listed_at(found[i]) for i, error in faults.items()
    }
    if len(faults) > settings.unreadable * len(found):
        row, error = next(iter(faults.items()))
        first = str(error).rstrip(".") + _listed_at(found[row])
        others = "".join(f"; also {name}: {reason}" for name, reason in list(unreadable.items())[1:NAMED])
        raise TooManyUnreadable(
            f"{first} ({len(faults)} of {len(found)} images cannot be read, and "
            f"data.unreadable={settings.unreadable:g} is the largest share to leave out{others}).",
            unreadable,
        )
    return packed.pixels, [found[i] for i in packed.kept], unreadable


def _listed_at(item: Found) -> str:
    return f" [{item.where}]" if item.where else ""


def _relative(item: Found, settings: FolderData) -> str:
    return item.path.relative_to(settings.root).as_posix()


def read_found(
    found: Sequence[Found],
    classes: tuple[str, ...],
    settings: FolderData,
    check: Callable[[Sequence[Found]], None],
) -> Loaded:
    """Decode found images into cells of these classes.

    Args:
        found: The images; every file lies under `settings.root`.
        classes: In the order of the labels.
        settings: How to decode, and how many may be unreadable.
        check: Refuses too few images; asked before decoding, and after for those that were readable.
    """
    check(found)
    pixels, found, unreadable = _decoded(found, settings)
    check(found)
    # A saved set says where each cell came from first, so that its split keeps its digest.
    names = [_said(item.record, "name", partial(_relative, item, settings)) for item in found]
    groups = [
        _said(item.record, "group", partial(_group, item, settings, name))
        for item, name in zip(found, names, strict=True)
    ]
    check_stacks(list(map(_listed_in_stack, found, groups)))
    cells = CellSet.from_arrays(
        pixels,
        [classes.index(item.label) for item in found],
        classes,
        names=names,
        groups=groups,
        splits=[item.split for item in found],
    )
    origins, provenance = np.empty(len(found), object), np.empty(len(found), object)
    for i, item in enumerate(found):
        origins[i] = item.record.get("origin", "real")
        provenance[i] = provenance_of(item.record)
    cells = replace(cells, origins=origins, provenance=provenance)
    return Loaded(cells, unreadable, files=tuple(item.path for item in found))


def _said(record: dict[str, Any], key: str, otherwise: Callable[[], str]) -> str:
    """A column of a record as text; 0 is a name, and of a saved set so is the empty text."""
    value = record.get(key)
    unknown = value is None or (value == "" and "sha256" not in record)
    return otherwise() if unknown else str(value)


def _group(item: Found, settings: FolderData, name: str) -> str:
    if settings.group is None:
        return _said(item.record, STACK, lambda: name)  # the images of a stack belong together
    match = re.search(settings.group, f"{item.label}/{item.path.name}")
    if match is None or not match.group(1):
        raise InputError(f"{settings.root / name}: data.group={settings.group!r} does not match it.")
    return match.group(1)


def _listed_in_stack(item: Found, group: str) -> Listed:
    stack, index = item.record.get(STACK), item.record.get(INDEX)
    return Listed(stack, index, item.label, group, item.split, item.where or str(item.path))
