"""What one can do against imbalance, by name: all that a study compares.

A strategy is a word of `STRATEGIES`, or several joined by "+", each of which decides something else:
``diffusion+logit_adjustment`` adds cells of the diffusion model and shifts the logits.
Beside a generator, ``x3`` is a dose (3 synthetic cells per real cell of the rare classes), ``fill`` the dose
that makes the rare classes as large as the largest, and ``only`` leaves the real cells out:
``diffusion+x3``, ``diffusion+only``. ``uncurated`` takes its cells as they were drawn, and ``mixed_seeds``
gives each unit cells of the generators of all seeds. The name of a network, ``resnet18``, puts it in the
place of the study's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Literal, TypeAlias

from classifiers.losses import COUNTING_LOSSES
from classifiers.networks import EVERY_NETWORK
from classifiers.phases import DEFERRED, FINETUNED, PRETRAINED, REAL_HEAD, RETRAINED, SMOTED
from generators import RESAMPLERS
from runtime.errors import InputError, suggest

JOIN = "+"
FILL: Literal["fill"] = "fill"
Dose: TypeAlias = float | Literal["fill"]


@dataclass(frozen=True)
class Strategy:
    """What one does against imbalance; all strategies train for the same number of steps.

    Attributes:
        about: What it does, in a few words.
        training: The classifier's settings that it decides, see `classifiers.training`.
        generator: Where additional cells come from, or None.
        dose: Synthetic cells per real cell of the rare classes, or `FILL`; None goes by the balance.
        only: Whether it leaves the real cells out, and has synthetic ones of all classes.
        uncurated: Whether its cells pass no filter.
        mixed_seeds: Whether a unit's cells come in equal parts from the generators of all seeds.
    """

    about: str
    training: Mapping[str, Any] = field(default_factory=dict)
    generator: str | None = None
    dose: Dose | None = None
    only: bool = False
    uncurated: bool = False
    mixed_seeds: bool = False

    @property
    def models(self) -> bool:
        """Whether it needs a generative model to be trained."""
        return self.generator not in (None, *RESAMPLERS)

    @property
    def source(self) -> str | None:
        """The set of synthetic cells that it takes from, by name: ``gan``, ``gan+mixed_seeds+uncurated``."""
        if self.generator is None:
            return None
        return JOIN.join([self.generator, *(word for word in OF_SOURCE if getattr(self, word))])

    def decides(self) -> dict[str, Any]:
        """What it sets, by name: no two words of one strategy may set the same."""
        return {**self.training, **{k: v for k in OF_CELLS if (v := getattr(self, k))}}


# What a strategy decides of its cells, beside the training.
MIXED = "mixed_seeds"
OF_SOURCE = (MIXED, "uncurated")
OF_CELLS = ("generator", "dose", "only", *OF_SOURCE)
STRATEGIES: dict[str, Strategy] = {
    "unaugmented": Strategy("real cells as they are", {"augmentation": "none"}),
    "real": Strategy("real cells; flips, turns, mild brightness and color"),
    "balanced": Strategy("real, classes drawn equally often", {"sampler": "balanced"}),
    "class_weights": Strategy("real, rare classes weigh more in the loss", {"loss": "class_weights"}),
    "logit_adjustment": Strategy("real, logits shifted by class share", {"loss": "logit_adjustment"}),
    "imagenet": Strategy("real, network begins with ImageNet's weights", {"weights": "imagenet"}),
    "effective_weights": Strategy(
        "real, rare classes weigh more by effective number", {"loss": "effective_weights"}
    ),
    "focal": Strategy("real, focal loss", {"loss": "focal"}),
    "balanced_softmax": Strategy("real, softmax weighted by class counts", {"loss": "balanced_softmax"}),
    "ldam": Strategy("real, wider margins for rare classes", {"loss": "ldam"}),
    "ldam_drw": Strategy(
        "real, wider margins for rare classes, class weights at the end", {"loss": "ldam", "phases": DEFERRED}
    ),
    "post_hoc": Strategy("real, logits shifted by class share when predicting", {"post_hoc": 1.0}),
    "crt": Strategy("real, last layer trained again on balanced classes", {"phases": RETRAINED}),
    "strong_augmentation": Strategy("real, strong augmentation policy", {"augmentation": "strong"}),
    "randaugment": Strategy("real, RandAugment", {"augmentation": "randaugment"}),
    "trivialaugment": Strategy("real, TrivialAugment", {"augmentation": "trivialaugment"}),
    "stain": Strategy("real, stain varied in strength, hue and light", {"augmentation": "stain"}),
    "mixup": Strategy("real, MixUp", {"mixing": "mixup"}),
    "cutmix": Strategy("real, CutMix", {"mixing": "cutmix"}),
    "remix": Strategy("real, ReMix: mixed labels favor the rarer class", {"mixing": "remix"}),
    "repeat": Strategy("real, plus as many repeated cells (control)", generator="repeat"),
    "smote": Strategy("real, plus cells between real ones (SMOTE)", generator="smote"),
    "feature_smote": Strategy(
        "real, last layer trained again on features filled up by SMOTE", {"phases": SMOTED}
    ),
    "gan": Strategy("real, plus cells of the GAN", generator="gan"),
    "diffusion": Strategy("real, plus cells of the diffusion model", generator="diffusion"),
}
# Words that stand beside a generator, and say how its cells are used.
USES: dict[str, Strategy] = {
    "fill": Strategy("as many as make the rare classes as large as the largest", dose=FILL),
    "only": Strategy("in the place of all real cells", only=True),
    "uncurated": Strategy("as they were drawn, past no filter", uncurated=True),
    "mixed_seeds": Strategy("from the generators of all seeds in equal parts", mixed_seeds=True),
    "light_synthetic": Strategy("synthetic cells count 0.3 in the loss", {"synthetic_weight": 0.3}),
    "real_priors": Strategy("class shares of the real cells alone", {"priors": "real"}),
    "pretrain": Strategy("synthetic cells first, then real ones", {"phases": PRETRAINED}),
    "finetune": Strategy("all cells first, then real ones", {"phases": FINETUNED}),
    "real_head": Strategy("last layer at last on real cells alone", {"phases": REAL_HEAD}),
}
# Settings of the classifier that strategies decide, and so a study does not; others, such as the network or
# its first weights, either may.
DECIDED = (
    "augmentation",
    "loss",
    "mixing",
    "phases",
    "post_hoc",
    "priors",
    "sampler",
    "synthetic_weight",
)
# Losses that shift the logits by class share, as `post_hoc` does afterwards.
SHIFTED = ("logit_adjustment", "balanced_softmax")
DOSE = re.compile(r"x(\d+(?:\.\d+)?)")
# What a study compares unless it names its own.
USUAL = (
    "unaugmented",
    "real",
    "balanced",
    "class_weights",
    "logit_adjustment",
    "strong_augmentation",
    "repeat",
    "gan",
    "diffusion",
)


@cache
def strategy_of(name: str) -> Strategy:
    """The strategy of a name.

    Args:
        name: A word of `STRATEGIES`, or several joined by "+".

    Raises:
        InputError: If a word is unknown, or two words decide the same.
    """
    words = name.split(JOIN)
    if not all(words):
        raise InputError(
            f"the strategy '{name}' lacks a word before or after '{JOIN}'; write e.g. gan+focal."
        )
    parts = [_word(word) for word in words]
    decided: dict[str, Any] = {}
    for word, part in zip(words, parts, strict=True):
        twice = [key for key in part.decides() if key in decided]
        if len(parts) > 1 and (twice or not part.decides()):
            why = f"decides its {twice[0]} twice" if twice else f"names '{word}', which changes nothing"
            raise InputError(f"the strategy '{name}' {why}; join words that each decide something else.")
        decided |= part.decides()
    if "synthetic_weight" in decided and any(phase.smote for phase in decided.get("phases", ())):
        raise InputError(
            f"the strategy '{name}' weighs synthetic cells, and SMOTE draws between all cells alike; "
            "take light_synthetic or feature_smote, not both."
        )
    if decided.get("post_hoc") and decided.get("loss") in SHIFTED:
        raise InputError(
            f"the strategy '{name}' shifts the logits by class share twice, in the loss and when predicting; "
            f"take {decided['loss']} or post_hoc, not both."
        )
    made = Strategy("", **{key: decided.pop(key) for key in OF_CELLS if key in decided})
    _check_cells(name, made, words)
    if made.only:
        _check_only(name, words)
    _check_effect(name, decided)
    first, *rest = (part.about.removeprefix("real, plus " * made.only) for part in parts)
    about = "; ".join([first, *(text.removeprefix("real, ") for text in rest)])
    return replace(made, about=about, training=decided)


def _check_cells(name: str, made: Strategy, words: Sequence[str]) -> None:
    """Refuse words on the use of cells that no generator, or none of that kind, gives."""
    if made.generator is None and any(word in USES or DOSE.fullmatch(word) for word in words):
        raise InputError(
            f"the strategy '{name}' says how the cells of a generator are used and names none; "
            f"put one before it, e.g. diffusion{JOIN}{name}."
        )
    words = [word for word in OF_SOURCE if getattr(made, word)]
    if words and not made.models:
        raise InputError(
            f"the strategy '{name}' names '{words[0]}', which changes nothing: {made.generator} trains no "
            f"model, and its cells are not curated; leave it out, or join it with gan or diffusion."
        )


def _check_effect(name: str, decided: Mapping[str, Any]) -> None:
    """Refuse words on counts and weights where nothing in the training goes by these."""
    phases = decided.get("phases", ())
    losses = {decided.get("loss"), *(phase.loss for phase in phases)}
    counted = losses & set(COUNTING_LOSSES) or decided.get("post_hoc") or decided.get("mixing") == "remix"
    if "priors" in decided and not counted:
        raise InputError(
            f"the strategy '{name}' names 'real_priors', which changes nothing: its loss does not go by "
            "class counts; join it with one that does, such as logit_adjustment, or leave it out."
        )
    if "synthetic_weight" in decided and phases and all(phase.cells != "all" for phase in phases):
        raise InputError(
            f"the strategy '{name}' names 'light_synthetic', which changes nothing: with pretrain no step "
            "sees real and synthetic cells together; take finetune in place of pretrain, or leave it out."
        )


def _check_only(name: str, words: Sequence[str]) -> None:
    """Refuse words that tell real cells from synthetic ones where there are no real ones."""
    for word in words:
        training = _word(word).training
        phases = training.get("phases", ())
        if {"priors", "synthetic_weight"} & set(training) or any(phase.cells != "all" for phase in phases):
            raise InputError(
                f"the strategy '{name}' trains on synthetic cells alone, and '{word}' tells them from real "
                "ones; leave out one of the two."
            )


def plain_strategies(names: Sequence[str]) -> list[str]:
    """Those that do nothing against imbalance: real cells alone, with whatever network and first weights."""
    free = {"network", "width", "lr", "weights"}
    plain = {"augmentation": "none"}  # of `unaugmented`
    return [
        name
        for name in names
        if (uses := strategy_of(name)).generator is None
        and all(key in free or plain.get(key) == value for key, value in uses.training.items())
    ]


def dose_word(dose: Dose) -> str:
    """The word of a dose: 3.0 -> ``x3``."""
    return FILL if dose == FILL else f"x{dose:g}"


def _word(word: str) -> Strategy:
    if word in EVERY_NETWORK:
        # Width and rate of the study are those of its own network.
        return Strategy(f"real, with the network {word}", {"network": word, "width": None, "lr": None})
    known = {**STRATEGIES, **USES}
    found = DOSE.fullmatch(word)
    if word in known or found is None:
        if word not in known:
            raise InputError(f"there is no strategy '{word}'.{suggest(word, [*known, *EVERY_NETWORK])}")
        return known[word]
    dose = float(found[1])
    if dose == 0 or dose_word(dose) != word:
        right = dose or 1.0
        raise InputError(
            f"'{word}' is no dose; write {dose_word(right)} for {right:g} synthetic cells per real one."
        )
    return Strategy(f"{dose:g} synthetic cells per real cell of the rare classes", dose=dose)
