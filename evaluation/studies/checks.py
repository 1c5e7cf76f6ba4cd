"""What a study refuses of its strategies and generators, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from cells.images import augmentation_of
from cells.split import Split
from cells.stacks import LEAVE_OUT
from classifiers.networks import check_depth, check_size
from classifiers.phases import step_ranges
from classifiers.samples import Samples
from classifiers.settings import ClassifierSettings
from classifiers.weights import check_weights
from evaluation.copies.seen import refuse_seen
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import strategy_of
from evaluation.studies.tuning import candidates
from generators.augment import symmetry_of
from generators.protocol import model_folder
from runtime.errors import InputError

Quota = Callable[[str], Mapping[str, int]]


def check_additions(settings: StudySettings, depth: int) -> None:
    """Refuse to add cells to stacks: all that adds cells makes single images.

    Args:
        settings: The study's.
        depth: Images of each stack; 0 for single images.

    Raises:
        InputError: With the first strategy that would.
    """
    for name in settings.strategies:
        source = strategy_of(name).generator
        if depth and source is not None:
            raise InputError(
                f"strategies: '{name}' adds cells of '{source}', which makes single images, and these cells "
                f"are stacks of {depth}; take strategies that add none, e.g. real, balanced or "
                f"logit_adjustment, or {LEAVE_OUT}."
            )


def check_strategies(settings: StudySettings, split: Split, quota: Quota) -> None:
    """Refuse strategies that would fail in the midst of the study, with any candidate of `tune`.

    Args:
        settings: The study's.
        split: Its cells, preprocessed.
        quota: Synthetic cells per class that a strategy trains on.

    Raises:
        InputError: Cells too small for a network, weights that are missing, too few steps for the phases, no
            augmentation for these cells, or too few cells for pretraining.
    """
    for name in settings.strategies:
        training = dict(strategy_of(name).training)
        for _, classifier in candidates(settings.classifier.model_copy(update=training), settings.tune):
            _check_training(classifier, split)
        phases = training.get("phases", ())
        if any(phase.cells == "synthetic" for phase in phases) and len(quota(name)) < 2:
            raise InputError(
                f"the strategy '{name}' trains on synthetic cells alone at first, and only "
                f"{len(quota(name))} class gets any: give two classes or more some (balance.to, rare), or "
                "take finetune in place of pretrain."
            )


def _check_training(classifier: ClassifierSettings, split: Split) -> None:
    check_depth(classifier.network, Samples(split.train).depth)
    check_size(classifier.network, split.train.image_size)
    check_weights(classifier)
    augmentation_of(classifier.augmentation, split.train.modality)  # or there is none for these cells
    step_ranges(classifier.plan, classifier.steps)


def check_generators(settings: StudySettings, split: Split) -> None:
    """Refuse recipes of generators that do not suit the cells.

    Args:
        settings: The study's.
        split: Its cells, preprocessed.

    Raises:
        InputError: A symmetry that the cells do not have, or a model to start from that has seen a validation
            or test cell.
    """
    for kind in {strategy_of(s).generator for s in settings.strategies if settings.models(s)}:
        recipe = getattr(settings.generators, str(kind))
        symmetry_of(recipe.augmentation, split.train.modality)
        if recipe.start_from is not None:
            refuse_seen(model_folder(recipe.start_from) / "seen.txt", split.val + split.test)
