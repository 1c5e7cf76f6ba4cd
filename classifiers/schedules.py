"""Optimizers and learning rates by name: what each step of a training moves by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

WARM_UP, FIRST_LR = 0.3, 1 / 25  # share of the steps; share of the peak
DROPS, FACTOR = (0.5, 0.75), 0.1  # shares of the steps; what the rate is multiplied by at each

Schedule = Callable[[int, int, float], float]


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up from `FIRST_LR` of the peak, then down to nothing, both as
    half a cosine.

    Args:
        step: Steps done, in [0, steps).
        steps: All steps.
        peak: The highest rate.

    Source:
        Smith and Topin 2017, arXiv:1708.07120, with cosines for the straight lines.
    """
    done = (step + 0.5) / steps  # the middle of the step: never exactly the end, where it is 0
    if done < WARM_UP:
        rise = (1 - math.cos(math.pi * done / WARM_UP)) / 2
        return peak * (FIRST_LR + (1 - FIRST_LR) * rise)
    return peak * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


def milestones(step: int, steps: int, peak: float) -> float:
    """The peak at first; a tenth of it from half of the steps on, a hundredth from three quarters on.

    Arguments as for `one_cycle`.

    Source:
        Yang et al. 2023 (MedMNIST v2), doi 10.1038/s41597-022-01721-8, "Baseline methods".
    """
    return float(peak * FACTOR ** sum(step >= share * steps for share in DROPS))


SCHEDULES: dict[str, Schedule] = {"one_cycle": one_cycle, "milestones": milestones}
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
}


def build_optimizer(name: str, network: nn.Module, weight_decay: float, lr: float) -> torch.optim.Optimizer:
    """The optimizer of a name over the weights of a network that are trained; see `decayed`.

    Args:
        name: One of `OPTIMIZERS`.
        network: Its weights without a gradient are left out.
        weight_decay: Of kernels, at least 0.
        lr: Its first learning rate; a schedule sets it anew at each step.
    """
    return OPTIMIZERS[name](decayed(network, weight_decay), lr=lr, fused=True)


def decayed(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: weight decay on kernels, none on norms and biases; of what is
    trained.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    kernels = [p for p in trained if p.ndim > 1]
    others = [p for p in trained if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
