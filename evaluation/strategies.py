"""What one can do against imbalance, by name: all that a study compares.

A strategy is a word of `STRATEGIES`, or several joined by "+", each of which decides something else:
``diffusion+logit_adjustment`` adds cells of the diffusion model and shifts the logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from runtime.errors import InputError, suggest

JOIN = "+"


@dataclass(frozen=True)
class Strategy:
    """What one does against imbalance; all strategies train for the same number of steps.

    Attributes:
        about: What it does, in a few words.
        training: The classifier's settings that it decides, see `classifiers.training`.
        generator: Where additional cells come from, or None.
    """

    about: str
    training: Mapping[str, Any] = field(default_factory=dict)
    generator: str | None = None

    def decides(self) -> dict[str, Any]:
        """What it sets, by name: no two words of one strategy may set the same."""
        others = {} if self.generator is None else {"generator": self.generator}
        return {**self.training, **others}


STRATEGIES: dict[str, Strategy] = {
    "unaugmented": Strategy("real cells as they are", {"augmentation": "none"}),
    "real": Strategy("real cells; flips, turns, mild brightness and color"),
    "balanced": Strategy("real, classes drawn equally often", {"sampler": "balanced"}),
    "class_weights": Strategy("real, rare classes weigh more in the loss", {"loss": "class_weights"}),
    "logit_adjustment": Strategy("real, logits shifted by class share", {"loss": "logit_adjustment"}),
    "strong_augmentation": Strategy("real, strong augmentation policy", {"augmentation": "strong"}),
    "repeat": Strategy("real, plus as many repeated cells (control)", generator="repeat"),
    "gan": Strategy("real, plus cells of the GAN", generator="gan"),
    "diffusion": Strategy("real, plus cells of the diffusion model", generator="diffusion"),
}
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
    for word in words:
        if word not in STRATEGIES:
            raise InputError(f"there is no strategy '{word}'.{suggest(word, STRATEGIES)}")
    parts = [STRATEGIES[word] for word in words]
    if len(parts) == 1:
        return parts[0]
    decided: dict[str, Any] = {}
    for word, part in zip(words, parts, strict=True):
        twice = sorted(set(decided) & set(part.decides()))
        if twice or not part.decides():
            why = f"decides its {twice[0]} twice" if twice else f"names '{word}', which changes nothing"
            raise InputError(f"the strategy '{name}' {why}; join words that each decide something else.")
        decided |= part.decides()
    first, *rest = (part.about for part in parts)
    about = "; ".join([first, *(text.removeprefix("real, ") for text in rest)])
    generator = decided.pop("generator", None)
    return Strategy(about, decided, generator)
