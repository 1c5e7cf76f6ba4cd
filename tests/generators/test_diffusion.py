from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from cells.cellset import CellSet
from generators.diffusion import Diffusion, DiffusionSettings
from generators.edm import denoise, denoising_loss, preconditioning
from generators.samplers import solve
from runtime.errors import InputError
from runtime.rundir import RunDir

DATA = 0.5  # standard deviation assumed by the preconditioning
MEAN, SPREAD = 0.3, 0.2  # of the Gaussian whose ideal denoiser is known


def _ideal(noisy: Tensor, sigma: Tensor) -> Tensor:
    """Posterior mean of a Gaussian prior under Gaussian noise."""
    share = SPREAD**2 / (SPREAD**2 + sigma**2)
    return MEAN + share * (noisy - MEAN)


def _raw(scaled: Tensor, c_noise: Tensor, sigma: Tensor) -> Tensor:
    """The raw output with which EDM equation 7 gives the ideal denoiser."""
    c_skip, c_out, c_in, _ = preconditioning(sigma, DATA)
    noisy = scaled / c_in
    return (_ideal(noisy, sigma) - c_skip * noisy) / c_out


def _heun(start: Tensor, steps: int) -> Tensor:
    """EDM algorithm 1 without churn, written from the paper."""
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    top, bottom = 80 ** (1 / 7), 0.002 ** (1 / 7)
    levels = [*((top + ramp * (bottom - top)) ** 7), torch.tensor(0.0, dtype=torch.float64)]
    x = start.double() * levels[0]
    for now, then in pairwise(levels):
        slope = (x - _ideal(x, now)) / now
        ahead = x + (then - now) * slope
        if then > 0:
            ahead = x + (then - now) * 0.5 * (slope + (ahead - _ideal(ahead, then)) / then)
        x = ahead
    return x.float()


def test_preconditioning_has_the_values_of_the_paper() -> None:
    c_skip, c_out, c_in, c_noise = preconditioning(torch.tensor([0.5, 80.0]), 0.5)
    assert c_skip.tolist() == pytest.approx([0.5, 0.25 / 6400.25])
    assert c_out.tolist() == pytest.approx([0.5**2 / 0.5**0.5, 40 / 6400.25**0.5])
    assert c_in.tolist() == pytest.approx([2**0.5, 1 / 6400.25**0.5])
    assert c_noise.tolist() == pytest.approx([-0.173287, 1.095507], abs=1e-5)


def test_network_sees_unit_variance_and_its_target_has_it() -> None:
    clean = torch.randn(200_000) * DATA
    for level in (0.01, 0.5, 10.0):
        sigma = torch.tensor(level)
        c_skip, c_out, c_in, _ = preconditioning(sigma, DATA)
        noisy = clean + sigma * torch.randn(200_000)
        assert (c_in * noisy).std() == pytest.approx(1, abs=0.02)
        assert ((clean - c_skip * noisy) / c_out).std() == pytest.approx(1, abs=0.02)


