"""Class-conditional diffusion: EDM on diffusers' UNet.

The network is trained to remove Gaussian noise of any strength; an image is drawn by starting from
pure noise and solving the probability-flow equation down to none.

Source:
    Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models",
    arXiv:2206.00364 ("EDM" below).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from math import gcd
from typing import ClassVar, Literal, Self

import torch
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from cells.cellset import CellSet
from generators.adapting import freeze
from generators.augment import SYMMETRIES, Symmetry, symmetry_of
from generators.descent import Descent
from generators.fitted import NetworkGenerator
from generators.protocol import as_tensor, batches, check_request, noise, to_bytes
from generators.training import (
    Ema,
    Trainer,
    TrainingSettings,
    balanced_indices,
    check_size,
    learning_rate,
    make_accelerator,
)
from runtime.seeds import Draws, seed_of

KIND: Literal["diffusion"] = "diffusion"


class DiffusionSettings(TrainingSettings):
    """Settings of the diffusion model.

    Attributes:
        channels: Width of the UNet at each resolution, from the full one down.
        layers: Residual blocks per resolution.
        patch: Edge of the squares of pixels that the network sees as the channels of one position.
            2 is faster (benchmarks/patches.py) and loses the finest detail (arXiv:2207.04316).
        attention: Self-attention at the coarsest resolution.
        noise_mean: Mean of log σ in training (EDM table 1, P_mean, there
            -1.2: in a short training shapes matter more, and those form in stronger noise).
        noise_spread: Standard deviation of log σ in training (P_std).
        sigma_data: Standard deviation of the images in [-1, 1].
        sigma_min: Last noise level of sampling (EDM: 0.002; of few steps, more then fall where a cell
            takes shape).
        sigma_max: First noise level of sampling (EDM: 80).
        class_dropout: Share of training images shown without their class, for guidance.
        guidance: 1 for none; above 1 pushes images toward their class.
        guidance_interval: Noise levels σ at which guidance acts (arXiv:2404.07724).
        sampling_steps: Network calls per image (twice within the interval, with guidance).
        sampling_batch: Images drawn together.
        gradient_clip: Largest norm of the gradient.
    """

    kind: Literal["diffusion"] = KIND
    channels: tuple[int, ...] = (32, 64, 96)
    layers: int = Field(default=1, ge=1)
    patch: Literal[1, 2, 4] = 1
    attention: bool = True
    learning_rate: float = Field(default=1.5e-3, gt=0)
    noise_mean: float = -0.4
    noise_spread: float = Field(default=1.0, gt=0)
    sigma_data: float = Field(default=0.5, gt=0)
    sigma_min: float = Field(default=0.02, gt=0)
    sigma_max: float = Field(default=40.0, gt=0)
    class_dropout: float = Field(default=0.1, ge=0, lt=1)
    guidance: float = Field(default=1.5, ge=1)
    guidance_interval: tuple[float, float] = (0.2, 5.0)
    sampling_steps: int = Field(default=14, ge=2)
    sampling_batch: int = Field(default=64, ge=1)
    gradient_clip: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.channels) < 2 or any(width < 8 or width % 8 for width in self.channels):
            raise ValueError("channels must be two or more multiples of 8")
        if self.guidance > 1 and self.class_dropout == 0:
            raise ValueError("guidance above 1 needs class_dropout above 0")
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min must be below sigma_max")
        return self


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scalings around the network, so that its input and target have unit variance at every σ.

    Args:
        sigma: Noise levels, any shape, positive.
        sigma_data: Standard deviation of clean images.

    Returns:
        c_skip, c_out, c_in, c_noise, each of the shape of `sigma`.

    Source:
        EDM, table 1, last column.
    """
    total = (sigma**2 + sigma_data**2).sqrt()
    return sigma_data**2 / total**2, sigma * sigma_data / total, 1 / total, sigma.log() / 4


