"""Both samplers on a Gaussian, whose ideal denoiser and whose solution are known exactly."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from generators.edm import preconditioning
from generators.samplers import SamplingSettings, evaluations, noise_levels, scheduler_of, solve

DATA, MEAN, SPREAD = 0.5, 0.3, 0.2
both = pytest.mark.parametrize("sampler", ["dpm++", "heun"])
Sampler = Literal["dpm++", "heun"]


def _raw(scaled: Tensor, c_noise: Tensor, sigma: Tensor) -> Tensor:
    """The raw output that EDM equation 7 makes the posterior mean of the Gaussian of."""
    c_skip, c_out, c_in, _ = preconditioning(sigma, DATA)
    noisy = scaled / c_in
    ideal = MEAN + SPREAD**2 / (SPREAD**2 + sigma**2) * (noisy - MEAN)
    return (ideal - c_skip * noisy) / c_out


def _exact(start: Tensor, sigma_max: float) -> Tensor:
    """Where the probability-flow equation takes x = σ_max · start: distances to the mean shrink alike."""
    return MEAN + (start * sigma_max - MEAN) * SPREAD / (SPREAD**2 + sigma_max**2) ** 0.5


def _error(sampler: Sampler, steps: int) -> float:
    start = torch.randn((8, 3, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    settings = SamplingSettings(sampler=sampler, sampling_steps=steps, sigma_min=0.002)
    return float((solve(_raw, start, settings) - _exact(start, 40)).abs().max())


@both
def test_converges_to_the_exact_solution(sampler: Sampler) -> None:
    assert _error(sampler, 200) < 2e-3
    assert _error(sampler, 100) < 0.7 * _error(sampler, 25)


def test_heun_is_of_second_order() -> None:
    """Twice the steps leave about a quarter of the error; a first-order method would leave half."""
    assert _error("heun", 40) < 0.35 * _error("heun", 20)


@pytest.mark.parametrize(("sampler", "steps"), [("dpm++", 12), ("heun", 24)])
def test_few_steps_draw_the_right_distribution(sampler: Sampler, steps: int) -> None:
    start = torch.randn((64, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    images = solve(_raw, start, SamplingSettings(sampler=sampler, sampling_steps=steps))
    assert images.mean() == pytest.approx(MEAN, abs=0.01)
    assert images.std() == pytest.approx(SPREAD, abs=0.01)


def test_in_as_many_network_calls_dpm_solver_is_ahead() -> None:
    assert _error("dpm++", 23) < 0.5 * _error("heun", 12)  # 23 calls each


def test_noise_levels_are_those_of_diffusers() -> None:
    settings = SamplingSettings(sampling_steps=14)
    scheduler = scheduler_of(settings)
    scheduler.set_timesteps(14)
    assert torch.allclose(noise_levels(settings).float(), scheduler.sigmas, rtol=1e-4)
    assert noise_levels(settings)[[0, -2, -1]].tolist() == pytest.approx([40, 0.02, 0])


@pytest.mark.parametrize(("sampler", "plain"), [("dpm++", 14), ("heun", 27)])
def test_network_calls_are_counted(sampler: Sampler, plain: int) -> None:
    settings = SamplingSettings(sampler=sampler, guidance=1)
    assert evaluations(settings) == plain
    within = int(((noise_levels(settings) > 0.2) & (noise_levels(settings) <= 5)).sum())
    guided = evaluations(settings.model_copy(update={"guidance": 2.0}))
    assert guided == plain + within * (1 if sampler == "dpm++" else 2)
    everywhere = settings.model_copy(update={"guidance": 2.0, "guidance_interval": (0.0, 100.0)})
    assert evaluations(everywhere) == 2 * plain
