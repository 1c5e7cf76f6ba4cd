"""What is in a source and its split: counts, sizes, damage, duplicates, wrong labels, leaks."""

import base64
import datetime
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cells.cellset import CellSet, Loaded
from cells.depth import shallow
from cells.duplicates import NearDuplicate
from cells.ignored import grouped
from cells.leaks import SIDES
from cells.long_tail import TRIMMED
from cells.mapped import CHUNK
from cells.masks import HsvMasks, OtsuMasks, nucleus_and_cytoplasm
from cells.overlays import outlined
from cells.sources import DataSettings, credit_of, name_of
from cells.split import Split
from runtime.errors import InputError
from runtime.progress import progress

SHOWN = 24  # cells of each class in the page
SHOWN_PAIRS = 100
OUTLINED_A_ROW = 6  # more would be shown smaller than the lines are wide
# What a section of the page shows, up to the colon also in one line with the others.
FINDINGS = {
    "unreadable": "Unreadable files",
    "ignored": "Ignored files",
    "label_conflicts": "Label conflicts: one image, different classes",
    "across_splits": "Cells on several sides of the split they came with",
    "near_duplicates": "Near duplicates: one image turned, flipped, cropped, relit or saved again",
    "exact_duplicates": "Exact duplicates: equal pixels",
}
IN_PAIRS = ("label_conflicts", "across_splits", "near_duplicates", "exact_duplicates")
NOT_KNOWN = "not known"
DROPPED = "dropped"


@dataclass(frozen=True)
class Audited:
    """What an audit is about.

    Attributes:
        loaded: The source as read.
        near: Near duplicates among its cells.
        split: The split, or None where it was refused.
        refused: Why it was refused, or empty.
        leaks: How leaks of a pre-made split are treated: ``refuse``, ``drop`` or ``allow``.
        by_file: The split follows a split file, and not what the source came with.
    """

    loaded: Loaded
    near: Sequence[NearDuplicate]
    split: Split | None
    refused: str = ""
    leaks: str = "refuse"
    by_file: bool = False

    @property
    def premade(self) -> NDArray[np.object_]:
        """The side of each cell as the source, or the split file, has it, shape (n,)."""
        return self.sides if self.by_file else self.loaded.cells.splits

    @property
    def sides(self) -> NDArray[np.object_]:
        """The side of each cell, ``dropped`` where it is on none, shape (n,)."""
        cells = self.loaded.cells
        if self.split is None:
            return cells.splits
        parts = (self.split.train, self.split.val, self.split.test)
        side_of = {name: side for side, part in zip(SIDES, parts, strict=True) for name in part.names}
        return np.array([side_of.get(name, DROPPED) for name in cells.names], dtype=object)


def audit(audited: Audited, data: DataSettings) -> dict[str, Any]:
    """Facts about a source and its split, as JSON values.

    Args:
        audited: The source, its near duplicates and its split.
        data: What was read.

    Returns:
        Counts per class and side, the imbalance factor of train (largest class over smallest; None
        where a class has no cell there), training cells before and after a long tail (None without
        one), sizes and color modes of the files, 16-bit grays that hold fewer bits, what was unreadable
        or ignored (by name, and in groups), pairs of exact and of near duplicates, the pairs whose labels
        disagree, what is on several sides of a pre-made split, the split's digest (None where it was
        refused), and what its images went through.

    Raises:
        InputError: If a file of the source cannot be opened any more.
    """
    cells, sides = audited.loaded.cells, audited.sides
    counts = {
        name: {side: int(((cells.labels == label) & (sides == side)).sum()) for side in SIDES}
        for label, name in enumerate(cells.classes)
    }
    train = [row["train"] for row in counts.values()]
    exact, near = _exact_duplicates(cells, sides), _near_duplicates(cells, sides, audited.near)
    both = [*exact, *near]
    sizes, modes = _files(audited.loaded)
    credit = credit_of(data)
    return {
        "source": data.kind,
        "root": name_of(data),
        "date": datetime.date.today().isoformat(),
        "licence": credit.licence,
        "citation": credit.citation,
        "refused": audited.refused,
        "leaks": audited.leaks,
        "cells": len(cells),
        "kept": sum(sum(row.values()) for row in counts.values()),
        "origins": dict(Counter(map(str, cells.origins))),
        "groups": len(set(cells.groups)),
        "image_size": cells.image_size,
        "source_sizes": sizes,
        "source_modes": modes,
        "counts": counts,
        "imbalance_factor": round(max(train) / min(train), 2) if min(train) else None,
        "long_tail": _long_tail(audited.split),
        "shallow": shallow(audited.loaded, data),
        "unreadable": dict(audited.loaded.unreadable),
        "ignored": list(audited.loaded.ignored),
        "ignored_groups": grouped(audited.loaded.ignored),
        "exact_duplicates": exact,
        "near_duplicates": near,
        "label_conflicts": [pair for pair in both if len(set(pair["labels"])) > 1],
        "across_splits": _across_splits(cells, audited.premade, both),
        "split_digest": audited.split.digest if audited.split else None,
        "preprocessing": done.to_json() if (done := audited.split and audited.split.preprocessing) else None,
    }


def _entry(cells: CellSet, sides: NDArray[np.object_], kind: str, rows: Sequence[int]) -> dict[str, Any]:
    return {
        "kind": kind,
        "names": [str(cells.names[row]) for row in rows],
        "labels": [cells.classes[cells.labels[row]] for row in rows],
        "splits": [str(sides[row]) for row in rows],
    }


