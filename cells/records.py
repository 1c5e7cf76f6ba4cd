"""One line of metadata.jsonl: what is known of a cell, as other tools read it, and back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from cells.cellset import CellSet
from runtime.errors import InputError

COLUMNS = ("file_name", "label", "name", "group", "split", "origin", "sha256")
REST = "provenance"  # holds what a cell's provenance says under the name of a column
# A raw one ends a line for `str.splitlines`, or cannot be written as UTF-8; escaped, it is itself.
UNSAFE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


def record_of(cells: CellSet, row: int, file_name: str) -> dict[str, Any]:
    """The columns of one cell, its provenance spread beside them so that each key is a column.

    Args:
        cells: The set.
        row: Which cell.
        file_name: Where its image lies, relative to metadata.jsonl.
    """
    reserved = (*COLUMNS, REST)
    spread = {key: value for key, value in cells.provenance[row].items() if key not in reserved}
    rest = {key: value for key, value in cells.provenance[row].items() if key in reserved}
    return {
        "file_name": file_name,
        "label": cells.classes[cells.labels[row]],
        "name": cells.names[row],
        "group": cells.groups[row],
        "split": cells.splits[row],
        "origin": cells.origins[row],
        "sha256": cells.digests[row],
        **spread,
        **({REST: rest} if rest else {}),
    }


def provenance_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance in a record: whatever is not one of its columns."""
    spread = {key: value for key, value in record.items() if key not in (*COLUMNS, REST)}
    rest = record.get(REST, {})
    return {**spread, **(rest if isinstance(rest, Mapping) else {REST: rest})}


def to_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON, from which it can be read back unchanged.

    Raises:
        InputError: If a value is not plain JSON (an array, NaN, a tuple, a key that is a number).
    """
    try:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        line = UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
        same = json.loads(line) == record
    except (TypeError, ValueError, RecursionError):
        same = False
    if not same:
        raise InputError(
            f"{record['name']}: its provenance cannot be written as JSON; use text, finite numbers, "
            "true, false, null, lists and mappings with text as keys."
        )
    return line
