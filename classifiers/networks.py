"""Convolutional networks for cell images, by name: small ones of our own and torchvision's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import mobilenet_v2, resnet18

from runtime.errors import InputError, suggest
from runtime.seeds import seed_of

# Pixels of [0, 1] enter networks centered and with about unit spread. Cells on a bright, empty
# slide vary by a quarter of the range.
CENTER, SPREAD = 0.5, 0.25


class Network(nn.Module):
    """A body that turns images into features, and a linear head that turns those into logits.

    Args:
        body: (n, 3, h, w) to (n, d).
        features: d.
        classes: Number of classes C.
    """

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, classes)

    def features(self, images: Tensor) -> Tensor:
        """Penultimate features: float (n, 3, h, w) in [0, 1] to (n, d)."""
        centered = (images - CENTER) / SPREAD
        features: Tensor = self.body(centered.contiguous(memory_format=torch.channels_last))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Logits: float (n, 3, h, w) in [0, 1] to (n, C)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class Pool(nn.Module):
    """The mean over the map: (n, d, h, w) to (n, d)."""

    def forward(self, maps: Tensor) -> Tensor:
        """See the class."""
        return maps.mean(dim=(2, 3))


def convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """A convolution without bias and its batch normalization; a stride s divides the edge by s."""
    padding = (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut.

    Where the edge halves, the shortcut averages before its 1×1 convolution instead of dropping
    three pixels in four (ResNet-D).

    Source:
        He et al. 2016, arXiv:1512.03385, fig. 2; He et al. 2019, arXiv:1812.01187, fig. 2c.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, stride=stride)
        self.second = convolution(outputs, outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            average = nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)
            self.shortcut = nn.Sequential(average, convolution(inputs, outputs, kernel=1))

    def forward(self, maps: Tensor) -> Tensor:
        """(n, inputs, h, w) to (n, outputs, ceil(h / stride), ceil(w / stride))."""
        inner = self.second(F.relu(self.first(maps), inplace=True))
        return F.relu(inner + self.shortcut(maps), inplace=True)


def _small_resnet(width: int) -> tuple[nn.Module, int]:
    """Full resolution first, then halves and quarters: made for images of 28 to 64 px."""
    layers: list[nn.Module] = [convolution(3, width), nn.ReLU(inplace=True)]
    inputs = width
    for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        layers.append(ResidualBlock(inputs, outputs, stride))
        inputs = outputs
    return nn.Sequential(*layers, Pool()), inputs


def _fast(width: int) -> tuple[nn.Module, int]:
    """Five convolutions, none at full resolution: each step costs a few milliseconds at 28 px."""
    layers: list[nn.Module] = []
    plan = (
        (3, width, 4, 2),
        (width, 2 * width, 3, 2),
        (2 * width, 2 * width, 3, 1),
        (2 * width, 4 * width, 3, 2),
        (4 * width, 4 * width, 3, 1),
    )
    for inputs, outputs, kernel, stride in plan:
        layers += [convolution(inputs, outputs, kernel, stride), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, Pool()), 4 * width


def _resnet18(width: int) -> tuple[nn.Module, int]:
    if width != 64:
        raise InputError(
            f"classifier.width = {width}: torchvision's resnet18 comes at width 64 only; leave "
            "width out, or use network=small_resnet, whose width is free."
        )
    body = resnet18(weights=None)
    body.fc = nn.Identity()
    return body, 512


def _mobilenet_v2(width: int) -> tuple[nn.Module, int]:
    body = mobilenet_v2(weights=None, width_mult=width / 32)
    body.classifier = nn.Identity()
    return body, body.last_channel


@dataclass(frozen=True)
class Architecture:
    """One kind of network.

    Attributes:
        build: From a width to a body and the number of its features.
        width: Channels of the first stage unless the settings say otherwise.
        smallest: Smallest edge in pixels that it takes: below, its last map is empty or its
            first layers throw away what little there is.
        lr: Peak learning rate that suits it.
    """

    build: Callable[[int], tuple[nn.Module, int]]
    width: int
    smallest: int
    lr: float


NETWORKS: dict[str, Architecture] = {
    "small_resnet": Architecture(_small_resnet, width=16, smallest=8, lr=1e-2),
    "fast": Architecture(_fast, width=16, smallest=8, lr=1e-2),
    "resnet18": Architecture(_resnet18, width=64, smallest=28, lr=2e-3),
    "mobilenet_v2": Architecture(_mobilenet_v2, width=32, smallest=28, lr=2e-3),
}


def build_network(name: str, classes: int, width: int | None, seed: int) -> Network:
    """A network with fresh weights.

    Args:
        name: One of `NETWORKS`.
        classes: Number of classes.
        width: Channels of the first stage; None for the architecture's own.
        seed: Decides the weights; the global random state is left as it was.

    Raises:
        InputError: If there is no such network, or not at this width.
    """
    architecture = _find(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        body, features = architecture.build(width or architecture.width)
        network = Network(body, features, classes)
    return network.to(memory_format=torch.channels_last)


def check_size(name: str, image_size: int) -> None:
    """Refuse images that are too small for a network.

    Raises:
        InputError: With the smallest edge that the network takes.
    """
    smallest = _find(name).smallest
    if image_size < smallest:
        raise InputError(
            f"network={name} takes images of at least {smallest} px, these have {image_size} px; "
            f"set data.image_size={smallest} or more, or network=small_resnet."
        )


def _find(name: str) -> Architecture:
    if name not in NETWORKS:
        raise InputError(f"there is no network '{name}'.{suggest(name, NETWORKS)}")
    return NETWORKS[name]
