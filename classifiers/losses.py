"""Losses against imbalance: each is made from the training counts and takes logits and targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FOCUS = 2.0  # gamma of the focal loss
EFFECTIVE_BETA = 0.999  # a class's 1,000th cell is worth a third of its first
DEFERRED_BETA = 0.9999  # of LDAM-DRW, as in its paper
LARGEST_MARGIN = 0.5  # of LDAM, for the rarest class
COSINE_SCALE = 30.0  # from cosines in [-1, 1] to logits


@dataclass(frozen=True)
class Loss:
    """A cross-entropy, or what becomes of it.

    Attributes:
        shift: Added to all logits, shape (C,).
        margins: Taken off the logit of the true class, shape (C,).
        weights: Of the classes, shape (C,).
        focus: Exponent γ of (1 − p)^γ, by which well classified cells count less; 0: none.
    """

    shift: Tensor | None = None
    margins: Tensor | None = None
    weights: Tensor | None = None
    focus: float = 0.0

    def __call__(self, logits: Tensor, targets: Tensor, parts: Tensor | None = None) -> Tensor:
        """The mean over a batch, weighted by class weights and parts.

        Args:
            logits: Shape (b, C).
            targets: int64, shape (b,).
            parts: How much each row counts, shape (b,), at least 0; None: all alike.
        """
        if self.shift is not None:
            logits = logits + self.shift.to(logits.device, logits.dtype)
        if self.margins is not None:
            margins = self.margins.to(logits.device, logits.dtype)[targets]
            logits = logits.scatter_add(1, targets[:, None], -margins[:, None])
        weights = None if self.weights is None else self.weights.to(logits.device, logits.dtype)
        if parts is None and not self.focus:
            return F.cross_entropy(logits, targets, weight=weights)
        each = F.cross_entropy(logits, targets, reduction="none")  # (b,)
        if self.focus:
            each = (1 - (-each).exp()).clamp(min=0) ** self.focus * each
        rows = torch.ones_like(each) if parts is None else parts.to(each.device, each.dtype)
        if weights is not None:
            rows = rows * weights[targets]
        return (rows * each).sum() / rows.sum().clamp(min=torch.finfo(rows.dtype).tiny)


def cross_entropy(counts: Tensor) -> Loss:
    """Plain cross-entropy, the mean over the batch; the counts do not matter."""
    return Loss()


def class_weights(counts: Tensor) -> Loss:
    """Cross-entropy in which each class weighs by its inverse frequency.

    w_y = N / (C n_y), scikit-learn's "balanced"; the weighted sum is divided by the weights' sum.

    Args:
        counts: Training cells per class, shape (C,). A class without any counts as one cell: it
            is no target, so its weight is never used.
    """
    return Loss(weights=counts.sum() / (len(counts) * counts.clamp(min=1).float()))


def effective_weights(counts: Tensor) -> Loss:
    """Cross-entropy in which each class weighs by the inverse of its effective number of cells.

    w_y = 1 / E(n_y) with E(n) = (1 − βⁿ) / (1 − β); the weighted sum is divided by the weights' sum.

    Args:
        counts: As for `class_weights`.

    Source:
        Cui et al., CVPR 2019, arXiv:1901.05555, proposition 1.
    """
    return Loss(weights=_by_effective_number(counts, EFFECTIVE_BETA))


def focal(counts: Tensor) -> Loss:
    """Cross-entropy times (1 − p)^γ, p being the probability of the true class, γ = 2; the mean over the
    batch. The counts do not matter.

    Source:
        Lin et al., ICCV 2017, arXiv:1708.02002, without its weight α.
    """
    return Loss(focus=FOCUS)


def balanced_softmax(counts: Tensor) -> Loss:
    """Cross-entropy of a softmax in which each class counts as often as it has cells.

    loss = −log (n_y exp f_y / Σ n_j exp f_j). The same function as `logit_adjustment`, since a softmax
    does not change when all logits move alike: trained alike, the two differ by rounding only.

    Args:
        counts: Training cells per class, shape (C,). A class without any counts as one cell.

    Source:
        Ren et al., NeurIPS 2020, arXiv:2007.10740; without its meta sampler.
    """
    return Loss(shift=counts.clamp(min=1).double().log())


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
    return Loss(shift=log_shares(counts))


def ldam(counts: Tensor) -> Loss:
    """Cross-entropy with a margin for the true class, wider for rarer classes.

    The margin in units of the cosine is Δ_y = 0.5 (n_min / n_y)^¼, and the logits are 30 times cosines
    between features and class weights (`classifiers.heads.CosineHead`), so 30 Δ_y is taken off.

    Args:
        counts: Training cells per class, shape (C,). A class without any is no target and sets no margin.

    Source:
        Cao et al., NeurIPS 2019, arXiv:1906.07413.
    """
    return Loss(margins=_margins(counts))


def ldam_weighted(counts: Tensor) -> Loss:
    """`ldam`, in which each class weighs as in `effective_weights`, with β = 0.9999: the deferred part of
    LDAM-DRW.
    """
    return Loss(margins=_margins(counts), weights=_by_effective_number(counts, DEFERRED_BETA))


def log_shares(counts: Tensor) -> Tensor:
    """log π: float64, shape (C,); a class without cells counts as one cell."""
    seen = counts.clamp(min=1).double()
    return (seen / seen.sum()).log()


def _by_effective_number(counts: Tensor, beta: float) -> Tensor:
    """Weights of the classes, shape (C,); their mean is 1."""
    effective = (1 - beta ** counts.clamp(min=1).double()) / (1 - beta)
    weights = 1 / effective
    return weights * (len(counts) / weights.sum())


def _margins(counts: Tensor) -> Tensor:
    present = counts > 0
    seen = torch.where(present, counts, counts[present].max()).double()
    return COSINE_SCALE * LARGEST_MARGIN * (seen[present].min() / seen) ** 0.25


LOSSES: dict[str, Callable[[Tensor], Loss]] = {
    "cross_entropy": cross_entropy,
    "class_weights": class_weights,
    "effective_weights": effective_weights,
    "focal": focal,
    "balanced_softmax": balanced_softmax,
    "logit_adjustment": logit_adjustment,
    "ldam": ldam,
    "ldam_weighted": ldam_weighted,
}
COUNTING_LOSSES = tuple(name for name in LOSSES if name not in ("cross_entropy", "focal"))  # by class counts
COSINE_LOSSES = ("ldam", "ldam_weighted")  # those whose logits must be cosines
