"""Losses against values computed with NumPy and with torch's own options."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from classifiers.losses import (
    LOSSES,
    balanced_softmax,
    class_weights,
    cross_entropy,
    effective_weights,
    focal,
    ldam,
    ldam_weighted,
    logit_adjustment,
)

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


def test_effective_weights_count_each_further_cell_for_less(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    worth = np.array([sum(0.999**k for k in range(n)) for n in (80, 15, 5)])  # the same, as a sum
    each = -log_softmax(logits.numpy())[np.arange(12), targets.numpy()]
    weights = (1 / worth)[targets.numpy()]
    expected = (weights * each).sum() / weights.sum()
    assert float(effective_weights(COUNTS)(logits, targets)) == pytest.approx(expected, rel=1e-9)


def test_focal_is_cross_entropy_less_of_what_is_known(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    right = np.exp(log_softmax(logits.numpy())[np.arange(12), targets.numpy()])
    expected = (-((1 - right) ** 2) * np.log(right)).mean()
    assert float(focal(COUNTS)(logits, targets)) == pytest.approx(expected, rel=1e-9)


def test_balanced_softmax_weighs_by_counts_and_is_logit_adjustment(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    weighted = np.array([80, 15, 5]) * np.exp(logits.numpy())
    shares = weighted[np.arange(12), targets.numpy()] / weighted.sum(axis=1)
    loss = float(balanced_softmax(COUNTS)(logits, targets))
    assert loss == pytest.approx(-np.log(shares).mean(), rel=1e-9)
    assert loss == pytest.approx(float(logit_adjustment(COUNTS)(logits, targets)), rel=1e-9)


def ldam_by_hand(logits: Tensor, targets: Tensor) -> NDArray[np.float64]:
    margins = 0.5 * np.array([80, 15, 5]) ** -0.25 / 5**-0.25
    shifted = logits.numpy().copy()
    shifted[np.arange(12), targets.numpy()] -= 30 * margins[targets.numpy()]
    losses: NDArray[np.float64] = -log_softmax(shifted)[np.arange(12), targets.numpy()]
    return losses


def test_ldam_takes_a_margin_off_the_true_class(batch: tuple[Tensor, Tensor]) -> None:
    expected = ldam_by_hand(*batch)
    assert float(ldam(COUNTS)(*batch)) == pytest.approx(expected.mean(), rel=1e-9)
    worth = np.array([sum(0.9999**k for k in range(n)) for n in (80, 15, 5)])
    weights = (1 / worth)[batch[1].numpy()]
    deferred = (weights * expected).sum() / weights.sum()
    assert float(ldam_weighted(COUNTS)(*batch)) == pytest.approx(deferred, rel=1e-9)


@pytest.mark.parametrize("name", list(LOSSES))
def test_a_part_of_two_is_as_good_as_a_row_twice(name: str, batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    loss, ones = LOSSES[name](COUNTS), torch.ones(12)
    assert float(loss(logits, targets, ones)) == pytest.approx(float(loss(logits, targets)))
    parts = torch.cat([torch.tensor([2.0, 0.0]), ones[2:]])
    rows = [0, 0, *range(2, 12)]
    assert float(loss(logits, targets, parts)) == pytest.approx(float(loss(logits[rows], targets[rows])))
    assert float(loss(logits, targets, 0 * ones)) == 0


@pytest.mark.parametrize(
    "name", ["class_weights", "effective_weights", "logit_adjustment", "balanced_softmax"]
)
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
