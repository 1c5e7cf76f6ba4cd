"""Grad-CAM: where in an image or a stack a network finds what speaks for a class."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from classifiers.networks import Network

SMALLEST_MAP = 4  # px; deeper maps of small images say nothing of where


def grad_cam(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """How much each place speaks for a class: the map's channels, weighed by the gradient's mean.

    α_k = mean over places of ∂y_c / ∂A_k;  map = ReLU(Σ_k α_k A_k), y_c the logit. A is the deepest map of
    the network with an edge of `SMALLEST_MAP` or more; at 28 px that is earlier than the last one. Of stacks
    each image has its own part of the map: a 3-D network's A and its places reach through the whole stack,
    a 2-D network that reads image by image has an A and an α for each.

    Args:
        network: In evaluation mode.
        images: float (n, 3, h, w), or of stacks (n, depth, 3, h, w), in [0, 1], on the network's device.
        labels: The class c of each image or stack, int64, shape (n,), on the same device.

    Returns:
        float (n, h, w), or of stacks (n, depth, h, w), in [0, 1], the largest value of each image or stack 1;
        all 0 where nothing speaks for the class.

    Source:
        Selvaraju et al., ICCV 2017, arXiv:1610.02391, eq. 1 and 2.
    """
    assert not network.training
    # A GRU's gradient in evaluation mode is not in cuDNN.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=images.ndim == 4):
        maps, logits = _deepest_map(network, images.clone().requires_grad_(True))
        chosen = logits.gather(1, labels[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, maps)
    weights = gradient.mean(dim=tuple(range(2, maps.ndim)), keepdim=True)  # (n, k, 1, 1)
    found = (
        (weights * maps.detach()).sum(dim=1).relu()
    )  # (n, h', w'), (n, depth, h', w') or (n depth, h', w')
    each = found.reshape(-1, 1, *found.shape[-2:])  # (n depth, 1, h', w')
    each = F.interpolate(each, size=images.shape[-2:], mode="bilinear", align_corners=False)
    found = each.reshape(*images.shape[:-3], *images.shape[-2:])
    largest = found.flatten(1).amax(dim=1).reshape(-1, *[1] * (found.ndim - 1))
    return torch.where(largest > 0, found / largest.clamp(min=torch.finfo(found.dtype).tiny), 0.0)


def _deepest_map(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last output of any layer that is a map of some size, and the logits."""
    seen: list[Tensor] = []

    def note(_layer: Any, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 4:
            return
        height, width = output.shape[-2:]
        if height == width >= SMALLEST_MAP:
            seen[:] = [output]

    hooks = [layer.register_forward_hook(note) for layer in network.body.modules()]
    try:
        logits = network(images)
    finally:
        for hook in hooks:
            hook.remove()
    assert seen, "no layer of the network gives a map"
    return seen[0], logits
