"""Near duplicates that were looked for once: remembered, and kept in a file for other processes.

The search takes minutes among tens of thousands of cells. The studies of a design, the processes of a pool
and the jobs of a cluster have the same cells, and need not look again.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cells.cellset import CellSet
from cells.duplicates import NearDuplicate, near_duplicates
from runtime.rundir import read_json, write_json

FORMAT: Final = "rarecell near duplicates 1"  # the next number once the search finds other pairs
REMEMBERED = 4  # sets


@dataclass(frozen=True)
class FoundPairs:
    """The near duplicates of a set.

    Attributes:
        key: Digest of the pixels of its cells, in their order.
        pairs: As `cells.duplicates.near_duplicates` returns them.
    """

    key: str
    pairs: Sequence[NearDuplicate]


_remembered: dict[str, FoundPairs] = {}


def found_pairs(cells: CellSet, file: Path) -> FoundPairs:
    """The near duplicates of a set, looked for unless this process or the file knows them.

    Args:
        cells: The set.
        file: What `write_pairs` may have written; one of other cells is not used.
    """
    key = hashlib.sha256("\n".join(cells.digests.astype(str)).encode()).hexdigest()
    found = _remembered.get(key) or _read(file, key) or FoundPairs(key, near_duplicates(cells))
    if key not in _remembered and len(_remembered) == REMEMBERED:
        del _remembered[next(iter(_remembered))]  # the oldest
    _remembered[key] = found
    return found


def write_pairs(file: Path, found: FoundPairs) -> None:
    """Keep what was found for processes that come later."""
    write_json(file, {"format": FORMAT, "key": found.key, "pairs": [list(pair) for pair in found.pairs]})


def _read(file: Path, key: str) -> FoundPairs | None:
    record = read_json(file) if file.is_file() else {}
    if (record.get("format"), record.get("key")) != (FORMAT, key):
        return None
    return FoundPairs(key, [NearDuplicate(*pair) for pair in record["pairs"]])
