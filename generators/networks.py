"""Residual networks without normalization, for the conditional GAN.

Source:
    Huang et al., arXiv:2501.05441 (R3GAN), section 4: no normalization layers, fix-up-like
    initialization, leaky ReLU, bilinear resampling. Plain 3×3 convolutions replace the grouped
    ones, which processors run slowly.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.2
LAST_EDGE = 15  # pixels left at the lowest resolution, at most
MAX_SIZE = 256
WIDTHS = {
    3: (16, 48, 96),
    4: (16, 48, 96, 128),
    5: (16, 32, 64, 128, 192),
    6: (16, 32, 64, 96, 128, 192),
}


def default_channels(size: int) -> tuple[int, ...] | None:
    """Widths that suit an image size: halved until 8 pixels or fewer are left.

    Each resolution then costs about as much as the next, and 256 px with 16 images at a time fit a
    small GPU.

    Args:
        size: Edge of the image.

    Returns:
        A width per resolution, from the full one down; None where `size` cannot be halved so far.
    """
    halvings, edge = 0, size
    while edge % 2 == 0 and (edge > 8 or halvings < 2):
        halvings, edge = halvings + 1, edge // 2
    return WIDTHS.get(halvings + 1) if edge <= LAST_EDGE and size <= MAX_SIZE else None


class Residual(nn.Module):
    """x + f(x) with two 3×3 convolutions; starts as the identity, since its last layer is zero.

    Args:
        width: Channels.
        blocks: Residual blocks in the whole network, for the scale of the first layer.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, width, 3, padding=1)
        _scaled_init(self.first, blocks**-0.5)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Shape (b, width, h, w) to the same."""
        hidden = functional.leaky_relu(x, SLOPE)
        hidden = functional.leaky_relu(self.first(hidden), SLOPE)
        out: Tensor = x + self.last(hidden)
        return out


class ImageMaker(nn.Module):
    """The generating network: latent and class to an image.

    Args:
        classes: Number of classes.
        size: Edge of the image, divisible by 2^(len(channels) - 1).
        channels: Width at each resolution, from the full one down.
        latent: Size of the latent.
        layers: Residual blocks per resolution.
    """

    def __init__(self, classes: int, size: int, channels: tuple[int, ...], latent: int, layers: int) -> None:
        super().__init__()
        widths = channels[::-1]
        self.edge = size // 2 ** (len(channels) - 1)
        self.embedding = nn.Embedding(classes, latent)
        self.mapping = nn.Linear(2 * latent, 2 * latent)
        self.start = nn.Linear(2 * latent, widths[0] * self.edge**2)
        self.change = nn.ModuleList(
            nn.Conv2d(before, after, 1, bias=False) for before, after in pairwise(widths)
        )
        self.stages = nn.ModuleList(_stage(width, layers, layers * len(widths)) for width in widths)
        self.finish = nn.Conv2d(widths[-1], 3, 3, padding=1)
        for linear in (self.mapping, self.start, *self.change):
            _scaled_init(linear, 1.0)
        _scaled_init(self.finish, 0.5)

    def style(self, latent: Tensor, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """What an image is made from: latents (b, latent) and classes (b,), shape (b, 2 · latent).

        Args:
            latent: Standard normal.
            labels: int64.
            noise: Added to the class embeddings, shape (b, latent).
        """
        embedded = self.embedding(labels) if noise is None else self.embedding(labels) + noise
        mapped: Tensor = self.mapping(torch.cat([latent, embedded], dim=1))
        return functional.leaky_relu(mapped, SLOPE)

    def forward(self, latent: Tensor, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        """As `style`; to images about [-1, 1], shape (b, 3, size, size)."""
        x = self.start(self.style(latent, labels, noise)).unflatten(1, (-1, self.edge, self.edge))
        for index, stage in enumerate(self.stages):
            if index:
                # Channels first: the 1×1 convolution is four times cheaper before the resampling.
                x = self.change[index - 1](x)
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = stage(x)  # (b, width, edge · 2^index, …)
        out: Tensor = self.finish(functional.leaky_relu(x, SLOPE))
        return out


class Critic(nn.Module):
    """The judging network: how real an image looks as a member of its class.

    Args:
        classes: Number of classes.
        size: Edge of the image.
        channels: Width at each resolution, from the full one down.
        layers: Residual blocks per resolution.
    """

    def __init__(self, classes: int, size: int, channels: tuple[int, ...], layers: int) -> None:
        super().__init__()
        edge, width = size // 2 ** (len(channels) - 1), channels[-1]
        self.begin = nn.Conv2d(3, channels[0], 3, padding=1)
        self.change = nn.ModuleList(
            nn.Conv2d(before, after, 1, bias=False) for before, after in pairwise(channels)
        )
        self.stages = nn.ModuleList(_stage(each, layers, layers * len(channels)) for each in channels)
        self.gather = nn.Conv2d(width, width, edge, groups=width)
        self.feature = nn.Linear(width, width)
        self.embedding = nn.Embedding(classes, width)
        for layer in (self.begin, *self.change, self.gather, self.feature):
            _scaled_init(layer, 1.0)

    def layers(self) -> tuple[str, ...]:
        """Names of all layers but the class embedding, from the image on."""
        stages = [(f"change.{index - 1}", f"stages.{index}") for index in range(1, len(self.stages))]
        return ("begin", "stages.0", *(name for pair in stages for name in pair), "gather", "feature")

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images (b, 3, h, w) and int64 (b,) to scores, shape (b,), higher for real."""
        x = self.begin(images)
        for index, stage in enumerate(self.stages):
            if index:
                x = self.change[index - 1](functional.avg_pool2d(x, 2))
            x = stage(x)  # (b, width, h / 2^index, …)
        features = self.feature(functional.leaky_relu(self.gather(x).flatten(1), SLOPE))  # (b, width)
        return (features * self.embedding(labels)).sum(dim=1) / math.sqrt(features.shape[1])


def _stage(width: int, layers: int, blocks: int) -> nn.Sequential:
    return nn.Sequential(*(Residual(width, blocks) for _ in range(layers)))


def _scaled_init(layer: nn.Module, scale: float) -> None:
    """He initialization for leaky ReLU times a scale; biases zero."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.zero_()
