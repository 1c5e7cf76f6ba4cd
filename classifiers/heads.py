"""Last layers: the usual linear one, one of cosines, and how to begin one anew."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classifiers.losses import COSINE_SCALE
from classifiers.networks import Network
from runtime.seeds import seed_of


class CosineHead(nn.Linear):
    """Logits that are cosines between features and class weights, times 30: margins mean the same for
    every class, since no class can win by the length of its weights.

    Args:
        features: Width of the features d.
        classes: Number of classes C.

    Source:
        Cao et al., NeurIPS 2019, arXiv:1906.07413, which normalizes both before its margins.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(n, d) to (n, C), in [-30, 30]."""
        return COSINE_SCALE * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


def with_cosine_head(network: Network, seed: int) -> Network:
    """The network with a `CosineHead` in place of its own; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "cosine head"))
        network.head = CosineHead(network.head.in_features, network.head.out_features)
    return network


def begin_head_anew(network: Network, seed: int) -> None:
    """Fresh weights for the last layer, in place; the global random state is left as it was."""
    head = network.head
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "fresh head"))
        fresh = type(head)(head.in_features, head.out_features)  # on the CPU: the same for any device
    head.load_state_dict(fresh.state_dict())
