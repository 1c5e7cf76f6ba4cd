"""Settings chosen on validation cells: the same candidates for every trial, whatever its strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from cells.cellset import CellSet
from cells.stacks import one_each
from classifiers.settings import ClassifierSettings
from classifiers.training import Classifier
from evaluation.gains.gain import scores
from evaluation.studies.strategies import DECIDED, strategy_of
from runtime.config import to_dict, validate
from runtime.errors import InputError, suggest

Tune = dict[str, tuple[Any, ...]]

PREFIX = "classifier."
CHOSEN_BY = "mean_rare_recall"
BUDGET = "steps"  # the same for all, so it is no one's to choose


def check_tune(tune: Mapping[str, Sequence[Any]]) -> None:
    """Refuse what cannot be tuned, before anything is trained.

    Raises:
        ValueError: For a key that is not of the classifier or that strategies decide, or a bad candidate.
    """
    free = [PREFIX + key for key in ClassifierSettings.model_fields if key not in (*DECIDED, BUDGET)]
    for key, values in tune.items():
        if key.removeprefix(PREFIX) in (*DECIDED, BUDGET):
            why = "is the same for all" if key == PREFIX + BUDGET else "is what strategies differ in"
            raise ValueError(f"'{key}' {why}, so it cannot be tuned: leave it out")
        if key not in free:
            raise ValueError(f"'{key}' cannot be tuned.{suggest(key, free)}")
        if len(values) < 2 or any(value in values[:i] for i, value in enumerate(values)):
            raise ValueError(f"'{key}' needs two candidates or more, each of them once")
    try:
        candidates(ClassifierSettings(), tune)
    except InputError as error:
        raise ValueError(str(error).removesuffix(".")) from None


def check_free(tune: Mapping[str, Sequence[Any]], strategies: Sequence[str]) -> None:
    """Refuse candidates that would take the place of what a strategy is named for.

    A learning rate may be tuned beside the name of a network, whose own rate is only where it begins.

    Raises:
        InputError: If a strategy decides a key that is tuned, such as ``weights`` of ``imagenet``.
    """
    for name in strategies:
        for key in strategy_of(name).training:
            if key != "lr" and PREFIX + key in tune:
                raise InputError(
                    f"tune: '{PREFIX}{key}' cannot be tuned beside the strategy '{name}', which decides it; "
                    "leave out one of the two."
                )


def candidates(
    settings: ClassifierSettings, tune: Mapping[str, Sequence[Any]]
) -> list[tuple[dict[str, Any], ClassifierSettings]]:
    """Every combination of the candidates: what it sets, and the settings with that."""
    made = []
    for values in product(*tune.values()):
        chosen = dict(zip(tune, values, strict=True))
        update = {key.removeprefix(PREFIX): value for key, value in chosen.items()}
        made.append((chosen, validate(ClassifierSettings, {**to_dict(settings), **update}, "tune")))
    return made


def fit_tuned(
    train: CellSet,
    val: CellSet,
    settings: ClassifierSettings,
    tune: Mapping[str, Sequence[Any]],
    rare: Sequence[str],
    *,
    seed: int,
    description: str,
) -> tuple[Classifier, dict[str, Any]]:
    """Train one classifier for each combination of candidates, with one seed, and keep that of the highest
    mean rare recall on validation cells; of equal ones the first.

    Args:
        train: Cells to learn from.
        val: Cells to choose by.
        settings: Of the strategy.
        tune: Candidates by key; none: `settings` is trained as it is.
        rare: The rare classes.
        seed: Of every training.
        description: What the progress bar says.

    Returns:
        The classifier, and what there is to record of the choice: nothing, or `tuned` with the chosen
        values and every candidate's figure.
    """
    watched = val if settings.keep == "best" else None
    looked = []
    best: tuple[float, Classifier, dict[str, Any]] | None = None
    for chosen, candidate in candidates(settings, tune):
        net = Classifier(train.classes, candidate)
        net.fit(train, seed=seed, val=watched, description=description)
        if not tune:
            return net, {}
        figure = scores(one_each(val).labels, net.probabilities(val), train.classes, rare)[CHOSEN_BY]
        looked.append({"values": chosen, CHOSEN_BY: figure})
        if best is None or figure > best[0]:
            best = (figure, net, chosen)
    assert best is not None, "the product of no candidates is one empty choice"
    return best[1], {"tuned": {"chosen": best[2], "candidates": looked}}
