"""Parquet files as Hugging Face's datasets write them: images as bytes in a column."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from cells.cellset import Loaded
from cells.download import sha256
from cells.images import SUFFIXES, cache_folder
from cells.manifest import COLUMNS, SIDE_OF, assemble, record_of, side_of, without_lone_side
from cells.trees import FolderData, Found
from cells.whole import make_whole
from runtime.errors import InputError, suggest
from runtime.rundir import read_json, write_json

BATCH = 256
NUMBERED = re.compile(r"class (\d+)")  # the class of a number that no metadata name
SIDE = re.compile(rf"(?:^|[/_.-])({'|'.join(sorted(SIDE_OF, key=len, reverse=True))})(?=[/_.-])")


class ParquetData(FolderData):
    """Parquet with a struct of ``bytes`` and ``path`` (or plain bytes) an image, and a label.

    The optional columns are those of a manifest. The side comes from a column ``split`` or from the
    names of the files (``train-00000-of-00001.parquet``).

    Attributes:
        root: A file, or a folder of them.
        image: The column of the images.
        label: The column of the labels: names, or numbers that the features' metadata name.
    """

    kind: Literal["parquet"] = "parquet"  # type: ignore[assignment]
    image: str = "image"
    label: str = "label"


def load_parquet(settings: ParquetData) -> Loaded:
    """Read parquet: images go to files in the cache once, then are read as any other.

    Raises:
        InputError: No file, another layout, a row without image or label; with file and row.
    """
    files = _files(settings.root)
    digest = hashlib.sha256(json.dumps(["parquet 2", settings.image, settings.label]).encode())
    for name, path in files.items():
        digest.update(f"{name} {sha256(path)}".encode())
    folder = cache_folder() / "parquet" / digest.hexdigest()[:32]
    make_whole(folder, lambda aside: _extract(files, aside, settings))
    table = read_json(folder / "table.json")
    found = [Found(folder / row[0], row[1], row[2], row[3], where=row[3]["name"]) for row in table["rows"]]
    here = settings.model_copy(update={"root": folder})
    return assemble(without_lone_side(found), here, order=table["classes"])


def _files(root: Path) -> dict[str, Path]:
    """Parquet files by their name relative to the root."""
    files = {root.name: root} if root.is_file() else {}
    for path in sorted(root.rglob("*.parquet")) if root.is_dir() else ():
        files[path.relative_to(root).as_posix()] = path
    if not files:
        raise InputError(f"{root}: no parquet file there; set data.root to one, or to a folder of them.")
    return files


def _extract(files: Mapping[str, Path], into: Path, settings: ParquetData) -> Path:
    """Each image as it is to a numbered file, and the table of what is known of them, last."""
    rows: list[tuple[str, str, str, dict[str, Any]]] = []
    classes: list[str] = []
    for name, path in files.items():
        try:
            file = pq.ParquetFile(path)
            names = _class_names(file.schema_arrow, settings.label)
            classes += [label for label in names if label not in classes]
            for number, row in enumerate(_rows(file, path, settings)):
                where = f"{path}: row {number}"
                content, suffix = _image(row[settings.image], where)
                target = f"{len(rows):07d}{suffix}"
                (into / target).write_bytes(content)
                label = _label(row[settings.label], names, where)
                record = {"name": f"{name}[{number}]", **record_of(row, where)}
                rows.append((target, label, _side(row, name, where), record))
        except (pa.ArrowException, OSError, EOFError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: cannot be read as parquet ({reason}); fetch it again.") from None
    write_json(into / "table.json", {"rows": rows, "classes": _ordered(classes, {row[1] for row in rows})})
    return into


def _ordered(named: Sequence[str], labels: set[str]) -> list[str]:
    """All classes: those that the metadata name, in their order; numbers by value; others by name."""

    def place(label: str) -> tuple[bool, int, str]:
        number = NUMBERED.fullmatch(label)
        return number is None, int(number[1]) if number else 0, label

    return [*named, *sorted(labels - set(named), key=place)]


def _rows(file: pq.ParquetFile, path: Path, settings: ParquetData) -> Iterator[dict[str, Any]]:
    present = file.schema_arrow.names
    for name in (settings.image, settings.label):
        if name not in present:
            raise InputError(
                f"{path}: has no column '{name}'.{suggest(name, present)} Set data.image, data.label."
            )
    wanted = [settings.image, settings.label, *(name for name in (*COLUMNS, "split") if name in present)]
    for batch in file.iter_batches(BATCH, columns=wanted):
        yield from batch.to_pylist()


def _class_names(schema: pa.Schema, label: str) -> list[str]:
    """The names that the features of Hugging Face's metadata give to the numbers."""
    try:
        described = json.loads((schema.metadata or {})[b"huggingface"])
        names = described["info"]["features"][label]["names"]
    except (KeyError, TypeError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _image(value: Any, where: str) -> tuple[bytes, str]:
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
    if not isinstance(content, bytes):
        raise InputError(f"{where} holds no image bytes; write the set with the images embedded.")
    suffix = Path(str(path)).suffix.lower() if path else ""
    return content, suffix if suffix in SUFFIXES else ".png"  # decoding goes by content


def _label(value: Any, names: Sequence[str], where: str) -> str:
    if isinstance(value, str) and value.strip():
        return value.strip()
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        if names and value >= len(names):
            raise InputError(f"{where} has label {value}, but the metadata name {len(names)} classes.")
        return names[value] if names else f"class {value}"
    raise InputError(f"{where} has no usable label ({value!r}); give it a class name or number.")


def _side(row: Mapping[str, Any], name: str, where: str) -> str:
    said = side_of(row.get("split"), where)
    match = SIDE.search(name.lower())
    return said or (SIDE_OF[match.group(1)] if match else "")