def denoise(network: nn.Module, noisy: Tensor, sigma: Tensor, labels: Tensor, sigma_data: float) -> Tensor:
    """The clean images that the network expects behind noisy ones: D(x; σ), EDM equation 7.

    Args:
        network: Maps (scaled images, c_noise, labels) to images.
        noisy: Shape (b, 3, h, w).
        sigma: Shape (b,).
        labels: int64, shape (b,); the number of classes stands for "any".
        sigma_data: Standard deviation of clean images.
    """
    c_skip, c_out, c_in, c_noise = preconditioning(sigma, sigma_data)
    c_skip, c_out, c_in = (c[:, None, None, None] for c in (c_skip, c_out, c_in))
    output = network(c_in * noisy, c_noise, class_labels=labels).sample.float()  # (b, 3, h, w)
    return c_skip * noisy + c_out * output


def denoising_loss(
    network: nn.Module,
    images: Tensor,
    sigma: Tensor,
    eps: Tensor,
    labels: Tensor,
    sigma_data: float,
) -> Tensor:
    """Mean weighted squared error of the denoiser: EDM equation 2 with λ(σ) of table 1.

    Args:
        network: See `denoise`.
        images: Clean, in [-1, 1], shape (b, 3, h, w).
        sigma: Shape (b,).
        eps: Standard normal, shape of `images`.
        labels: int64, shape (b,).
        sigma_data: Standard deviation of clean images.
    """
    noisy = images + sigma[:, None, None, None] * eps
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    error = (denoise(network, noisy, sigma, labels, sigma_data) - images) ** 2  # (b, 3, h, w)
    return (weight[:, None, None, None] * error).mean()


Output = Callable[[Tensor, Tensor, Tensor], Tensor]  # (scaled images, c_noise, σ) -> raw output


def solve(output: Output, start: Tensor, settings: DiffusionSettings) -> Tensor:
    """Take noise to images with DPM-Solver++ (2M) on EDM's noise levels.

    Args:
        output: The raw network output; the scheduler applies the preconditioning itself.
        start: Standard normal noise, shape (b, 3, h, w).
        settings: Noise levels and number of steps.

    Returns:
        Images near [-1, 1], shape of `start`.

    Source:
        Lu et al., arXiv:2211.01095, algorithm 2; levels: EDM equation 5.
    """
    scheduler = EDMDPMSolverMultistepScheduler(
        sigma_min=settings.sigma_min,
        sigma_max=settings.sigma_max,
        sigma_data=settings.sigma_data,
        solver_order=2,
    )
    scheduler.set_timesteps(settings.sampling_steps)
    images = start * scheduler.init_noise_sigma
    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas[:-1], strict=True):
        scaled = scheduler.scale_model_input(images, timestep)
        raw = output(scaled, timestep.to(images), sigma.to(images))  # (b, 3, h, w)
        images = scheduler.step(raw, timestep, images).prev_sample
    return images


