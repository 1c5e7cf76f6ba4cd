"""Files of a source that were passed over, in groups that a person can look through."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

SAID = 3


def grouped(names: Sequence[str]) -> list[dict[str, Any]]:
    """Ignored files by folder and kind, the largest group first.

    Folders that differ in numbers alone are one: ``Patient_00`` and ``Patient_01`` are ``Patient_*``.

    Args:
        names: Relative to the root of the source; folders with a slash at the end.

    Returns:
        For each group its ``folder`` (empty: the root), ``kind``, ``count`` and ``first`` name.
    """
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in names:
        groups[re.sub(r"\d+", "*", _folder(name)), _kind(name)].append(name)
    rows = [
        {
            "folder": _folder(found[0]) if len(set(map(_folder, found))) == 1 else pattern,
            "kind": kind,
            "count": len(found),
            "first": found[0],
        }
        for (pattern, kind), found in groups.items()
    ]
    return sorted(rows, key=lambda row: (-row["count"], row["folder"], row["kind"]))


def _folder(name: str) -> str:
    return PurePosixPath(name).parent.as_posix().removeprefix(".")


def _kind(name: str) -> str:
    path = PurePosixPath(name)
    if path.name.startswith("."):
        return "hidden"
    if name.endswith("/"):
        return "folder"
    return path.suffix.lower() or "no ending"


def in_words(groups: Sequence[dict[str, Any]]) -> str:
    """The largest groups in one line, e.g. ``212 .jpg in Segmented/Early, 1 hidden; and 2 more groups``."""
    said = [
        f"{g['count']} {g['kind']}" + (f" in {g['folder']}" if g["folder"] else "") for g in groups[:SAID]
    ]
    more = len(groups) - SAID
    return ", ".join(said) + (f"; and {more} more group{'s' * (more > 1)}" if more > 0 else "")
