"""Phases of a training: which cells, which loss, which layers, for which share of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from classifiers.losses import LOSSES
from runtime.config import Settings
from runtime.errors import InputError, suggest


class Phase(Settings):
    """One part of a training.

    Attributes:
        share: Of the optimizer steps of the training; the shares of all phases add up to 1.
        cells: Which training cells it sees: `all`, `real` ones (phantoms among them) or `synthetic` ones.
        loss: One of `classifiers.losses.LOSSES`; None for that of the settings.
        sampler: `uniform` or `balanced`; None for that of the settings.
        trains: `all` layers, or the `head`: then all others stay as they are, their batch statistics too.
        smote: The last layer learns from features of the cells, of which every class is filled up by SMOTE
            to as many as the largest has; needs `trains: head`.
        fresh_head: Begin with fresh weights of the last layer.
        restart: Begin with a fresh optimizer and a learning rate that rises and falls anew; a phase that
            does not restart goes on where the one before it left off. A change of layers restarts anyway.
        lr: Peak of its learning rate, as a share of that of the settings; for phases that restart.
    """

    share: Annotated[float, Field(gt=0, le=1)]
    cells: Literal["all", "real", "synthetic"] = "all"
    loss: str | None = None
    sampler: Literal["uniform", "balanced"] | None = None
    trains: Literal["all", "head"] = "all"
    smote: bool = False
    fresh_head: bool = False
    restart: bool = False
    lr: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str | None) -> str | None:
        if name is not None and name not in LOSSES:
            raise ValueError(f"there is none of this name.{suggest(name, LOSSES)}")
        return name

    @model_validator(mode="after")
    def _features_stay(self) -> Self:
        if self.smote and self.trains != "head":
            raise ValueError("smote fills up features, which must not change meanwhile; set trains: head")
        return self


WHOLE = Phase(share=1.0)
# Features from cells as they come, then a fresh last layer from features that SMOTE has balanced.
# Dablain et al. 2022, arXiv:2207.06080, whose three phases have another way of filling up besides.
SMOTED = (
    Phase(share=0.8),
    Phase(share=0.2, loss="cross_entropy", trains="head", fresh_head=True, smote=True),
)

# Deferred re-weighting, the DRW of LDAM-DRW: class weights only once the learning rate is low.
# Cao et al., NeurIPS 2019, arXiv:1906.07413.
DEFERRED = (Phase(share=0.8), Phase(share=0.2, loss="ldam_weighted"))
# Classifier retraining (cRT): features from cells as they come, then a fresh last layer from balanced ones.
# Kang et al., ICLR 2020, arXiv:1910.09217.
RETRAINED = (
    Phase(share=0.8),
    Phase(share=0.2, loss="cross_entropy", sampler="balanced", trains="head", fresh_head=True),
)
# Synthetic cells first, real ones after them.
PRETRAINED = (Phase(share=0.5, cells="synthetic"), Phase(share=0.5, cells="real", restart=True))
# All cells, then only real ones.
FINETUNED = (Phase(share=0.7), Phase(share=0.3, cells="real", restart=True, lr=0.3))
# All cells; then the last layer alone, on real ones.
REAL_HEAD = (Phase(share=0.8), Phase(share=0.2, cells="real", trains="head"))


def check_shares(phases: Sequence[Phase]) -> None:
    """Refuse phases that are not one whole training.

    Raises:
        ValueError: If their shares do not add up to 1.
    """
    total = sum(phase.share for phase in phases)
    if phases and abs(total - 1) > 1e-6:
        raise ValueError(f"the shares of the phases add up to {total:g}; make them add up to 1")


def step_ranges(phases: Sequence[Phase], steps: int) -> list[range]:
    """Which optimizer steps belong to each phase: together all of them, each once.

    Raises:
        InputError: If a phase would have no step, or a rate of its own that does not come to count.
    """
    for number, (phase, anew) in enumerate(zip(phases, restarts(phases), strict=True), start=1):
        if phase.lr != 1 and not anew:
            raise InputError(
                f"classifier.phases: phase {number} has lr={phase.lr:g} and goes on at the rate of the one "
                "before; set restart: true there, or leave lr out."
            )
    ends = [round(steps * done) for done in accumulate(phase.share for phase in phases)]
    ends[-1] = steps
    ranges = [range(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
    for number, steps_of in enumerate(ranges, start=1):
        if not steps_of:
            raise InputError(
                f"classifier.steps={steps} leaves phase {number} of {len(ranges)} without a step; "
                "set more steps or larger shares."
            )
    return ranges


def restarts(phases: Sequence[Phase]) -> list[bool]:
    """Whether each phase begins with a fresh optimizer: the first does, and each change of layers."""
    before = [None, *phases]
    return [
        last is None or phase.restart or phase.fresh_head or phase.trains != last.trains
        for last, phase in zip(before, phases, strict=False)
    ]


def cycles(phases: Sequence[Phase], ranges: Sequence[range]) -> list[range]:
    """The steps over which the learning rate of each phase rises and falls: from the restart at or before
    its begin to the next restart, or the end.
    """
    anew = restarts(phases)
    begins = [steps.start for steps, new in zip(ranges, anew, strict=True) if new]
    ends = [*begins[1:], ranges[-1].stop]
    spans = [range(begin, end) for begin, end in zip(begins, ends, strict=True)]
    return [next(span for span in reversed(spans) if span.start <= steps.start) for steps in ranges]
