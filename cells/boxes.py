"""Cells cropped out of fields by boxes in Pascal VOC's XML; the field is the group."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from cells.cellset import Loaded
from cells.decoding import Misfit, TooManyUnreadable, Unreadable, out_of_reach
from cells.images import DEFAULT, SUFFIXES, cache_folder, decode
from cells.manifest import assemble
from cells.trees import FolderData, Found
from cells.whole import make_whole
from runtime.config import to_dict
from runtime.errors import InputError
from runtime.progress import progress
from runtime.rundir import read_json, write_json


class BoxesData(FolderData):
    """Fields with an XML file each: ``Annotations/x.xml`` and ``JPEGImages/x.jpg``, or side by side.

    Where ``ImageSets/Main`` has ``train.txt`` and ``test.txt``, they are the split.

    Attributes:
        margin: How much of the box's longer side is added on each side of it. The crop is a square,
            moved into the field where it would reach over its edge.
    """

    kind: Literal["boxes"] = "boxes"  # type: ignore[assignment]
    margin: Annotated[float, Field(ge=0, le=2)] = 0.1


@dataclass(frozen=True)
class Box:
    """A labelled box, in pixels from the upper left corner: left, top, right, bottom."""

    label: str
    edges: tuple[float, float, float, float]


def load_boxes(settings: BoxesData, classes: Mapping[str, str] | None = None) -> Loaded:
    """Crop the cells of all fields: once, to files in the cache.

    Args:
        settings: Where the fields are.
        classes: Class of each label of the boxes; None: as they are called.

    Returns:
        The cells; `unreadable` names fields and boxes that gave none, with the reason. The record
        of a cell has its `box` in pixels of the field: left, top, right, bottom.

    Raises:
        InputError: If there are no XML files, none that names a box, or more than the share
            `unreadable` of fields and boxes give no cell.
    """
    annotations = sorted(path for path in settings.root.rglob("*.xml") if not path.name.startswith("."))
    if not annotations:
        raise InputError(f"{settings.root}: has no XML files of boxes; set data.root to the folder of them.")
    fields = _fields(settings.root, annotations)
    digests = {path: _digest(path) for path in (*annotations, *fields.values())}
    faults = {path: digest for path, digest in digests.items() if isinstance(digest, Unreadable)}
    key = hashlib.sha256(json.dumps(["boxes 3", settings.margin, to_dict(settings.decoding)]).encode())
    for path, digest in digests.items():
        key.update(f"{path.relative_to(settings.root)} {digest}".encode())
    folder = cache_folder() / "boxes" / key.hexdigest()[:32]
    make_whole(folder, lambda aside: _crop_all(annotations, fields, faults, aside, settings))
    table = read_json(folder / "table.json")
    sides = _sides(settings.root)
    named = classes or {}
    found = [
        Found(
            folder / file,
            named.get(label, label),
            sides.get(str(record["group"]), ""),
            record,
            where=str(settings.root / record["name"]),
        )
        for file, label, record in table["rows"]
    ]
    _check_share(table["unreadable"], len(found), settings)
    crops = settings.model_copy(update={"root": folder, "decoding": DEFAULT})  # they are 8-bit RGB now
    loaded = assemble(found, crops, order=list(named.values()))
    return replace(loaded, unreadable={**loaded.unreadable, **table["unreadable"]})


def _digest(path: Path) -> str | Unreadable:
    """SHA-256 of a file, hex; or why the system does not give it: a broken link, no permission."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return out_of_reach(path, error)


def _check_share(unreadable: Mapping[str, str], cells: int, settings: BoxesData) -> None:
    if len(unreadable) > settings.unreadable * (len(unreadable) + cells):
        name, reason = next(iter(unreadable.items()))
        raise TooManyUnreadable(
            f"{settings.root / name}: gives no cell ({reason.rstrip('.')}); {len(unreadable)} fields and "
            f"boxes are such, and data.unreadable={settings.unreadable:g} is the largest share to leave out.",
            unreadable,
        )


