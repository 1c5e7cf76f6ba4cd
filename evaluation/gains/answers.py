"""Which test cells each trial of a study got right: what an interval over test cells needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.studies.study import Study, trials
from runtime.errors import InputError


@dataclass(frozen=True)
class Answers:
    """Which test cells each trial got right.

    Attributes:
        labels: True classes of the m test cells, shape (m,).
        classes: Names of all classes, in the order of the labels.
        rare: Names of the rare ones.
        right: By strategy and seed: whether each test cell was given its class, shape (m,).
        probabilities: By strategy and seed: shape (m, C), where they are known.
    """

    labels: NDArray[np.integer[Any]]
    classes: tuple[str, ...]
    rare: tuple[str, ...]
    right: Mapping[tuple[str, int], NDArray[np.bool_]]
    probabilities: Mapping[tuple[str, int], NDArray[np.floating[Any]]] = field(default_factory=dict)

    def tables(
        self, strategy: str, other: str, seeds: Sequence[int], classes: Sequence[str]
    ) -> list[NDArray[np.float64]]:
        """Differences of correctness, `strategy` minus `other`, paired by seed and cell.

        Args:
            strategy: A strategy.
            other: The one that it is compared with.
            seeds: The n units.
            classes: Names of classes.

        Returns:
            A table of -1, 0 and 1 for each class that has test cells, shape (n, cells of the class).
        """
        ours, theirs = (np.stack([self.right[s, seed] for seed in seeds]) for s in (strategy, other))
        differences = ours.astype(np.float64) - theirs
        tables = [differences[:, self.labels == self.classes.index(name)] for name in classes]
        return [table for table in tables if table.shape[1]]


def read_answers(study: Study) -> Answers:
    """Read them from the probabilities beside each finished trial.

    Raises:
        InputError: If a finished trial has none, or they are of other test cells.
    """
    labels, right, known = study.counted.test.labels, {}, {}
    for trial in trials(study.settings):
        result = study.run.path / trial.folder / "result.json"
        if not result.exists():
            continue
        file, again = result.with_name("probabilities.npy"), f"delete {result} and run the study again."
        try:
            found = np.load(file, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read; {again}") from error
        if len(found) != len(labels):
            raise InputError(f"{file}: has {len(found)} cells, the test split {len(labels)}; {again}")
        known[trial.strategy, trial.classifier_seed] = found
        right[trial.strategy, trial.classifier_seed] = found.argmax(axis=1) == labels
    return Answers(labels, study.counted.test.classes, study.rare, right, known)
