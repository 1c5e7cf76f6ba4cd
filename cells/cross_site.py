"""Two sources as one split: train on the cells of one site, test on those of another."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet, Loaded
from cells.stacks import marked
from runtime.errors import InputError, suggest

SITES = ("train", "test")


def joined(train: Loaded, test: Loaded, classes: Mapping[str, str | None], *, drop_unmatched: bool) -> Loaded:
    """The cells of two sites as a pre-made split of the classes that both have.

    Names and groups begin with ``train/`` or ``test/``, so that those of one site are never taken
    for those of the other. Splits that the sites come with are not used.

    Args:
        train: The site to learn from.
        test: The site to test on.
        classes: Class of train that a class of test is; empty or None leaves it out. What is not
            named has the same name in both.
        drop_unmatched: Leave out the classes of train that test does not have.

    Raises:
        InputError: If the image sizes differ, a class is unknown or is in one site only, or fewer
            than two classes remain.
    """
    if train.cells.image_size != test.cells.image_size:
        raise InputError(
            f"data: the cells of train have {train.cells.image_size} px and those of test "
            f"{test.cells.image_size}; set data.train.image_size and data.test.image_size to the same."
        )
    counterpart = _counterparts(train.cells.classes, test.cells.classes, classes)
    shared = tuple(name for name in train.cells.classes if name in counterpart.values())
    _check_shared(train.cells.classes, shared, drop_unmatched)
    parts = [
        _part(train, {name: name for name in shared}, shared, "train"),
        _part(test, counterpart, shared, "test"),
    ]
    files = [kept for _, kept in parts]
    return Loaded(
        parts[0][0] + parts[1][0],
        {
            f"{site}/{name}": reason
            for site, loaded in zip(SITES, (train, test), strict=True)
            for name, reason in loaded.unreadable.items()
        },
        tuple(
            f"{site}/{name}"
            for site, loaded in zip(SITES, (train, test), strict=True)
            for name in loaded.ignored
        ),
        files[0] + files[1] if all(files) else (),
    )


def _counterparts(
    train: Sequence[str], test: Sequence[str], classes: Mapping[str, str | None]
) -> dict[str, str]:
    """The class of train for each class of test that is kept."""
    for name in classes:
        if name not in test:
            raise InputError(f"data.classes: data.test has no class '{name}'.{suggest(name, test)}")
    found = {name: classes.get(name, name) for name in test}
    for name, target in found.items():
        if not target or target in train:
            continue
        if name in classes:
            raise InputError(f"data.classes: data.train has no class '{target}'.{suggest(target, train)}")
        raise InputError(
            f"data.test has class '{name}', and data.train has not; say which it is with "
            f"data.classes={{{name}: CLASS}}, or leave it out with data.classes={{{name}: null}}."
        )
    return {name: target for name, target in found.items() if target}


def _check_shared(train: Sequence[str], shared: Sequence[str], drop_unmatched: bool) -> None:
    alone = [name for name in train if name not in shared]
    if alone and not drop_unmatched:
        raise InputError(
            f"data.train has class '{alone[0]}', and no class of data.test is that; name one in "
            f"data.classes ({{CLASS: {alone[0]}}}), or set data.drop_unmatched=true to leave it out."
        )
    if len(shared) < 2:
        only = f"'{shared[0]}'" if shared else "one class"
        raise InputError(
            f"data: the two sites share {len(shared)} class(es), and testing needs two: where all cells are "
            f"of {only}, who always says so is always right. Name more classes of data.test in "
            "data.classes, or take a test site that has cells of a second class."
        )


def _part(
    loaded: Loaded, target: Mapping[str, str], shared: tuple[str, ...], site: str
) -> tuple[CellSet, tuple[Path, ...]]:
    """The cells of a site in shared classes, relabelled and marked, and their files."""
    cells = loaded.cells
    rows = np.flatnonzero([cells.classes[label] in target for label in cells.labels])
    kept = marked(cells.subset(rows), site)
    labels = [shared.index(target[kept.classes[label]]) for label in kept.labels]
    sides = np.full(len(kept), site, dtype=object)
    part = replace(
        kept,
        classes=shared,
        labels=np.array(labels, dtype=np.int64),
        names=_prefixed(kept.names, site),
        groups=_prefixed(kept.groups, site),
        splits=sides,
    )
    return part, tuple(loaded.files[row] for row in rows) if loaded.files else ()


def _prefixed(column: NDArray[np.object_], site: str) -> NDArray[np.object_]:
    return np.array([f"{site}/{value}" for value in column], dtype=object)
