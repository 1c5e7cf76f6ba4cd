"""A written set as one parquet file, in the layout of Hugging Face's `datasets`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cells.cellset import CellSet
from cells.records import COLUMNS, record_of
from runtime.rundir import writing

ROWS = 1000  # of a row group: what is held in memory, and what a reader fetches at once
KINDS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
LARGEST = 2**63 - 1


def write_parquet(cells: CellSet, file_names: Sequence[str], root: Path, path: Path) -> None:
    """Write the images, as the PNG files that they are, and what is known of them.

    Columns: ``image`` (its bytes and path), ``label`` (an index; the schema names the classes),
    the columns of metadata.jsonl, and one for each key of the provenance: a boolean, whole number,
    number or text where all cells say one of these, else JSON.

    Args:
        cells: The set.
        file_names: Of each image, relative to `root`.
        root: Where the images were written.
        path: The file to write.
    """
    records = [record_of(cells, row, name) for row, name in enumerate(file_names)]
    kinds = {key: _kind(key, records) for key in dict.fromkeys(key for each in records for key in each)}
    kinds |= {key: pa.string() for key in COLUMNS}
    text = {key for key, kind in kinds.items() if kind is None}
    schema = _schema({key: kind or pa.string() for key, kind in kinds.items()}, cells.classes)
    with writing(path) as aside, pq.ParquetWriter(aside, schema) as file:
        for start in range(0, len(cells), ROWS):
            rows = [
                {key: json.dumps(value) if key in text else value for key, value in record.items()}
                for record in records[start : start + ROWS]
            ]
            images = [
                {"bytes": (root / name).read_bytes(), "path": name}
                for name in file_names[start : start + ROWS]
            ]
            labels = cells.labels[start : start + ROWS].tolist()
            table = [
                {**row, "label": label, "image": image}
                for row, label, image in zip(rows, labels, images, strict=True)
            ]
            file.write_table(pa.Table.from_pylist(table, schema=schema))


def _kind(key: str, records: Sequence[dict[str, Any]]) -> pa.DataType | None:
    """The one type of a column; None where its values differ or are lists or mappings."""
    values = [record[key] for record in records if record.get(key) is not None]
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or (kinds == {int} and max(map(abs, values)) > LARGEST):
        return None
    return KINDS.get(kinds.pop())


def _schema(kinds: dict[str, pa.DataType], classes: tuple[str, ...]) -> pa.Schema:
    """The schema, with the metadata by which `datasets` knows an image and the names of classes."""
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    plain = {key: kind for key, kind in kinds.items() if key not in ("file_name", "label")}
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
        **{key: {"dtype": _word(kind), "_type": "Value"} for key, kind in plain.items()},
    }
    known = json.dumps({"info": {"features": features}})
    return pa.schema({"image": image, "label": pa.int64(), **plain}, metadata={"huggingface": known})


def _word(kind: pa.DataType) -> str:
    return "float64" if kind == pa.float64() else str(kind)
