"""No cell is scored that a generator has learned from."""

from pathlib import Path

from cells.cellset import CellSet
from runtime.errors import InputError


def refuse_seen(seen: Path, cells: CellSet) -> None:
    """Refuse to score on cells that a generator was trained on.

    Args:
        seen: The `seen.txt` of a saved generator, one pixel digest a line.
        cells: The cells to score on.

    Raises:
        InputError: If there is one, naming it, or if there is no such list.
    """
    if not seen.is_file():
        raise InputError(f"{seen}: no such file; without it nobody can tell which cells were seen.")
    digests = set(seen.read_text(encoding="utf-8").split())
    for name, *own in zip(cells.names, cells.digests, cells.original_digests, strict=True):
        if not digests.isdisjoint(own):  # also where only one side was preprocessed
            raise InputError(
                f"{name}: the generator in {seen.parent} was trained on this cell, so it cannot be "
                "tested with it; train the generator on this study's training cells."
            )