def _exact_duplicates(cells: CellSet, sides: NDArray[np.object_]) -> list[dict[str, Any]]:
    """Pairs of equal pixels at the prepared size: the first such cell, and each of the others."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(digest, row), row) for row, digest in enumerate(cells.digests)]
    return [_entry(cells, sides, "exact", pair) for pair in pairs if pair[0] != pair[1]]


def _near_duplicates(
    cells: CellSet, sides: NDArray[np.object_], near: Sequence[NearDuplicate]
) -> list[dict[str, Any]]:
    pairs = sorted(near, key=lambda pair: -pair.agreement)
    return [
        {**_entry(cells, sides, "near", (pair.first, pair.second)), "agreement": pair.agreement}
        for pair in pairs
    ]


def _across_splits(
    cells: CellSet, came: NDArray[np.object_], pairs: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Pairs and groups on several sides of the split that was given; dropped cells are on none."""
    side_of = dict(zip(cells.names, came, strict=True))
    found = [{**pair, "splits": [side_of[name] for name in pair["names"]]} for pair in pairs]
    across = [pair for pair in found if len({*pair["splits"]} - {DROPPED}) > 1]
    return across + list(_groups_across(cells, came))


def _groups_across(cells: CellSet, came: NDArray[np.object_]) -> Iterator[dict[str, Any]]:
    """Each group on several sides, with its first cell on each."""
    rows: dict[str, dict[str, int]] = {}
    for row in np.flatnonzero(came != DROPPED):
        rows.setdefault(cells.groups[row], {}).setdefault(came[row], int(row))
    for group, firsts in rows.items():
        if len(firsts) > 1:
            yield {**_entry(cells, came, "group", list(firsts.values())), "group": str(group)}


def _long_tail(split: Split | None) -> dict[str, dict[str, int]] | None:
    """Training cells of each class before and after the long tail; None where there is none."""
    if split is None or not any(cell.reason == TRIMMED for cell in split.dropped):
        return None
    left_out = Counter(cell.label for cell in split.dropped if cell.reason == TRIMMED)
    return {
        name: {"before": count + left_out[name], "after": count} for name, count in split.train.counts.items()
    }


def _files(loaded: Loaded) -> tuple[dict[str, int], dict[str, int]]:
    """How many files have which size and color mode before all preparation, most frequent first."""
    cells = loaded.cells
    if not loaded.files:
        return {f"{cells.image_size}×{cells.image_size}": len(cells)}, {NOT_KNOWN: len(cells)}
    with ThreadPoolExecutor() as pool, progress(len(cells), "reading sizes") as bar:
        found = []
        for start in range(0, len(loaded.files), CHUNK):  # a waiting call takes more room than its answer
            for facts in pool.map(_size_and_mode, loaded.files[start : start + CHUNK]):
                found.append(facts)
                bar.update()
    sizes, modes = (Counter(column).most_common() for column in zip(*found, strict=True))
    return dict(sizes), dict(modes)


def _size_and_mode(path: Path) -> tuple[str, str]:
    """By the header alone: nothing is decoded."""
    try:
        with Image.open(path) as image:
            return f"{image.width}×{image.height}", image.mode
    except OSError as error:
        raise InputError(f"{path}: cannot be read any more ({error}).") from None


def page(facts: Mapping[str, Any], cells: CellSet, masks: OtsuMasks | HsvMasks | None = None) -> str:
    """The audit as one self-contained HTML page, with cells of each class and each near pair.

    Args:
        facts: What `audit` returned, and under `morphology` what `summary` did, if that is wanted.
        cells: All cells of the source, for the pictures.
        masks: How the masks are found that are drawn over cells of each class; None draws none.
    """
    overlays = (
        {}
        if masks is None
        else {
            name: _picture(
                outlined(found := _some(cells, name), nucleus_and_cytoplasm(found, masks)), OUTLINED_A_ROW
            )
            for name, count in cells.counts.items()
            if count
        }
    )
    sheets = {name: _picture(_some(cells, name)) for name in cells.classes}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    row_of = {name: row for row, name in enumerate(cells.names)}
    pictures = {
        "\n".join(pair["names"]): _picture(cells.pixels[[row_of[name] for name in pair["names"]]])
        for key in IN_PAIRS
        for pair in facts[key][:SHOWN_PAIRS]
    }
    template = environment.get_template("audit.html.j2")
    return template.render(
        facts=facts,
        found={key: title for key, title in FINDINGS.items() if facts[key]},
        not_found=[title.split(":")[0].lower() for key, title in FINDINGS.items() if not facts[key]],
        sides=SIDES,
        sheets=sheets,
        overlays=overlays,
        pictures=pictures,
        shown=SHOWN_PAIRS,
    )


def _some(cells: CellSet, name: str) -> NDArray[np.uint8]:
    """Cells of a class, evenly spread over its rows."""
    rows = np.flatnonzero(cells.labels == cells.index_of(name))
    spread = np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).astype(int)
    return cells.pixels[rows[spread]]


def _picture(images: NDArray[np.uint8], a_row: int = 12) -> str:
    """Images beside each other, as a data URI."""
    columns = min(a_row, max(1, len(images)))
    missing = -len(images) % columns
    height, width = images.shape[1:3]
    white = np.full((missing, height, width, 3), 255, np.uint8)
    grid = np.concatenate([images, white]).reshape(-1, columns, height, width, 3)
    sheet = grid.swapaxes(1, 2).reshape(-1, columns * width, 3)  # (rows * h, columns * w, 3)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
