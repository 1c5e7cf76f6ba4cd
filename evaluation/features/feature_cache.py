"""Features of cells that were encoded before, a row a cell, so that any subset finds its own.

One SQLite file an encoder: several processes may read and add at a time, and what a killed one had
half written is rolled back by the next.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runtime.errors import InputError

ASKED = 500  # keys in one query; SQLite takes 999 at least
PATIENCE = 120.0  # seconds that a writer waits for another

_TABLE = "CREATE TABLE IF NOT EXISTS features (cell TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"

Row = NDArray[np.float32]


def read_rows(file: Path, keys: Sequence[str]) -> dict[str, Row]:
    """Features by key, of those keys that are there; a damaged file is removed.

    Args:
        file: SQLite file; may be absent.
        keys: Digests of cells.
    """
    if not file.is_file():
        return {}
    try:
        with closing(sqlite3.connect(file, timeout=PATIENCE)) as database:
            return dict(_found(database, keys))
    except sqlite3.OperationalError as error:
        raise _refused(file, error) from None
    except sqlite3.DatabaseError:  # no database, or a damaged one: features can be had again
        file.unlink(missing_ok=True)
        return {}


def add_rows(file: Path, rows: Iterable[tuple[str, Row]]) -> None:
    """Keep features; keys that are there already stay as they are.

    Args:
        file: SQLite file; made with its folder where absent.
        rows: Digest and features, shape (d,), of each cell.

    Raises:
        InputError: If the file cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with closing(sqlite3.connect(file, timeout=PATIENCE)) as database, database:
            database.execute(_TABLE)
            values = ((key, np.asarray(row, dtype="<f4").tobytes()) for key, row in rows)
            database.executemany("INSERT OR IGNORE INTO features VALUES (?, ?)", values)
    except sqlite3.DatabaseError as error:
        raise _refused(file, error) from None


def _found(database: sqlite3.Connection, keys: Sequence[str]) -> Iterable[tuple[str, Row]]:
    tables = database.execute("SELECT name FROM sqlite_master WHERE name = 'features'").fetchall()
    for start in range(0, len(keys) if tables else 0, ASKED):
        some = keys[start : start + ASKED]
        marks = ", ".join("?" * len(some))
        query = f"SELECT cell, value FROM features WHERE cell IN ({marks})"
        for key, value in database.execute(query, list(some)):
            yield key, np.frombuffer(value, dtype="<f4")


def _refused(file: Path, error: sqlite3.Error) -> InputError:
    return InputError(
        f"{file}: features cannot be kept here ({error}); free the disk, or remove the file if no other "
        "run uses it."
    )
