from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cells.cellset import CellSet
from generators.game_losses import (
    class_spread,
    critic_loss,
    diversity_loss,
    embedding_noise,
    gradient_penalty,
    lead,
    maker_loss,
    twins_loss,
)
from generators.gan import Gan, GanSettings, penalty_weight
from generators.networks import WIDTHS, Critic, ImageMaker, default_channels
from generators.protocol import as_tensor
from runtime.errors import InputError
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
    two = torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 255.0)]).byte()
    assert class_spread(two, torch.zeros(2, dtype=torch.int64)) == pytest.approx(2.0)  # none with itself
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


def test_lead_counts_the_pairs_that_the_critic_tells() -> None:
    real = torch.tensor([3.0, 1.0, 5.0, 2.0])
    assert lead(real, real - 1) == 1
    assert lead(real, real) == 0
    assert lead(real, torch.tensor([2.0, 0.0, 4.0, 9.0])) == 0.5
    assert lead(real + 7, real) == 1


def test_embedding_noise_is_less_for_larger_classes() -> None:
    noise = embedding_noise(torch.tensor([1, 20, 400, 100_000]), 0.5)
    assert noise[0] == pytest.approx(0.5)
    assert noise[1] == pytest.approx(0.5 * 0.01 / (1 - 0.99**20), rel=1e-4)
    assert noise[3] == pytest.approx(0.005, rel=1e-4)
    assert noise.tolist() == sorted(noise.tolist(), reverse=True)


def test_twins_loss_is_lowest_where_styles_are_kept_and_entries_independent() -> None:
    draws = torch.Generator().manual_seed(0)
    kept, other = (torch.randn(20_000, 6, generator=draws) for _ in range(2))
    assert twins_loss(kept, kept) == pytest.approx(0, abs=1e-3)
    assert twins_loss(kept, other) == pytest.approx(1, abs=0.05)  # nothing of a style is kept
    same = kept[:, :1].repeat(1, 6)
    assert twins_loss(same, same) == pytest.approx(0.05 * 5, abs=1e-3)  # every entry says the same
    assert twins_loss(kept, kept + 0.5 * other) < twins_loss(kept, kept + 2 * other)


def test_twins_loss_teaches_the_mapping_to_keep_the_latent() -> None:
    """Where the style is that of the class alone, the loss leads the latent back in."""
    torch.manual_seed(0)
    maker = ImageMaker(3, 8, (8, 16), 4, 1)
    with torch.no_grad():
        maker.mapping.weight[:, :4] *= 0.01
    adam = torch.optim.Adam(maker.mapping.parameters(), lr=1e-2)
    before = maker.mapping.weight[:, :4].norm().item()
    for _ in range(150):
        labels, latent = torch.randint(3, (64,)), torch.randn(64, 4)
        styles = [maker.style(latent, labels, torch.randn(64, 4)) for _ in range(2)]
        adam.zero_grad()
        twins_loss(*styles).backward()
        adam.step()
    assert maker.mapping.weight[:, :4].norm().item() > 10 * before


@pytest.mark.parametrize(
    ("size", "count"), [(8, 3), (28, 3), (32, 3), (36, 3), (64, 4), (96, 5), (128, 5), (224, 6), (256, 6)]
)
def test_channels_follow_the_image_size(size: int, count: int) -> None:
    channels = default_channels(size)
    assert channels is not None and len(channels) == count
    model = Gan(GanSettings(), ("a", "b"), size)
    assert model.settings.channels == channels
    assert sum(p.numel() for p in model.network.parameters()) < 5_000_000
    assert Gan(GanSettings(channels=(8, 16)), ("a", "b"), size).settings.channels == (8, 16)


@pytest.mark.parametrize(
    ("size", "message"), [(50, "divisible by 4"), (100, "to 32, 64, 128"), (512, "above 256")]
)
def test_sizes_that_do_not_fit_are_refused_with_one_that_does(size: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Gan(GanSettings(), ("a", "b"), size)


@pytest.mark.parametrize("size", [28, 32, 64, 128, 256])
def test_a_step_at_every_size(
    size: int, make_cells: Callable[..., CellSet], run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    depth = len(default_channels(size) or ())
    monkeypatch.setitem(WIDTHS, depth, (2,) * depth)
    monkeypatch.setattr("generators.class_watch.SAMPLES", 2)
    settings = GanSettings(steps=2, batch=2, latent=4, penalty_every=1, grid_columns=1, twins=1.0)
    cells = make_cells(size=size)
    model = Gan(settings, cells.classes, size).fit(cells, run)
    drawn = model.sample(torch.tensor([0, 2]), torch.tensor([1, 2]))
    assert drawn.shape == (2, 3, size, size) and drawn.float().std() > 1
