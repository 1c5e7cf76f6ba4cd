"""What one can do against imbalance, by name: all that a study compares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Strategy:
    """What one does against imbalance; all strategies train for the same number of steps.

    Attributes:
        about: What it does, in a few words.
        augmentation: On-line augmentation, one of `cells.images.AUGMENTATIONS`.
        loss: One of `classifiers.losses.LOSSES`.
        sampler: `uniform`, or `balanced`: all classes equally often.
        generator: Where additional cells come from, or None.
    """

    about: str
    augmentation: str = "mild"
    loss: str = "cross_entropy"
    sampler: str = "uniform"
    generator: str | None = None

    @property
    def training(self) -> dict[str, str]:
        """The classifier's settings that the strategy decides."""
        return {"augmentation": self.augmentation, "loss": self.loss, "sampler": self.sampler}


STRATEGIES: dict[str, Strategy] = {
    "unaugmented": Strategy("real cells as they are", augmentation="none"),
    "real": Strategy("real cells; flips, turns, mild brightness and color"),
    "balanced": Strategy("real, classes drawn equally often", sampler="balanced"),
    "class_weights": Strategy("real, rare classes weigh more in the loss", loss="class_weights"),
    "logit_adjustment": Strategy("real, logits shifted by class share", loss="logit_adjustment"),
    "strong_augmentation": Strategy("real, strong augmentation policy", augmentation="strong"),
    "repeat": Strategy("real, plus as many repeated cells (control)", generator="repeat"),
    "gan": Strategy("real, plus cells of the GAN", generator="gan"),
    "diffusion": Strategy("real, plus cells of the diffusion model", generator="diffusion"),
}
