"""Losses against imbalance: each is made from the training counts and takes logits and targets."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(counts: Tensor) -> Loss:
    """Plain cross-entropy, the mean over the batch; the counts do not matter."""
    return lambda logits, targets: F.cross_entropy(logits, targets)


def class_weights(counts: Tensor) -> Loss:
    """Cross-entropy in which each class weighs by its inverse frequency.

    w_y = N / (C n_y), scikit-learn's "balanced"; the weighted sum is divided by the weights' sum.

    Args:
        counts: Training cells per class, shape (C,). A class without any counts as one cell: it
            is no target, so its weight is never used.
    """
    weights = counts.sum() / (len(counts) * counts.clamp(min=1).float())  # (C,)
    return lambda logits, targets: F.cross_entropy(
        logits, targets, weight=weights.to(logits.device, logits.dtype)
    )


def logit_adjustment(counts: Tensor) -> Loss:
    """Cross-entropy of logits shifted by the log share of each class, so that the unshifted ones,
    which predictions use, are right for balanced classes.

    loss = −log softmax(f(x) + τ log π)_y with τ = 1.

    Args:
        counts: Training cells per class, shape (C,). A class without any counts as one cell, or
            its shift would be infinite.

    Source:
        Menon et al., ICLR 2021, arXiv:2007.07314, eq. 10.
    """
    seen = counts.clamp(min=1).double()
    shift = (seen / seen.sum()).log()  # (C,)
    return lambda logits, targets: F.cross_entropy(logits + shift.to(logits.device, logits.dtype), targets)


LOSSES: dict[str, Callable[[Tensor], Loss]] = {
    "cross_entropy": cross_entropy,
    "class_weights": class_weights,
    "logit_adjustment": logit_adjustment,
}
