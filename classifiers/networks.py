"""Convolutional networks for cell images, by name: small ones of our own and torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cells.stacks import LEAVE_OUT
from classifiers import backbones, small, stacks
from classifiers.small import Body
from runtime.errors import InputError, suggest
from runtime.seeds import seed_of

Normalization = tuple[tuple[float, float, float], tuple[float, float, float]]  # mean and spread, RGB


def _gray(center: float, spread: float) -> Normalization:
    return (center,) * 3, (spread,) * 3  # type: ignore[return-value]  # of three each


# How pixels of [0, 1] enter networks: less a mean, divided by a spread.
NORMALIZATIONS: dict[str, Normalization] = {
    # Centered and with about unit spread: cells on a bright, empty slide vary by a quarter of the range.
    "cells": _gray(0.5, 0.25),
    "medmnist": _gray(0.5, 0.5),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Network(nn.Module):
    """A body that turns images into features, and a linear head that turns those into logits.

    Args:
        body: (n, 3, h, w) to (n, d).
        features: d.
        classes: Number of classes C.
    """

    center: Tensor
    spread: Tensor

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, classes)
        # Not among the weights: a saved classifier names its normalization in config.json.
        for name in ("center", "spread"):
            self.register_buffer(name, torch.empty(3, 1, 1), persistent=False)
        self.normalize_by(NORMALIZATIONS["cells"])

    def normalize_by(self, normalization: Normalization) -> None:
        """Set the mean and the spread that pixels are normalized by."""
        for buffer, values in zip((self.center, self.spread), normalization, strict=True):
            buffer.copy_(torch.tensor(values).reshape(3, 1, 1))

    @property
    def normalization(self) -> Normalization:
        """The mean and the spread that pixels are normalized by."""
        mean, spread = (buffer.flatten().double().round(decimals=6) for buffer in (self.center, self.spread))
        return tuple(mean.tolist()), tuple(spread.tolist())

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features: float (n, 3, h, w), or of stacks (n, depth, 3, h, w), in [0, 1] to (n, d)."""
        centered = (images - self.center) / self.spread
        if images.ndim == 4:
            centered = centered.contiguous(memory_format=torch.channels_last)
        features: Tensor = self.body(centered)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits: images as for `features` to (n, C)."""
        logits: Tensor = self.head(self.features(images))
        return logits


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes:
        build: From a width to a body and the number of its features.
        width: Channels of the first stage unless the settings say otherwise.
        smallest: Smallest edge in pixels that it takes: below, its last map is empty or its
            first layers throw away what little there is.
        lr: Peak learning rate that suits it.
        published: torchvision's name for it, where there are ImageNet weights of it.
        last: What the names of the weights of its last layer begin with in such a file.
        depth: Fewest images of a stack that it takes; 0: it takes single images.
    """

    build: Callable[[int], Body]
    width: int
    smallest: int
    lr: float
    published: str | None = None
    last: str = ""
    depth: int = 0


NETWORKS: dict[str, Architecture] = {
    "small_resnet": Architecture(small.small_resnet, width=16, smallest=8, lr=1e-2),
    "fast": Architecture(small.fast, width=16, smallest=8, lr=1e-2),
    "convnet": Architecture(small.convnet, width=32, smallest=8, lr=1e-2),
    "resnet18": Architecture(backbones.resnet("resnet18"), 64, 28, 2e-3, "resnet18", "fc."),
    "resnet18_3x3": Architecture(backbones.resnet18_3x3, width=64, smallest=8, lr=2e-3),
    "resnet50": Architecture(backbones.resnet("resnet50"), 64, 28, 2e-3, "resnet50", "fc."),
    "mobilenet_v2": Architecture(backbones.mobilenet_v2, 32, 28, 2e-3, "mobilenet_v2", "classifier."),
    "vgg19_bn": Architecture(backbones.vgg19_bn, 64, 32, 2e-3, "vgg19_bn", "classifier."),
    "efficientnet_b0": Architecture(
        backbones.efficientnet_b0, 32, 28, 2e-3, "efficientnet_b0", "classifier."
    ),
    "convnext_tiny": Architecture(backbones.convnext_tiny, 96, 32, 1e-3, "convnext_tiny", "classifier.2."),
}

# Those that take stacks.
STACK_NETWORKS: dict[str, Architecture] = {
    "cnn3d": Architecture(stacks.cnn3d, width=16, smallest=8, lr=1e-2, depth=2),
    "cnn_gru": Architecture(stacks.cnn_gru, width=16, smallest=8, lr=5e-3, depth=2),
}
EVERY_NETWORK = NETWORKS | STACK_NETWORKS


def build_network(name: str, classes: int, width: int | None, seed: int) -> Network:
    """A network with fresh weights.

    Args:
        name: One of `EVERY_NETWORK`.
        classes: Number of classes.
        width: Channels of the first stage; None for the architecture's own.
        seed: Decides the weights; the global random state is left as it was.

    Raises:
        InputError: If there is no such network, or not at this width.
    """
    architecture = find_network(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        body, features = architecture.build(width or architecture.width)
        network = Network(body, features, classes)
    return network if architecture.depth else network.to(memory_format=torch.channels_last)


def check_size(name: str, image_size: int) -> None:
    """Refuse images that are too small for a network.

    Raises:
        InputError: With the smallest edge that the network takes.
    """
    architecture = find_network(name)
    smallest = architecture.smallest
    if image_size < smallest:
        other = "" if architecture.depth else ", or network=small_resnet"
        raise InputError(
            f"network={name} takes images of at least {smallest} px, these have {image_size} px; "
            f"set data.image_size={smallest} or more{other}."
        )


def check_depth(name: str, depth: int) -> None:
    """Refuse stacks for a network of single images, single images for one of stacks, and too shallow stacks.

    Args:
        name: One of `EVERY_NETWORK`.
        depth: Images of each stack; 0 for single images.

    Raises:
        InputError: With the fewest images that the network takes.
    """
    least = find_network(name).depth
    if depth and not least:
        raise InputError(
            f"network={name} takes single images, and these cells are stacks of {depth} (columns stack and "
            f"index); use network={' or '.join(STACK_NETWORKS)}, or {LEAVE_OUT}."
        )
    if least and not depth:
        raise InputError(
            f"network={name} takes stacks, and these cells are single images; give each image a stack and an "
            "index (columns of a manifest), or use network=small_resnet."
        )
    if depth < least:
        raise InputError(
            f"network={name} takes stacks of at least {least} images, these have {depth}; "
            f"add images, or {LEAVE_OUT}."
        )


def find_network(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        InputError: If there is none.
    """
    if name not in EVERY_NETWORK:
        raise InputError(f"there is no network '{name}'.{suggest(name, EVERY_NETWORK)}")
    return EVERY_NETWORK[name]
