"""The running average of a network's weights that a finished model consists of."""

from __future__ import annotations

import torch
from torch import nn


class Ema:
    """Running average of a network's weights; buffers are copied.

    Args:
        average: The network that holds the average, with the same weights at the start.
        half_life: In images.
        ramp: The half-life is at most this share of the images seen, so that a short or young run
            does not average over its random start.

    Source:
        Karras et al., arXiv:2206.00364, official schedule of the half-life.
    """

    def __init__(self, average: nn.Module, half_life: int, ramp: float = 0.1) -> None:
        self.average = average.eval().requires_grad_(False)
        self.half_life = half_life
        self.ramp = ramp

    def decay(self, images: int, batch: int) -> float:
        """Share of the average that is kept by one step of `batch` images, `images` seen before."""
        half_life = min(float(self.half_life), self.ramp * images)
        return 0.5 ** (batch / max(half_life, 1e-8))

    @torch.no_grad()
    def update(self, network: nn.Module, images: int, batch: int) -> None:
        """Move the average toward the network; what the network alone has is not averaged."""
        weight = 1 - self.decay(images, batch)
        kept, new = dict(self.average.named_parameters()), dict(network.named_parameters())
        torch._foreach_lerp_(list(kept.values()), [new[name] for name in kept], weight)
        for own, other in zip(self.average.buffers(), network.buffers(), strict=True):
            own.copy_(other)
