"""How a classifier is built and trained, as a config gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from classifiers.losses import COSINE_LOSSES, LOSSES
from classifiers.networks import EVERY_NETWORK, find_network
from classifiers.phases import WHOLE, Phase, check_shares
from runtime.config import Settings
from runtime.errors import suggest

FRESH, IMAGENET = "none", "imagenet"
FINETUNING = 0.1  # of the network's own learning rate, which is for fresh weights


class ClassifierSettings(Settings):
    """How a classifier is built and trained.

    Attributes:
        network: One of `classifiers.networks.NETWORKS`, or of `STACK_NETWORKS` for stacks of images.
        width: Channels of the first stage; None for the network's own.
        weights: What it begins with: ``none`` (fresh weights), ``imagenet`` (those that torchvision
            publishes), or a file or the folder of a trained classifier. The last layer is always fresh.
        normalization: One of `classifiers.networks.NORMALIZATIONS`; ``auto`` is what the weights ask for,
            and ``cells`` for fresh ones.
        steps: Optimizer steps, whatever the number of cells, over all phases.
        batch: Cells per step; one cell alone has no variance to normalize by.
        lr: Peak learning rate; None for the network's own, or a tenth of it where it begins with weights.
        optimizer: `adamw` or `adam`.
        schedule: `one_cycle`, or `milestones`: a tenth of the rate from half of the steps on, and a
            hundredth from three quarters on.
        weight_decay: Of the optimizer; norms and biases are exempt.
        loss: One of `classifiers.losses.LOSSES`.
        sampler: `uniform` over cells, or `balanced`: over classes.
        augmentation: One of `cells.images.AUGMENTATIONS`, applied on-line.
        mixing: Of the images of a batch with each other: `none`, `mixup`, `cutmix` or `remix`.
        phases: Parts of the training that differ in cells, loss or layers; none: it is one.
        synthetic_weight: How much a synthetic cell counts in the loss, beside a real one.
        priors: Whose counts decide on margins, shifts and class weights: of `all` training cells, or of the
            `real` ones.
        post_hoc: τ of post-hoc logit adjustment: predictions use logits − τ log π; 0: none.
        keep: The network of the `last` step, or that of the `best` look at the validation cells (mean
            recall over classes); either way all steps are made.
    """

    network: str = "small_resnet"
    width: Annotated[int, Field(ge=2, le=256)] | None = None
    weights: Annotated[str, Field(min_length=1)] = FRESH
    normalization: Literal["auto", "cells", "medmnist", "imagenet"] = "auto"
    steps: Annotated[int, Field(ge=1)] = 1500
    batch: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] | None = None
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["one_cycle", "milestones"] = "one_cycle"
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    loss: str = "cross_entropy"
    sampler: Literal["uniform", "balanced"] = "uniform"
    augmentation: Literal["none", "mild", "strong", "randaugment", "trivialaugment", "stain"] = "mild"
    mixing: Literal["none", "mixup", "cutmix", "remix"] = "none"
    phases: tuple[Phase, ...] = ()
    synthetic_weight: Annotated[float, Field(ge=0, le=1)] = 1.0
    priors: Literal["all", "real"] = "all"
    post_hoc: Annotated[float, Field(ge=0)] = 0.0
    keep: Literal["last", "best"] = "last"

    @field_validator("network")
    @classmethod
    def _known_network(cls, name: str) -> str:
        return _known(name, EVERY_NETWORK)

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        return _known(name, LOSSES)

    @field_validator("phases")
    @classmethod
    def _whole(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        check_shares(phases)
        return phases

    @property
    def plan(self) -> tuple[Phase, ...]:
        """The phases, at least one."""
        return self.phases or (WHOLE,)

    @property
    def peak_lr(self) -> float:
        """The setting, or the network's own."""
        return self.lr or find_network(self.network).lr * (FINETUNING if self.transfers else 1)

    @property
    def transfers(self) -> bool:
        """Whether it begins with what was learned elsewhere."""
        return self.weights != FRESH

    @property
    def cosine(self) -> bool:
        """Whether a loss of the training asks for logits that are cosines."""
        return any(name in COSINE_LOSSES for name in (self.loss, *(phase.loss for phase in self.phases)))


def _known(name: str, registry: Mapping[str, Any]) -> str:
    if name not in registry:
        raise ValueError(f"there is none of this name.{suggest(name, registry)}")
    return name
