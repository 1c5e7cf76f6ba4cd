"""Images listed in a table: a CSV or JSONL manifest, or Hugging Face's image folder."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from cells.cellset import MODALITY, ORIGINS, UNPROCESSED, Loaded
from cells.names import check_class_names
from cells.stacks import INDEX, STACK
from cells.tables import ENDINGS, Row, rows_of_table
from cells.trees import SPLIT_FOLDERS, FolderData, Found, read_found
from runtime.errors import InputError, suggest

COLUMNS = ("group", STACK, INDEX, "origin", MODALITY, UNPROCESSED)
SIDE_OF = {word: side for side, words in SPLIT_FOLDERS.items() for word in words}


class ManifestData(FolderData):
    """A CSV, TSV or JSONL file with the columns ``file`` and ``label``.

    Optional columns: ``split``, ``group``, ``stack`` and ``index`` (which stack of images, and where
    in it; see `cells.stacks`), ``origin``, ``modality`` and ``unprocessed_sha256``; all others are ignored.

    Attributes:
        root: The manifest, whose files lie beside it; or the folder of the files.
        manifest: The manifest where `root` is a folder; None: the only one in `root`.
    """

    kind: Literal["manifest"] = "manifest"  # type: ignore[assignment]
    manifest: Path | None = None


class HfFolderData(FolderData):
    """Hugging Face's image folder: ``metadata.csv`` or ``.jsonl`` with ``file_name`` and a label.

    It lies in `root`, or in each of ``root/train``, ``root/validation``, ``root/test``.

    Attributes:
        label: The column of the label.
    """

    kind: Literal["hf_folder"] = "hf_folder"  # type: ignore[assignment]
    label: str = "label"


def load_manifest(settings: ManifestData) -> Loaded:
    """Read a manifest.

    Raises:
        InputError: A missing or malformed file, a missing column, a row without file or label, a
            file outside of `root` or listed twice, an unknown split; with the line.
    """
    path = settings.manifest or _only_table(settings.root)
    rows = list(rows_of_table(path, ("file", "label")))
    if not rows:
        raise InputError(f"{path}: lists no images, it has a header only; add one row an image.")
    found = [_found(row, number, "file", "label", settings.root, path) for number, row in rows]
    check_listed_once((item.path, item.where) for item in found)
    return assemble(found, settings)


def load_hf_folder(settings: HfFolderData) -> Loaded:
    """Read an image folder as Hugging Face lays it out; see `load_manifest` for the errors."""
    tables = list(_metadata_files(settings.root))
    if not tables:
        raise InputError(
            f"{settings.root}: has no metadata.csv or metadata.jsonl; an image folder without one is read "
            "with data.kind=folder or data.kind=split_folder."
        )
    found = []
    for path, side in tables:
        for number, row in rows_of_table(path, ("file_name", settings.label)):
            item = _found(row, number, "file_name", settings.label, path.parent, path)
            relative = item.path.relative_to(settings.root).parts
            found.append(replace(item, split=item.split or side or SIDE_OF.get(relative[0], "")))
    check_listed_once((item.path, item.where) for item in found)
    return assemble(without_lone_side(found), settings)


def assemble(
    found: Sequence[Found], settings: FolderData, order: Sequence[str] = (), ignored: Sequence[str] = ()
) -> Loaded:
    """Cells of the images found, after a check of their classes.

    Args:
        found: The images.
        settings: `classes`, if set, picks and orders.
        order: Classes in their own order; those of the images by default, by name.
        ignored: Files that were passed over.

    Raises:
        InputError: If there is no image, an asked class has none, a class has only one, or its name
            cannot be that of a folder.
    """
    present = {item.label for item in found}
    if not present:
        raise InputError(f"{settings.root}: lists no images; add some.")
    for name in settings.classes or ():
        if name not in present:
            raise InputError(f"data.classes: {settings.root} has no class '{name}'.{suggest(name, present)}")
    classes = settings.classes or tuple(name for name in order or sorted(present) if name in present)
    wanted = settings.read_of(classes)
    kept = [item for item in found if item.label in wanted]
    places: dict[str, str] = {}
    for item in kept:
        places.setdefault(item.label, item.where or str(item.path.parent))
    check_class_names(places, places)
    check = partial(_check_counts, classes=wanted, settings=settings)
    return replace(read_found(kept, classes, settings, check), ignored=tuple(ignored))


def _check_counts(found: Sequence[Found], classes: Sequence[str], settings: FolderData) -> None:
    every = settings.tested_only
    counts = Counter(item.label for item in found if every or item.split in ("", "train"))
    for name in classes:
        if counts[name] < settings.at_least:
            what = "image(s)" if every else "image(s) to learn from"
            raise InputError(
                f"{settings.root}: class '{name}' has {counts[name]} {what}; "
                "add more or leave it out with data.classes."
            )


def without_lone_side(found: Sequence[Found]) -> list[Found]:
    """Images whose files all say ``train`` are not split: that is what a set of one part is called."""
    lone = {item.split for item in found} == {"train"}
    return [replace(item, split="") if lone else item for item in found]


def side_of(word: object, where: str) -> str:
    """``train``, ``val``, ``test`` or "" of a word in a column `split`.

    Raises:
        InputError: If it is another word; `where` names file and row.
    """
    text = "" if word is None else str(word).strip().lower()
    if text and text not in SIDE_OF:
        raise InputError(f"{where}: split '{text}' is not known.{suggest(text, SIDE_OF)}")
    return SIDE_OF.get(text, "")


def record_of(row: Row, where: str) -> dict[str, Any]:
    """What a row says beside file, label and split: the known columns that are filled.

    Raises:
        InputError: If an index is no integer, or the origin is unknown.
    """
    record = {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")}
    if record.get("origin", "real") not in ORIGINS:
        raise InputError(f"{where}: origin '{record['origin']}' is not known.{suggest('', ORIGINS)}")
    if "index" in record:
        try:
            record["index"] = int(str(record["index"]))
        except ValueError:
            raise InputError(f"{where}: index '{record['index']}' is not an integer.") from None
    return record


def _only_table(root: Path) -> Path:
    if not root.exists():
        raise InputError(f"{root}: no such file or folder; set data.root to a manifest (.csv, .tsv, .jsonl).")
    tables = sorted(path for path in root.iterdir() if path.suffix.lower() in ENDINGS)
    if len(tables) != 1:
        raise InputError(
            f"{root}: has {len(tables)} .csv, .tsv or .jsonl files; set data.root or data.manifest to one."
        )
    return tables[0]


def _metadata_files(root: Path) -> Iterator[tuple[Path, str]]:
    """Metadata files, each with the side that its folder says."""
    for folder, side in [(root, ""), *((root / word, side) for word, side in SIDE_OF.items())]:
        for ending in (".csv", ".jsonl"):
            if (folder / f"metadata{ending}").is_file():
                yield folder / f"metadata{ending}", side


def _found(row: Row, number: int, file: str, label: str, folder: Path, table: Path) -> Found:
    where = f"{table}: line {number}"
    for name in (file, label):
        if not isinstance(row[name], str | int) or not str(row[name]).strip():
            raise InputError(f"{where} has no usable '{name}' ({row[name]!r}); fill it in.")
    path = Path(os.path.normpath(folder / str(row[file])))
    if "\0" in str(path) or not path.is_relative_to(os.path.normpath(folder)):
        raise InputError(f"{where}: {row[file]!r} lies outside of {folder}; set data.root to a folder above.")
    record = record_of(row, where)
    if record.get("origin") == "synthetic":
        record = {str(key): value for key, value in row.items() if key not in (file, label)}
    return Found(path, str(row[label]).strip(), side_of(row.get("split"), where), record, where=where)


def check_listed_once(listed: Iterable[tuple[Path, str]]) -> None:
    """Refuse an image that two rows list.

    Args:
        listed: Each image, and the table and line that list it.
    """
    seen: dict[Path, str] = {}
    for path, where in listed:
        if path in seen:
            raise InputError(f"{where} lists {path} again, after {seen[path]}; keep one row a file.")
        seen[path] = where
