"""From noise to images: the two solvers of EDM's probability-flow equation.

Both take the raw output of the network, since guidance is affine in it as it is in the denoised image.

Source:
    Karras et al., arXiv:2206.00364 ("EDM" below); Lu et al., arXiv:2211.01095 (DPM-Solver++).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from diffusers import EDMDPMSolverMultistepScheduler
from pydantic import Field
from torch import Tensor

from generators.edm import preconditioning
from runtime.config import Settings

Output = Callable[[Tensor, Tensor, Tensor], Tensor]  # (scaled images, c_noise, σ) -> raw output
RHO = 7  # EDM equation 5


class SamplingSettings(Settings):
    """How images are drawn.

    Attributes:
        sampler: `dpm++`: one network call at each noise level; `heun`: two, but one at the last. In
            as many calls the first is ahead; Heun's is EDM's own and needs no history.
        sampling_steps: Noise levels per image, so n network calls with `dpm++` and 2 n - 1 with
            `heun`; within the interval of guidance each is two (`evaluations` counts them).
        sigma_data: Standard deviation of the images in [-1, 1].
        sigma_min: Last noise level of sampling (EDM: 0.002; of few steps, more then fall where a cell
            takes shape).
        sigma_max: First noise level of sampling (EDM: 80).
        guidance: 1 for none; above 1 pushes images away from what `guide` would draw.
        guide: `class_free`: the network not told the class (classifier-free guidance); `snapshot`:
            the average of an earlier part of the training (autoguidance, arXiv:2406.02507).
        guidance_interval: Noise levels σ at which guidance acts (arXiv:2404.07724).
        sampling_batch: Images drawn together.
    """

    sampler: Literal["dpm++", "heun"] = "dpm++"
    sampling_steps: int = Field(default=14, ge=2)
    sigma_data: float = Field(default=0.5, gt=0)
    sigma_min: float = Field(default=0.02, gt=0)
    sigma_max: float = Field(default=40.0, gt=0)
    guidance: float = Field(default=1.5, ge=1)
    guide: Literal["class_free", "snapshot"] = "class_free"
    guidance_interval: tuple[float, float] = (0.2, 5.0)
    sampling_batch: int = Field(default=64, ge=1)

    def guided_at(self, sigma: float) -> bool:
        """Whether guidance acts at a noise level."""
        low, high = self.guidance_interval
        return self.guidance > 1 and low < sigma <= high


def solve(output: Output, start: Tensor, settings: SamplingSettings) -> Tensor:
    """Take noise to images with the sampler of the settings.

    Args:
        output: The raw network output; the sampler applies the preconditioning itself.
        start: Standard normal noise, shape (b, 3, h, w).
        settings: Sampler, noise levels and their number.

    Returns:
        Images near [-1, 1], shape of `start`.
    """
    return SAMPLERS[settings.sampler](output, start, settings)


def scheduler_of(settings: SamplingSettings) -> EDMDPMSolverMultistepScheduler:
    """diffusers' scheduler on the noise levels of the settings; it does not know their number."""
    return EDMDPMSolverMultistepScheduler(
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
        sigma_data=settings.sigma_data,
        solver_order=2,
    )


def dpm_solver(output: Output, start: Tensor, settings: SamplingSettings) -> Tensor:
    """DPM-Solver++ (2M) on EDM's noise levels; see `solve`.

    Source:
        Lu et al., arXiv:2211.01095, algorithm 2; levels: EDM equation 5.
    """
    scheduler = scheduler_of(settings)
    scheduler.set_timesteps(settings.sampling_steps)
    images = start * scheduler.init_noise_sigma
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        scaled = scheduler.scale_model_input(images, timestep)
        raw = output(scaled, timestep.to(images), sigma.to(images))  # (b, 3, h, w)
        images = scheduler.step(raw, timestep, images).prev_sample
    return images


def heun(output: Output, start: Tensor, settings: SamplingSettings) -> Tensor:
    """Heun's second-order method, without churn and so deterministic; see `solve`.

    Source:
        EDM, algorithm 1 (equal to algorithm 2 with S_churn = 0).
    """
    levels = noise_levels(settings).to(start)
    images = start * levels[0]
    for now, then in pairwise(levels):
        slope = (images - denoised(output, images, now, settings)) / now  # (b, 3, h, w)
        ahead = images + (then - now) * slope
        if then > 0:
            end = (ahead - denoised(output, ahead, then, settings)) / then
            ahead = images + (then - now) * 0.5 * (slope + end)
        images = ahead
    return images


def noise_levels(settings: SamplingSettings) -> Tensor:
    """Noise levels from `sigma_max` down to `sigma_min`, then 0: EDM equation 5.

    Returns:
        float64, shape (sampling_steps + 1,).
    """
    first, last = settings.sigma_max ** (1 / RHO), settings.sigma_min ** (1 / RHO)
    ramp = torch.linspace(0, 1, settings.sampling_steps, dtype=torch.float64)
    levels: Tensor = (first + ramp * (last - first)) ** RHO
    return torch.cat([levels, levels.new_zeros(1)])


def evaluations(settings: SamplingSettings) -> int:
    """Network calls that one image takes, guidance included."""
    count = 0

    def counting(scaled: Tensor, c_noise: Tensor, sigma: Tensor) -> Tensor:
        nonlocal count
        count += 2 if settings.guided_at(float(sigma)) else 1
        return scaled

    solve(counting, torch.zeros(1, 1, 1, 1), settings)
    return count


def denoised(output: Output, images: Tensor, sigma: Tensor, settings: SamplingSettings) -> Tensor:
    """D(x; σ) of the raw output, EDM equation 7; see `heun` for the shapes."""
    c_skip, c_out, c_in, c_noise = preconditioning(sigma, settings.sigma_data)
    return c_skip * images + c_out * output(c_in * images, c_noise, sigma)


SAMPLERS: dict[str, Callable[[Output, Tensor, SamplingSettings], Tensor]] = {
    "dpm++": dpm_solver,
    "heun": heun,
}