class Diffusion(NetworkGenerator):
    """A conditional diffusion model; see `generators.protocol.Generator`.

    Args:
        settings: Network, training and sampling.
        classes: Class names.
        image_size: Edge in pixels, divisible by 4 and as often as the network halves it.
        seed: Of initialization and training.
    """

    kind: ClassVar[str] = KIND
    settings_type: ClassVar[type[DiffusionSettings]] = DiffusionSettings
    settings: DiffusionSettings
    class_table: ClassVar[str] = "class_embedding.weight"

    def __init__(
        self, settings: DiffusionSettings, classes: tuple[str, ...], image_size: int, seed: int = 0
    ) -> None:
        check_size(image_size, KIND, len(settings.channels) - 1 + settings.patch // 2)
        super().__init__(settings, classes, image_size, seed)
        self._use(_unet(settings, len(classes), image_size, seed))

    def _early_layers(self) -> tuple[str, ...]:
        """All that an image passes; the embeddings of noise level and class are always trained."""
        depth = range(len(self.settings.channels))
        down, up = ([f"{side}_blocks.{index}" for index in depth] for side in ("down", "up"))
        return ("conv_in", *down, "mid_block", *up, "conv_norm_out", "conv_out")

    def _trainer(self, cells: CellSet) -> Trainer:
        settings = self.settings
        accelerator = make_accelerator(settings.precision)
        symmetry = symmetry_of(settings.augmentation, cells.modality)
        images, labels = (column.to(accelerator.device) for column in as_tensor(cells))
        network = _unet(settings, len(self.classes), self.image_size, self.seed).train()
        self._begin(network)
        freeze(network, self._frozen)
        network.to(accelerator.device)
        self.network = deepcopy(network)
        ema = Ema(self.network, settings.ema_half_life)
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, settings.second_moment),
            weight_decay=0.01,
            fused=True,
        )
        descent = Descent(accelerator, settings.patience, settings.micro_batch)
        host_labels = labels.cpu()

        def step(number: int) -> dict[str, Tensor]:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(number, settings)
            index = balanced_indices(host_labels, settings.batch, settings.balance, self.seed, number)

            def loss_of(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
                own = index[part].to(images.device)
                draws = Draws(self.seed, "noise", number, batch=settings.batch, part=part)
                loss = self._loss(network, images[own], labels[own], draws, symmetry)
                return loss, {"loss": loss}

            losses = descent.down(optimizer, network, settings.batch, loss_of, settings.gradient_clip)
            ema.update(network, number * settings.batch, settings.batch)
            return losses

        return Trainer({"network": network, "ema": self.network}, {"optimizer": optimizer}, step, descent)

    def _loss(
        self, network: nn.Module, pixels: Tensor, labels: Tensor, draws: Draws, symmetry: Symmetry
    ) -> Tensor:
        """Loss of some uint8 images (b, 3, h, w)."""
        settings, device = self.settings, pixels.device
        turned = SYMMETRIES[symmetry](pixels.float() / 127.5 - 1, draws)  # (b, 3, h, w)
        # A permutation of the pixels: white noise stays white, and so all of EDM holds in patches.
        clean = pixel_unshuffle(turned, settings.patch)  # (b, 3 p², h / p, w / p)
        sigma = (draws.normal() * settings.noise_spread + settings.noise_mean).exp()  # (b,)
        eps = draws.normal(*clean.shape[1:]).to(device)
        hidden = draws.uniform() < settings.class_dropout
        shown = torch.where(hidden.to(device), len(self.classes), labels)
        return denoising_loss(network, clean, sigma.to(device), eps, shown, settings.sigma_data)

    @torch.no_grad()
    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw images; see `generators.protocol.Generator.sample`."""
        check_request(self, labels, seeds)
        shape = (3, self.image_size, self.image_size)
        settings, device = self.settings, next(self.network.parameters()).device
        drawn = [torch.zeros((0, *shape), dtype=torch.uint8)]
        for part, own in batches(labels, seeds, settings.sampling_batch):
            start = pixel_unshuffle(noise(own, shape).to(device), settings.patch)
            made = solve(self._guided(part.to(device)), start, settings)  # (b, 3 p², h / p, w / p)
            drawn.append(to_bytes(pixel_shuffle(made, settings.patch)))
        return torch.cat(drawn)

    def _guided(self, labels: Tensor) -> Output:
        """The network's output for these classes, pushed away from "any class" at middle noise.

        D is affine in the output with the same coefficients for both: guiding the output guides D.
        """
        low, high = self.settings.guidance_interval
        weight = self.settings.guidance
        anything = torch.full_like(labels, len(self.classes))

        def output(scaled: Tensor, c_noise: Tensor, sigma: Tensor) -> Tensor:
            own: Tensor = self.network(scaled, c_noise, class_labels=labels).sample  # (b, 3, h, w)
            if weight == 1 or not low < float(sigma) <= high:
                return own
            other: Tensor = self.network(scaled, c_noise, class_labels=anything).sample
            return other + weight * (own - other)

        return output


def _unet(settings: DiffusionSettings, classes: int, size: int, seed: int) -> UNet2DModel:
    """A UNet whose initial weights depend on the seed only."""
    depth = len(settings.channels)
    down, up = ["DownBlock2D"] * depth, ["UpBlock2D"] * depth
    if settings.attention:
        down[-1], up[0] = "AttnDownBlock2D", "AttnUpBlock2D"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "weights"))
        return UNet2DModel(
            sample_size=size // settings.patch,
            in_channels=3 * settings.patch**2,
            out_channels=3 * settings.patch**2,
            block_out_channels=settings.channels,
            layers_per_block=settings.layers,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            norm_num_groups=8,
            attention_head_dim=gcd(32, settings.channels[-1]),
            num_class_embeds=classes + 1,
            resnet_time_scale_shift="scale_shift",
        )
