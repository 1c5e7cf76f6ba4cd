"""Model selection: preprocessing x classifier over the folds of a repeated stratified group k-fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from classifiers.networks import EVERY_NETWORK
from evaluation.gains.gain import METRICS
from evaluation.gains.intervals import nadeau_bengio
from evaluation.gains.statistics import ALPHA, BASELINE, CHOSEN_BY, holm
from evaluation.studies.strategies import JOIN, strategy_of
from evaluation.studies.tuning import check_free
from runtime.config import Settings
from runtime.errors import InputError, suggest

if TYPE_CHECKING:
    from evaluation.studies.settings import StudySettings

Results = Mapping[str, Any]
Values = NDArray[np.float64]


class SelectionDesign(Settings):
    """Every preprocessing with every network on every fold; `preprocess` of the study names the former.

    Attributes:
        folds: Into how many folds the cells are divided; each is test once per repeat.
        repeats: How often they are divided, each time differently.
        networks: Names of `classifiers.networks.EVERY_NETWORK`; each strategy is run with each. None
            keeps the study's own network.
        metric: The figure of the table, one of `evaluation.gains.gain.METRICS`.
    """

    kind: Literal["model_selection"] = "model_selection"
    folds: Annotated[int, Field(ge=2)] = 5
    repeats: Annotated[int, Field(ge=1)] = 1
    networks: tuple[str, ...] = ()
    metric: str = CHOSEN_BY

    @field_validator("networks")
    @classmethod
    def _known_networks(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in EVERY_NETWORK:
                raise ValueError(f"there is no network '{name}'.{suggest(name, EVERY_NETWORK)}")
        if len(set(names)) < len(names):
            raise ValueError("name each network once")
        return names

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, name: str) -> str:
        if name not in METRICS:
            raise ValueError(f"there is no such figure.{suggest(name, METRICS)}")
        return name

    def studies(self, settings: StudySettings) -> dict[str, StudySettings]:
        """A study per preprocessing and fold; its strategies are the columns of the table.

        Raises:
            InputError: If the split says otherwise how to divide, the table would have one cell, or what a
                network decides is tuned.
        """
        if settings.split.folds is not None or settings.split.file is not None:
            raise InputError(
                "design.kind=model_selection: says itself how to divide; leave out split.folds and "
                "split.file."
            )
        columns = self._columns(settings.strategies)
        check_free(settings.tune, columns)
        rows = settings.preprocess if isinstance(settings.preprocess, Mapping) else None
        if len(columns) * len(rows or [0]) < 2:
            raise InputError(
                "design.kind=model_selection: there is one candidate only; name several in "
                "design.networks, preprocess or strategies."
            )
        steps = {"all": settings.preprocess} if rows is None else rows
        return {
            f"{row}-fold-{fold}": settings.model_copy(
                update={
                    "preprocess": steps[row],
                    "strategies": columns,
                    "split": settings.split.model_copy(
                        update={"folds": self.folds, "repeats": self.repeats, "fold": fold}
                    ),
                    "design": None,
                    "out": None,
                }
            )
            for row in steps
            for fold in range(self.folds * self.repeats)
        }

    def _columns(self, strategies: tuple[str, ...]) -> tuple[str, ...]:
        if not self.networks:
            return strategies
        names = [
            network if strategy == BASELINE else f"{strategy}{JOIN}{network}"
            for strategy in strategies
            for network in self.networks
        ]
        for name in names:
            strategy_of(name)
        return tuple(names)

    def found(self, studies: Mapping[str, Results]) -> dict[str, Any]:
        """The table.

        Args:
            studies: Results of each study, by name.

        Returns:
            JSON values: ``kind``, ``metric``, ``folds``, ``repeats``, ``rows``, ``columns``,
            ``test_to_train``, ``best`` (row and column), and ``cells``, row by row: `row`, `column`, `mean`,
            `low`, `high`
            (Nadeau-Bengio over folds), `values` by fold, and but for the best `behind` (best less this,
            with `p` by Holm over all of them) and `told_apart`.
        """
        rows = list(dict.fromkeys(name.rpartition("-fold-")[0] for name in studies))
        columns = list(dict.fromkeys(t["strategy"] for t in studies[f"{rows[0]}-fold-0"]["trials"]))
        ratio = float(np.mean([_test_to_train(results) for results in studies.values()]))
        values = {(row, column): self._values(studies, row, column) for row in rows for column in columns}
        best = max(values, key=lambda key: values[key].mean())  # the first one wins a tie
        others = [key for key in values if key != best]
        behind = {key: nadeau_bengio(values[best] - values[key], ratio) for key in others}
        adjusted = holm([behind[key]["p"] for key in others])
        for key, p in zip(others, adjusted, strict=True):
            behind[key]["p"] = p
        return {
            "kind": self.kind,
            "metric": self.metric,
            "folds": self.folds,
            "repeats": self.repeats,
            "test_to_train": ratio,
            "rows": rows,
            "columns": columns,
            "best": list(best),
            "cells": [_cell(key, values[key], ratio, behind.get(key)) for key in values],
        }

    def _values(self, studies: Mapping[str, Results], row: str, column: str) -> Values:
        """One figure per fold: the mean over its seeds."""
        return np.array(
            [
                np.mean(
                    [
                        trial["metrics"][self.metric]
                        for trial in studies[f"{row}-fold-{fold}"]["trials"]
                        if trial["strategy"] == column
                    ]
                )
                for fold in range(self.folds * self.repeats)
            ]
        )


def _test_to_train(results: Results) -> float:
    """Test cells over the cells that were learned from: those of val taught nothing."""
    cells = results["cells"]
    return float(sum(cells["test"].values()) / sum(cells["train"].values()))


def _cell(
    key: tuple[str, str], values: Values, ratio: float, behind: dict[str, Any] | None
) -> dict[str, Any]:
    spread = nadeau_bengio(values, ratio)
    cell = {
        "row": key[0],
        "column": key[1],
        "mean": spread["mean"],
        "low": spread["low"],
        "high": spread["high"],
        "values": values.tolist(),
    }
    if behind is None:
        return cell
    return {**cell, "behind": behind, "told_apart": behind["p"] <= ALPHA}
