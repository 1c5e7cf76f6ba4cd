"""Rows of a table: CSV, TSV or JSONL, each with the line that it stands on."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from runtime.errors import InputError, suggest

ENDINGS = (".csv", ".tsv", ".jsonl")
# What parts columns: in words, and what to do where the file's ending says another one.
DELIMITERS = {
    ";": ("semicolons", "save it with commas"),
    "\t": ("tabs", "save it with commas, or rename it to .tsv"),
    ",": ("commas", "save it with tabs, or rename it to .csv"),
    "|": ("bars", "save it with commas"),
}

Row = Mapping[str, Any]


def rows_of_table(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """The rows of a table, each with its line (the last of several).

    Args:
        path: A CSV, TSV or JSONL file.
        columns: Those that all rows must have.

    Raises:
        InputError: If the table cannot be read or lacks a column; with the line.
    """
    lines = io.StringIO(_text(path), newline="")
    yield from (_json_rows if path.suffix.lower() == ".jsonl" else _csv_rows)(lines, path, columns)


def _text(path: Path) -> str:
    """What a table says, without a byte order mark."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); set data.root to a manifest.") from None
    if not content.strip():
        raise InputError(f"{path}: is empty; give it a header and one row an image.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: line {line} is not UTF-8 text ({error.reason}); save it as UTF-8."
        ) from None


def _csv_rows(lines: Iterator[str], path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True)
    try:
        header = list(reader.fieldnames or ())
        for name in columns:
            if name not in header:
                hint = _other_delimiter(header, delimiter) or f".{suggest(name, header)}"
                raise InputError(f"{path}: has no column '{name}'{hint}")
        for row in reader:
            # DictReader's key for what is beyond the header; a comma in a file name would shift the label
            if any(row.pop(None, ())):
                raise InputError(
                    f"{path}: line {reader.line_num} has more cells than the header; put a cell that holds "
                    "the delimiter between double quotes."
                )
            yield reader.line_num, row
    except csv.Error as error:
        line = reader.line_num + 1  # where the row begins; a quote left open goes on to the end
        raise InputError(f"{path}: line {line} is not readable in columns ({error}); save it anew.") from None


def _other_delimiter(header: Sequence[str], delimiter: str) -> str:
    """What to do about a header that is one column because its columns are parted by something else."""
    for other, (words, fix) in DELIMITERS.items():
        if other != delimiter and len(header) == 1 and other in header[0]:
            return f": its header is one column, {header[0]!r}, parted by {words}; {fix}."
    return ""


def _json_rows(lines: Iterator[str], path: Path, columns: Sequence[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is not a JSON object; mend or remove it.")
            for name in columns:
                if name not in row:
                    raise InputError(f"{path}: line {number} has no '{name}'.{suggest(name, map(str, row))}")
            yield number, row
