"""Losses against values computed with NumPy and with torch's own options."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from classifiers.losses import LOSSES, class_weights, cross_entropy, logit_adjustment

COUNTS = torch.tensor([80, 15, 5])


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    logits = torch.randn(12, 3, generator=draws, dtype=torch.float64)
    return logits, torch.tensor([0, 1, 2] * 4)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_cross_entropy_is_the_mean_log_loss(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    by_hand = -log_softmax(logits.numpy())[np.arange(12), targets.numpy()].mean()
    assert float(cross_entropy(COUNTS)(logits, targets)) == pytest.approx(by_hand, rel=1e-12)


def test_class_weights_equal_sklearn_s_balanced_ones(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    labels = np.repeat([0, 1, 2], COUNTS.numpy())
    weights = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    expected = F.cross_entropy(logits, targets, weight=torch.from_numpy(weights))
    assert float(class_weights(COUNTS)(logits, targets)) == pytest.approx(float(expected))


def test_logit_adjustment_is_cross_entropy_of_shifted_logits(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    shifted = log_softmax(logits.numpy() + np.log(np.array([0.80, 0.15, 0.05])))
    by_hand = -shifted[np.arange(12), targets.numpy()].mean()
    assert float(logit_adjustment(COUNTS)(logits, targets)) == pytest.approx(by_hand, rel=1e-12)


def test_logit_adjustment_of_equal_counts_is_cross_entropy(batch: tuple[Tensor, Tensor]) -> None:
    equal = torch.tensor([7, 7, 7])
    assert float(logit_adjustment(equal)(*batch)) == pytest.approx(float(cross_entropy(equal)(*batch)))


@pytest.mark.parametrize("name", ["class_weights", "logit_adjustment"])
def test_a_rare_class_pulls_harder_than_under_plain_cross_entropy(name: str) -> None:
    pulls = {}
    for loss in ("cross_entropy", name):
        logits = torch.zeros(2, 3, requires_grad=True)
        LOSSES[loss](COUNTS)(logits, torch.tensor([0, 2])).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        pulls[loss] = float(-logits.grad[1, 2] / -logits.grad[0, 0])  # rare over common
    assert pulls[name] > 2 * pulls["cross_entropy"]


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_class_without_cells_leaves_loss_and_gradient_finite(name: str) -> None:
    logits = torch.randn(4, 3, requires_grad=True, generator=torch.Generator().manual_seed(0))
    loss = LOSSES[name](torch.tensor([10, 3, 0]))(logits, torch.tensor([0, 1, 0, 1]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    assert (logits.grad[:, 2] >= 0).all()  # descent never raises the absent class