def read_boxes(path: Path) -> list[Box]:
    """The boxes in a VOC annotation.

    Raises:
        InputError: If it is not one, or declares entities (which can expand without end).
    """
    try:
        content = path.read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
            raise InputError(f"{path}: declares a document type, which boxes do not need; remove it.")
        root = ElementTree.fromstring(content)
        return [_box(item) for item in root.iter("object")]
    except (OSError, ElementTree.ParseError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not an annotation in Pascal VOC's XML ({error}).") from None


def _box(item: ElementTree.Element) -> Box:
    label = (item.findtext("name") or "").strip()
    if not label:
        raise ValueError("an object without a name")
    left, top, right, bottom = (
        float(item.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
    )
    return Box(label, (left, top, right, bottom))


def square_crop(image: NDArray[np.uint8], edges: Sequence[float], margin: float) -> NDArray[np.uint8] | None:
    """The square around a box, shifted to lie inside the image.

    Args:
        image: uint8, shape (h, w, 3).
        edges: Left, top, right, bottom in pixels.
        margin: Share of the longer side that is added on each side.

    Returns:
        uint8, shape (s, s, 3), s at most min(h, w); None where nothing of the box is in the image.
    """
    height, width = image.shape[:2]
    left, right = (min(max(edge, 0.0), width) for edge in (edges[0], edges[2]))
    top, bottom = (min(max(edge, 0.0), height) for edge in (edges[1], edges[3]))
    if not (right - left >= 1 and bottom - top >= 1):
        return None
    side = min(round(max(right - left, bottom - top) * (1 + 2 * margin)), height, width)
    x = min(max(round((left + right - side) / 2), 0), width - side)
    y = min(max(round((top + bottom - side) / 2), 0), height - side)
    return image[y : y + side, x : x + side]


def _fields(root: Path, annotations: Sequence[Path]) -> dict[Path, Path]:
    """The image of each annotation: of the same name, in the same folder or else in the nearest."""
    images = defaultdict(list)
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            images[path.stem].append(path)
    fields = {}
    for path in annotations:
        near = [image for image in images[path.stem] if image.parent == path.parent]
        beside = [image for image in images[path.stem] if image.parent.parent == path.parent.parent]
        if found := near or beside or images[path.stem]:
            fields[path] = found[0]
    return fields


def _crop_all(
    annotations: Sequence[Path],
    fields: Mapping[Path, Path],
    faults: Mapping[Path, Unreadable],
    into: Path,
    settings: BoxesData,
) -> Path:
    """Each cell to a numbered PNG, and the table of what is known of them, last."""
    rows: list[tuple[str, str, dict[str, Any]]] = []
    unreadable: dict[str, str] = {}
    with progress(len(annotations), "cropping cells") as bar:
        for path in annotations:
            bar.update()
            name = path.relative_to(settings.root).as_posix()
            try:
                boxes, image = _field(path, fields.get(path), faults, settings)
            except Misfit:  # as of any source: the setting is to be mended, not the file
                raise
            except InputError as error:
                unreadable[name] = str(error).replace(f"{settings.root}/", "").removeprefix(f"{name}: ")
                continue
            for number, box in enumerate(boxes):
                field = fields[path].relative_to(settings.root).as_posix()
                crop = square_crop(image, box.edges, settings.margin)
                if crop is None:
                    unreadable[f"{name}[{number}]"] = f"the box {box.edges} is empty or outside of {field}"
                    continue
                target = f"{len(rows):07d}.png"
                Image.fromarray(np.ascontiguousarray(crop)).save(into / target)
                record = {"name": f"{field}[{number}]", "group": path.stem, "box": box.edges}
                rows.append((target, box.label, record))
    write_json(into / "table.json", {"rows": rows, "unreadable": unreadable})
    return into


def _field(
    path: Path, field: Path | None, faults: Mapping[Path, Unreadable], settings: BoxesData
) -> tuple[list[Box], NDArray[np.uint8]]:
    """The boxes of an annotation, and the image that they are in: uint8, shape (h, w, 3).

    Raises:
        InputError: If either is missing or cannot be read.
    """
    if path in faults:
        raise faults[path]
    boxes = read_boxes(path)
    if field is None:
        raise InputError(f"{path}: there is no image of its name; add {path.stem}.jpg.")
    if field in faults:
        raise faults[field]
    return boxes, decode(field, settings.decoding)


def _sides(root: Path) -> dict[str, str]:
    """The side of each field, where ``ImageSets/Main`` says it for train and test."""
    sides: dict[str, str] = {}
    for folder in sorted(root.rglob("ImageSets/Main")):
        lists = {side: folder / f"{side}.txt" for side in ("train", "val", "test")}
        if lists["train"].is_file() and lists["test"].is_file():
            for side, path in lists.items():
                if path.is_file():
                    sides.update(
                        (line.split()[0], side) for line in path.read_text().splitlines() if line.strip()
                    )
    return sides
