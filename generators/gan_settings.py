"""Settings of the GAN, and what follows from them: widths for an image size, the weight of the penalties."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from generators.augment import LEAK_LIMIT
from generators.networks import default_channels
from generators.training import TrainingSettings, check_size
from runtime.errors import InputError

KIND: Literal["gan"] = "gan"


class GanSettings(TrainingSettings):
    """Settings of the GAN.

    Attributes:
        channels: Width of both networks at each resolution, from the full one down; null: what suits
            the image size, from 28 to 256 px.
        layers: Residual blocks per resolution.
        latent: Size of the latent and of the class embedding.
        penalty: Weight γ of both gradient penalties at the start.
        final_penalty: γ at the end; lowered along a cosine (R3GAN lowers it tenfold).
        penalty_every: Steps between penalties, each then counted that many times.
        diversity: Weight of the loss that keeps a class as varied as its training cells; 0: off.
        twins: Weight of NoisyTwins' loss on the styles of one latent under two noises of its class
            embedding, which keeps a style from being that of its class alone; 0: off, noise and all.
        twins_noise: Standard deviation of that noise for a class of one cell; less for larger ones.
        transforms: Probability of each non-leaking transform in front of the critic; `adaptive`
            starts at 0 and follows how far the critic overfits.
        transforms_target: Lead of the critic, from 0 to 1, above which the adaptive probability
            climbs; see `generators.adaptive`.
        transforms_cap: The adaptive probability climbs no higher.
        transforms_climb: Images in which it may climb from 0 to 1.
        sampling_batch: Images drawn together.
    """

    AFTER_TRAINING: ClassVar[frozenset[str]] = frozenset(("sampling_batch",))

    kind: Literal["gan"] = KIND
    steps: int = Field(default=4000, ge=1)
    learning_rate: float = Field(default=8e-4, gt=0)
    channels: tuple[int, ...] | None = None
    layers: int = Field(default=1, ge=1)
    latent: int = Field(default=64, ge=1)
    penalty: float = Field(default=1.0, gt=0)
    final_penalty: float = Field(default=0.2, gt=0)
    penalty_every: int = Field(default=4, ge=1)
    diversity: float = Field(default=0.4, ge=0)
    twins: float = Field(default=0.0, ge=0)
    twins_noise: float = Field(default=0.5, gt=0)
    transforms: Annotated[float, Field(ge=0, lt=LEAK_LIMIT)] | Literal["adaptive"] = 0.3
    transforms_target: float = Field(default=0.77, gt=0, lt=1)
    transforms_cap: float = Field(default=0.7, gt=0, lt=LEAK_LIMIT)
    transforms_climb: int = Field(default=20_000, ge=1)
    sampling_batch: int = Field(default=64, ge=1)

    @field_validator("channels")
    @classmethod
    def _deep(cls, channels: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if channels is not None and (len(channels) < 2 or min(channels) < 1):
            raise ValueError("channels must be two or more positive widths")
        return channels


def sized(settings: GanSettings, image_size: int) -> GanSettings:
    """The settings with the widths that suit an image size, where they name none.

    Raises:
        InputError: If the size does not fit.
    """
    if settings.channels is not None:
        check_size(image_size, KIND, len(settings.channels) - 1)
        return settings
    check_size(image_size, KIND)
    channels = default_channels(image_size)
    if channels is None:
        raise InputError(
            f"image_size {image_size} does not fit generator 'gan': it cannot be halved to 15 px or "
            "fewer, or is above 256; set data.image_size, e.g. to 32, 64, 128 or 256, or generator.channels."
        )
    return settings.model_copy(update={"channels": channels})


def penalty_weight(step: int, settings: GanSettings) -> float:
    """γ at a step: from the first value to the last along a cosine."""
    left = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.final_penalty + left * (settings.penalty - settings.final_penalty)
