"""Class-conditional diffusion: EDM on diffusers' UNet.

The network is trained to remove Gaussian noise of any strength; an image is drawn by starting from
pure noise and solving the probability-flow equation down to none. The loss is in `generators.edm`, the
solvers in `generators.samplers`.

Source:
    Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models",
    arXiv:2206.00364 ("EDM" below).
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from math import gcd
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from diffusers import UNet2DModel
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from cells.cellset import CellSet
from generators.adapting import freeze
from generators.augment import SYMMETRIES, Symmetry, symmetry_of
from generators.edm import denoising_loss
from generators.ema import Ema
from generators.export import copy_weights, read_snapshot, write_for_diffusers
from generators.fitted import NetworkGenerator
from generators.protocol import as_tensor, batches, check_request, noise, to_bytes
from generators.samplers import Output, SamplingSettings, solve
from generators.training import (
    Trainer,
    TrainingSettings,
    balanced_indices,
    check_size,
    compile_network,
    learning_rate,
    make_descent,
)
from generators.transforms import DescribedEmbedding, described, transformed
from runtime.checkpoint import fit_state
from runtime.seeds import Draws, seed_of

KIND: Literal["diffusion"] = "diffusion"


class DiffusionSettings(TrainingSettings, SamplingSettings):
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
        transforms: Probability of each transform (shift, scale, turn, brightness, contrast, saturation)
            of which the network is told, so that it does not draw what they did; 0: none. EDM has 0.12.
        class_dropout: Share of training images shown without their class, for guidance.
        class_balancing: Weight of CBDM's pull between classes (arXiv:2305.00562, τ); 0: none. A step
            then takes twice as long.
        snapshot_at: With `guide: snapshot`, the share of the training after which the guide is kept.
        gradient_clip: Largest norm of the gradient.
        compile: Train through torch.compile; a GPU only, worth its first minutes in long trainings.
    """

    # Not σ_data, which scales the loss, nor the other σ, which the exported scheduler holds, nor the guide.
    AFTER_TRAINING: ClassVar[frozenset[str]] = frozenset(
        ("sampler", "sampling_steps", "guidance", "guidance_interval", "sampling_batch")
    )

    kind: Literal["diffusion"] = KIND
    channels: tuple[int, ...] = (32, 64, 96)
    layers: int = Field(default=1, ge=1)
    patch: Literal[1, 2, 4] = 1
    attention: bool = True
    learning_rate: float = Field(default=1.5e-3, gt=0)
    noise_mean: float = -0.4
    noise_spread: float = Field(default=1.0, gt=0)
    transforms: float = Field(default=0.0, ge=0, lt=1)
    class_dropout: float = Field(default=0.1, ge=0, lt=1)
    class_balancing: float = Field(default=0.0, ge=0)
    snapshot_at: float = Field(default=0.25, gt=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)
    compile: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.channels) < 2 or any(width < 8 or width % 8 for width in self.channels):
            raise ValueError("channels must be two or more multiples of 8")
        if self.guidance > 1 and self.guide == "class_free" and self.class_dropout == 0:
            raise ValueError("guidance above 1 needs class_dropout above 0, or guide: snapshot")
        if self.sigma_min >= self.sigma_max:
            raise ValueError("sigma_min must be below sigma_max")
        return self


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
    network: UNet2DModel
    snapshot: UNet2DModel | None

    def __init__(
        self, settings: DiffusionSettings, classes: tuple[str, ...], image_size: int, seed: int = 0
    ) -> None:
        check_size(image_size, KIND, len(settings.channels) - 1 + settings.patch // 2)
        super().__init__(settings, classes, image_size, seed)
        self._use(_unet(settings, len(classes), image_size, seed))
        self._keep_snapshot()

    def _keep_snapshot(self) -> None:
        """Have a guide of its own for autoguidance: for the time being, the network as it is."""
        self.snapshot = deepcopy(self.network) if self.settings.guide == "snapshot" else None

    def _early_layers(self) -> tuple[str, ...]:
        """All that an image passes; the embeddings of noise level and class are always trained."""
        depth = range(len(self.settings.channels))
        down, up = ([f"{side}_blocks.{index}" for index in depth] for side in ("down", "up"))
        return ("conv_in", *down, "mid_block", *up, "conv_norm_out", "conv_out")

    def _trainer(self, cells: CellSet) -> Trainer:
        settings = self.settings
        descent = make_descent(settings)
        device = descent.accelerator.device
        symmetry = symmetry_of(settings.augmentation, cells.modality)
        images, labels = (column.to(device) for column in as_tensor(cells))
        network = _unet(settings, len(self.classes), self.image_size, self.seed).train()
        self._begin(network)
        freeze(network, self._frozen)
        if device.type == "cuda":  # on a CPU this network is slower so (docs/results/throughput.md)
            network.to(memory_format=torch.channels_last)
        network.to(device)
        self.network = deepcopy(network)
        ema = Ema(self.network, settings.ema_half_life)
        self._keep_snapshot()
        if settings.transforms:  # the average draws images, to which nothing is done
            network.class_embedding = DescribedEmbedding(network.class_embedding).to(device)
        if settings.compile:
            compile_network(network, device)
        optimizer = torch.optim.AdamW(
            network.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, settings.second_moment),
            weight_decay=0.01,
            fused=True,
        )
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
            if self.snapshot is not None and number < settings.snapshot_at * settings.steps:
                copy_weights(self.network, self.snapshot)
            return losses

        modules: dict[str, nn.Module] = {"network": network, "ema": self.network}
        if self.snapshot is not None:
            modules["snapshot"] = self.snapshot
        kept = tuple(name for name in modules if name != "network")
        return Trainer(modules, {"optimizer": optimizer}, step, descent, kept)

    def _loss(
        self, network: nn.Module, pixels: Tensor, labels: Tensor, draws: Draws, symmetry: Symmetry
    ) -> Tensor:
        """Loss of some uint8 images (b, 3, h, w)."""
        settings, device = self.settings, pixels.device
        turned = SYMMETRIES[symmetry](pixels.float() / 127.5 - 1, draws)  # (b, 3, h, w)
        done = None
        if settings.transforms:
            turned, done = transformed(turned, draws, settings.transforms, symmetry)
        # A permutation of the pixels: white noise stays white, and so all of EDM holds in patches.
        clean = pixel_unshuffle(turned, settings.patch)  # (b, 3 p², h / p, w / p)
        sigma = (draws.normal() * settings.noise_spread + settings.noise_mean).exp()  # (b,)
        eps = draws.normal(*clean.shape[1:]).to(device)
        hidden = (draws.uniform() < settings.class_dropout).to(device)
        shown = torch.where(hidden, len(self.classes), labels)
        rivals = None
        if settings.class_balancing:  # an image without a class has no rival class
            rivals = torch.where(hidden, shown, draws.integers(len(self.classes)).to(device))
        if done is not None:
            shown = described(shown, done)
            rivals = described(rivals, done) if rivals is not None else None
        return denoising_loss(
            network,
            clean,
            sigma.to(device),
            eps,
            shown,
            settings.sigma_data,
            rivals,
            settings.class_balancing,
        )

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
        """The network's output for these classes, pushed away from the guide's at middle noise.

        D is affine in the output with the same coefficients for both: guiding the output guides D.

        Source:
            Ho and Salimans, arXiv:2207.12598, equation 6, with the weight as in Karras et al.,
            arXiv:2406.02507, equation 3: 1 is no guidance.
        """
        settings = self.settings
        guide, told = self.snapshot, labels
        if guide is None:
            guide, told = self.network, torch.full_like(labels, len(self.classes))

        def output(scaled: Tensor, c_noise: Tensor, sigma: Tensor) -> Tensor:
            own: Tensor = self.network(scaled, c_noise, class_labels=labels).sample  # (b, 3, h, w)
            if not settings.guided_at(float(sigma)):
                return own
            other: Tensor = guide(scaled, c_noise, class_labels=told).sample
            return other + settings.guidance * (own - other)

        return output

    def _beside(self, folder: Path) -> Mapping[str, Any]:
        return write_for_diffusers(folder, self.network, self.snapshot, self.settings)

    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        super()._take(tensors, folder)
        self._keep_snapshot()
        if self.snapshot is not None:
            fit_state(self.snapshot, read_snapshot(folder), folder)


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
