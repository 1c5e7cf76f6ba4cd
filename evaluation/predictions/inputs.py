"""What is to be labelled: the images of a folder, or the images or stacks that a table lists."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cells.images import is_image
from cells.manifest import check_listed_once
from cells.stacks import INDEX, LEAVE_OUT, STACK, Listed, check_stacks
from cells.tables import ENDINGS, rows_of_table
from runtime.errors import InputError

OWN_TABLE = "metadata.jsonl"  # of a set that prepare wrote
TABLE = "a table with the columns file, stack and index"


@dataclass(frozen=True)
class Sample:
    """What gets one class.

    Attributes:
        name: Of an image its path below the folder, of a stack its name.
        files: The image, or the images of the stack in order.
    """

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class _Image:
    """A row of a table."""

    name: str
    path: Path
    listed: Listed


def find_samples(images: Path, depth: int) -> list[Sample]:
    """All that a classifier is to label.

    Args:
        images: A folder; or a table (CSV, TSV, JSONL) with the column ``file`` and, of stacks, ``stack`` and
            ``index``. A folder is one of stacks where a ``metadata.jsonl`` of `prepare` in it says so.
        depth: Images of each stack that the classifier takes; 0 for single images.

    Raises:
        InputError: If there is nothing to label, a table contradicts itself, or the classifier takes
            stacks and these are single images, or the other way round, or stacks of another depth.
    """
    if images.is_file():
        listed = _images_of(images, "file")
    else:
        files = find_files(images)
        listed = _listed_in(images, files)
        if not listed:
            listed = [_image(file.relative_to(images).as_posix(), images) for file in files]
    stacked = any(image.listed.stack not in (None, "") for image in listed)
    _check_kind(images, stacked, depth)
    if not stacked:
        return [Sample(image.name, (image.path,)) for image in listed]
    return _stacks(images, listed, depth)


def find_files(root: Path) -> list[Path]:
    """All images in a folder and the folders below it, by path; hidden ones are passed over.

    Raises:
        InputError: If there is no such folder, or no image in it.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; set images to a folder of images, or to a table of them.")
    found = sorted(path for path in root.rglob("*") if is_image(path) and not _hidden(path, root))
    if not found:
        raise InputError(f"{root}: has no images in it or below it; set images to a folder that has.")
    return found


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _image(name: str, folder: Path, stack: object = None, index: object = None, where: str = "") -> _Image:
    path = Path(os.path.normpath(folder / name))
    return _Image(name, path, Listed(stack, index, "", "", "", where))


def _images_of(table: Path, column: str) -> list[_Image]:
    """The images that a table lists."""
    if table.suffix.lower() not in ENDINGS:
        raise InputError(
            f"{table}: is no table; set images to a folder, or to a file {', '.join(ENDINGS)} with the "
            "column file and, of stacks, stack and index."
        )
    found = []
    for number, row in rows_of_table(table, (column,)):
        where, name = f"{table}: line {number}", row[column]
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise InputError(f"{where} has no usable '{column}' ({name!r}); fill it in.")
        found.append(_image(name, table.parent, row.get(STACK), row.get(INDEX), where))
    if not found:
        raise InputError(f"{table}: lists no images, it has a header only; add one row an image.")
    check_listed_once((image.path, image.listed.where) for image in found)
    return found


def _listed_in(folder: Path, files: Sequence[Path]) -> list[_Image]:
    """The images of a folder as its tables list them, if those say of stacks; else none.

    Raises:
        InputError: If they say of stacks and leave an image out.
    """
    tables = [path for path in sorted(folder.rglob(OWN_TABLE)) if not _hidden(path, folder)]
    listed = [image for table in tables if _names_stacks(table) for image in _images_of(table, "file_name")]
    known = {image.path for image in listed}
    left = [file for file in files if Path(os.path.normpath(file)) not in known]
    if listed and left:
        raise InputError(
            f"{left[0]}: is in no stack, and {OWN_TABLE} lists others in stacks; move it elsewhere, or set "
            f"images to {TABLE}."
        )
    return listed


def _names_stacks(table: Path) -> bool:
    try:
        return any(row.get(STACK) not in (None, "") for _, row in rows_of_table(table, ("file_name",)))
    except InputError:  # a file of that name that is none of ours says nothing of stacks
        return False


def _check_kind(images: Path, stacked: bool, depth: int) -> None:
    if stacked and not depth:
        raise InputError(
            f"{images}: lists stacks, and this classifier takes single images; use one that was trained on "
            f"stacks, or {LEAVE_OUT}."
        )
    if depth and not stacked:
        raise InputError(
            f"{images}: has single images, and this classifier takes stacks of {depth}; "
            f"set images to {TABLE}, or use a classifier of single images."
        )


def _stacks(images: Path, listed: Sequence[_Image], depth: int) -> list[Sample]:
    """The stacks, in the order of their first images."""
    check_stacks([image.listed for image in listed])
    stacks: dict[str, list[tuple[int, Path]]] = {}
    for image in listed:
        stacks.setdefault(str(image.listed.stack), []).append((int(str(image.listed.index)), image.path))
    found = len(next(iter(stacks.values())))
    if found != depth:
        raise InputError(
            f"{images}: its stacks have {found} images, and this classifier was trained on stacks of "
            f"{depth}; give stacks of as many."
        )
    return list(_samples(stacks))


def _samples(stacks: dict[str, list[tuple[int, Path]]]) -> Iterator[Sample]:
    for name, images in stacks.items():
        yield Sample(name, tuple(path for _, path in sorted(images)))
