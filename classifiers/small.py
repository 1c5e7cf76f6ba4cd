"""Small convolutional bodies of our own, for cells of 8 to 64 px; all are trained from fresh weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

Body = tuple[nn.Module, int]  # (n, 3, h, w) to (n, d), and d


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


def small_resnet(width: int) -> Body:
    """Full resolution first, then halves and quarters: made for images of 28 to 64 px."""
    layers: list[nn.Module] = [convolution(3, width), nn.ReLU(inplace=True)]
    inputs = width
    for outputs, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        layers.append(ResidualBlock(inputs, outputs, stride))
        inputs = outputs
    return nn.Sequential(*layers, Pool()), inputs


def fast(width: int) -> Body:
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


def convnet(width: int) -> Body:
    """A plain stack: three times two convolutions and a pooling that halves, without shortcuts."""
    layers: list[nn.Module] = []
    inputs = 3
    for outputs in (width, 2 * width, 4 * width):
        layers += [convolution(inputs, outputs), nn.ReLU(inplace=True)]
        layers += [convolution(outputs, outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        inputs = outputs
    return nn.Sequential(*layers, Pool()), inputs
