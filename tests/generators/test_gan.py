import pytest
import torch
from torch import Tensor, nn

from cells.cellset import CellSet
from generators.gan import (
    Gan,
    GanSettings,
    class_spread,
    critic_loss,
    diversity_loss,
    gradient_penalty,
    maker_loss,
    penalty_weight,
)
from generators.networks import Critic, ImageMaker
from generators.protocol import as_tensor
from runtime.rundir import RunDir


def test_losses_are_mirror_images_and_log_two_at_a_draw() -> None:
    real, made = torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0])
    assert maker_loss(real, made) == pytest.approx(0.693147)
    assert critic_loss(real, made) == pytest.approx(0.693147)
    real, made = torch.randn(9), torch.randn(9)
    assert maker_loss(real, made) == critic_loss(made, real)
    assert critic_loss(made + 3, made) < critic_loss(made, made) < critic_loss(made - 3, made)


def test_loss_depends_on_differences_only() -> None:
    real, made = torch.randn(9), torch.randn(9)
    assert critic_loss(real + 5, made + 5) == pytest.approx(critic_loss(real, made).item(), rel=1e-5)


def test_penalty_of_a_linear_critic_is_its_squared_norm() -> None:
    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4, 4))

        def forward(self, images: Tensor, labels: Tensor) -> Tensor:
            return (images * self.weight).sum(dim=(1, 2, 3))

    critic = Linear()
    penalty = gradient_penalty(critic, torch.randn(5, 3, 4, 4), torch.zeros(5, dtype=torch.int64))
    assert penalty.item() == pytest.approx(critic.weight.square().sum().item(), rel=1e-5)
    penalty.backward()
    assert torch.allclose(critic.weight.grad, 2 * critic.weight, rtol=1e-4)


def test_penalty_weight_falls_from_first_to_last() -> None:
    settings = GanSettings(steps=100, penalty=1.0, final_penalty=0.1)
    weights = [penalty_weight(step, settings) for step in range(101)]
    assert weights[0] == pytest.approx(1.0)
    assert weights[-1] == pytest.approx(0.1)
    assert weights == sorted(weights, reverse=True)


def test_diversity_loss_vanishes_at_the_spread_of_the_training_cells(cells: CellSet) -> None:
    images, labels = as_tensor(cells)
    spread = class_spread(images, labels)
    assert spread.shape == (3,)
    assert (spread > 0).all()
    one = torch.zeros(4, 3, 8, 8)
    assert diversity_loss(one, one, torch.ones(4)) == 1
    assert diversity_loss(one, one + 0.25, torch.ones(4)) == pytest.approx(0.75)
    assert diversity_loss(one, one + 2, torch.ones(4)) == 0
    assert class_spread(images[:1].repeat(6, 1, 1, 1), labels[:1].repeat(6)) == pytest.approx(1e-3)


@pytest.mark.parametrize("size", [8, 28, 32])
def test_networks_make_and_judge_every_size(size: int) -> None:
    maker, critic = ImageMaker(3, size, (8, 12, 16), 5, 1), Critic(3, size, (8, 12, 16), 1)
    labels = torch.tensor([0, 2])
    images = maker(torch.randn(2, 5), labels)
    assert images.shape == (2, 3, size, size)
    assert critic(images, labels).shape == (2,)


def test_networks_have_no_normalization_and_residuals_start_as_identity() -> None:
    maker, critic = ImageMaker(3, 8, (8, 16), 5, 2), Critic(3, 8, (8, 16), 2)
    for network in (maker, critic):
        assert not any("Norm" in type(module).__name__ for module in network.modules())
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(critic.stages[0](x), x)


def test_critic_is_conditional() -> None:
    critic = Critic(2, 8, (8, 16), 1)
    images = torch.randn(3, 3, 8, 8)
    zeros = torch.zeros(3, dtype=torch.int64)
    assert not torch.allclose(critic(images, zeros), critic(images, zeros + 1))


def test_training_learns_the_brightness_of_classes(cells: CellSet, run: RunDir) -> None:
    settings = GanSettings(
        channels=(8, 16),
        steps=250,
        batch=16,
        warmup=5,
        learning_rate=3e-3,
        grid_every=0,
        ema_half_life=200,
        balance=1.0,
        latent=8,
        transforms=0.1,
    )
    model = Gan(settings, cells.classes, 8, seed=1).fit(cells, run)
    labels = torch.arange(3).repeat_interleave(20)
    drawn = model.sample(labels, torch.arange(60)).float().mean(dim=(1, 2, 3)).reshape(3, 20).mean(1)
    pale, dark, rare = drawn.tolist()
    assert pale > rare + 15 > dark + 30