def test_loss_of_a_silent_network_is_one_at_every_noise_level() -> None:
    """λ(σ) cancels c_out², so no level dominates at the start."""

    def silent(x: Tensor, c_noise: Tensor, class_labels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(sample=torch.zeros_like(x))

    clean, eps = torch.randn(256, 3, 8, 8) * DATA, torch.randn(256, 3, 8, 8)
    labels = torch.zeros(256, dtype=torch.int64)
    for level in (0.02, 0.5, 20.0):
        sigma = torch.full((256,), level)
        loss = denoising_loss(silent, clean, sigma, eps, labels, DATA)  # type: ignore[arg-type]
        assert loss == pytest.approx(1, abs=0.03)


def test_loss_of_a_perfect_network_is_zero() -> None:
    clean = torch.full((4, 3, 8, 8), 0.25)

    def perfect(scaled: Tensor, c_noise: Tensor, class_labels: Tensor) -> SimpleNamespace:
        sigma = (4 * c_noise).exp()[:, None, None, None]
        c_skip, c_out, c_in, _ = preconditioning(sigma, DATA)
        return SimpleNamespace(sample=(clean - c_skip * scaled / c_in) / c_out)

    sigma, labels = torch.tensor([0.1, 0.5, 1.0, 5.0]), torch.zeros(4, dtype=torch.int64)
    loss = denoising_loss(perfect, clean, sigma, torch.randn(4, 3, 8, 8), labels, DATA)  # type: ignore[arg-type]
    assert loss < 1e-6


def test_many_steps_agree_with_heun() -> None:
    start = torch.randn((16, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    ours = solve(_raw, start, DiffusionSettings(sampling_steps=200))
    assert (ours - _heun(start, 200)).abs().max() < 0.005


def test_few_steps_draw_the_right_distribution() -> None:
    start = torch.randn((64, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    settings = DiffusionSettings(sampling_steps=12)
    images = solve(_raw, start, settings)
    assert images.mean() == pytest.approx(MEAN, abs=0.01)
    assert images.std() == pytest.approx(SPREAD, abs=0.01)


def test_solver_preconditions_as_training_does(settings_of: dict, cells: CellSet) -> None:
    """One long Euler step from σ to 0 is the denoiser itself."""
    model = Diffusion(settings_of["diffusion"], cells.classes, 8)
    torch.nn.init.normal_(model.network.conv_out.weight)
    labels = torch.tensor([0, 1, 2])
    calls = []

    def output(scaled: Tensor, c_noise: Tensor, sigma: Tensor) -> Tensor:
        raw = model.network(scaled, c_noise, class_labels=labels).sample
        c_in = preconditioning(sigma, DATA)[2]
        expected = denoise(model.network, scaled / c_in, sigma.expand(3), labels, DATA)
        calls.append((float(sigma), float(c_noise), expected.detach()))
        return raw

    with torch.no_grad():
        images = solve(output, torch.randn(3, 3, 8, 8), DiffusionSettings(sampling_steps=2))
    sigma, c_noise, last = calls[-1]
    assert sigma == pytest.approx(0.02)
    assert c_noise == pytest.approx(torch.tensor(0.02).log().item() / 4)
    assert torch.allclose(images, last, atol=1e-4)


def test_guidance_acts_at_middle_noise_only(
    settings_of: dict, cells: CellSet, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Diffusion(settings_of["diffusion"], cells.classes, 8).fit(cells, run)
    torch.nn.init.normal_(plain.network.class_embedding.weight)
    calls: list[int] = []
    forward = type(plain.network).forward

    def counting(self, x, t, class_labels):  # type: ignore[no-untyped-def]
        calls.append(int(class_labels[0]))
        return forward(self, x, t, class_labels)

    monkeypatch.setattr(type(plain.network), "forward", counting)
    labels, seeds = torch.tensor([1, 1]), torch.tensor([4, 5])
    plain.settings = plain.settings.model_copy(update={"guidance": 1.0})
    one = plain.sample(labels, seeds)
    assert calls == [1] * 4
    calls.clear()
    plain.settings = plain.settings.model_copy(update={"guidance": 3.0, "guidance_interval": (0.1, 10.0)})
    guided = plain.sample(labels, seeds)
    assert calls.count(1) == 4
    assert 1 <= calls.count(3) <= 2  # class 3 of 3 stands for "any"; σ = 40, 11, 2, 0.02
    assert not torch.equal(guided, one)


def test_training_learns_the_brightness_of_classes(cells: CellSet, run: RunDir) -> None:
    settings = DiffusionSettings(
        channels=(16, 16),
        steps=120,
        batch=16,
        warmup=5,
        learning_rate=4e-3,
        grid_every=0,
        ema_half_life=200,
        sampling_steps=8,
        balance=1.0,
    )
    model = Diffusion(settings, cells.classes, 8, seed=1).fit(cells, run)
    labels = torch.arange(3).repeat_interleave(20)
    drawn = model.sample(labels, torch.arange(60)).float().mean(dim=(1, 2, 3)).reshape(3, 20).mean(1)
    pale, dark, rare = drawn.tolist()
    assert pale > rare + 20 > dark + 40


def test_patches_are_a_permutation_of_the_pixels(settings_of: dict, cells: CellSet) -> None:
    """A silent network leaves of an image what its noise alone makes, in patches or not."""
    drawn = []
    for patch in (1, 2, 4):
        settings = settings_of["diffusion"].model_copy(update={"patch": patch, "guidance": 1.0})
        model = Diffusion(settings, cells.classes, 8)
        assert model.network.config["in_channels"] == 3 * patch**2
        torch.nn.init.zeros_(model.network.conv_out.weight)
        torch.nn.init.zeros_(model.network.conv_out.bias)
        drawn.append(model.sample(torch.tensor([0, 1]), torch.tensor([4, 5])))
    assert drawn[0].float().std() > 1
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


def test_patches_learn_as_pixels_do(settings_of: dict, cells: CellSet, run: RunDir) -> None:
    settings = settings_of["diffusion"].model_copy(
        update={"patch": 2, "channels": (16, 16), "steps": 80, "batch": 16, "learning_rate": 4e-3}
    )
    model = Diffusion(settings, cells.classes, 8, seed=1).fit(cells, run)
    drawn = model.sample(torch.tensor([0] * 20 + [1] * 20), torch.arange(40)).float().mean(dim=(1, 2, 3))
    assert drawn[:20].mean() > drawn[20:].mean() + 20


def test_size_must_fit_the_patches(settings_of: dict, cells: CellSet) -> None:
    settings = settings_of["diffusion"].model_copy(update={"patch": 4})
    with pytest.raises(InputError, match="divisible by 8"):
        Diffusion(settings, cells.classes, 12)
