"""Bodies for stacks of images: a 3-D CNN, and a 2-D CNN that a GRU reads image by image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from classifiers.small import Body, fast


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """3×3×3, normalized, ReLU; a stride divides the edge, never the depth: stacks are shallow."""
    conv = nn.Conv3d(inputs, outputs, 3, stride=(1, stride, stride), padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm3d(outputs), nn.ReLU(inplace=True))


class Volume(nn.Module):
    """3-D convolutions, then the mean over depth and map.

    Args:
        width: Channels of the first convolution w; features are 4 w.

    Source:
        Convolutions of 3×3×3 throughout: Tran et al. 2015, arXiv:1412.0767.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        plan = ((3, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, 4 * width, 2))
        self.layers = nn.Sequential(*(_convolution(*one) for one in (*plan, (4 * width, 4 * width, 1))))

    def forward(self, stacks: Tensor) -> Tensor:
        """(n, depth, 3, h, w) to (n, 4 w)."""
        maps: Tensor = self.layers(stacks.transpose(1, 2))  # (n, 4 w, depth, h', w')
        return maps.mean(dim=(2, 3, 4))


class Sequence(nn.Module):
    """The features of each image by one 2-D CNN, read by a GRU in both directions; its last two states.

    Args:
        width: Channels of the CNN's first stage w; features are 4 w.

    Source:
        A recurrent net over a CNN's features: Donahue et al. 2015, arXiv:1411.4389; the GRU: Cho et al. 2014,
        arXiv:1406.1078.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        body, features = fast(width)
        self.each = body.to(memory_format=torch.channels_last)
        self.gru = nn.GRU(features, 2 * width, batch_first=True, bidirectional=True)

    def forward(self, stacks: Tensor) -> Tensor:
        """(n, depth, 3, h, w) to (n, 4 w)."""
        images = stacks.flatten(0, 1).contiguous(memory_format=torch.channels_last)  # (n depth, 3, h, w)
        features = self.each(images).unflatten(0, stacks.shape[:2])  # (n, depth, 4 w)
        _, last = self.gru(features)  # (2, n, 2 w)
        return last.transpose(0, 1).flatten(1)


def cnn3d(width: int) -> Body:
    """See `Volume`."""
    return Volume(width), 4 * width


def cnn_gru(width: int) -> Body:
    """See `Sequence`."""
    return Sequence(width), 4 * width
