"""Class-conditional GAN: relativistic loss, two gradient penalties, no normalization.

Two networks play: one makes images, the other scores how real they look. The score of a real image
counts relative to that of a made one of the same class, which keeps the game from dropping modes,
and penalties on the gradient of the score make it converge.

Source:
    Huang et al., "The GAN is dead; long live the GAN! A Modern GAN Baseline", arXiv:2501.05441
    ("R3GAN" below).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from cells.cellset import CellSet
from generators.adapting import CRITIC, begin, freeze, held_still, read_critic
from generators.augment import LEAK_LIMIT, Symmetry, differentiable, symmetry_of
from generators.descent import Descent
from generators.fitted import NetworkGenerator
from generators.networks import Critic, ImageMaker
from generators.protocol import as_tensor, batches, check_request, noise, to_bytes
from generators.training import (
    Ema,
    Trainer,
    TrainingSettings,
    balanced_indices,
    check_size,
    learning_rate,
    make_descent,
)
from runtime.checkpoint import file_digest, save_tensors
from runtime.errors import InputError
from runtime.seeds import Draws, seed_of, torch_generator

KIND: Literal["gan"] = "gan"


class GanSettings(TrainingSettings):
    """Settings of the GAN.

    Attributes:
        channels: Width of both networks at each resolution, from the full one down.
        layers: Residual blocks per resolution.
        latent: Size of the latent and of the class embedding.
        penalty: Weight γ of both gradient penalties at the start.
        final_penalty: γ at the end; lowered along a cosine (R3GAN lowers it tenfold).
        penalty_every: Steps between penalties, each then counted that many times.
        diversity: Weight of the loss that keeps a class as varied as its training cells; 0: off.
        transforms: Probability of each non-leaking transform in front of the critic.
        sampling_batch: Images drawn together.
    """

    kind: Literal["gan"] = KIND
    steps: int = Field(default=4000, ge=1)
    learning_rate: float = Field(default=8e-4, gt=0)
    channels: tuple[int, ...] = (16, 48, 96)
    layers: int = Field(default=1, ge=1)
    latent: int = Field(default=64, ge=1)
    penalty: float = Field(default=1.0, gt=0)
    final_penalty: float = Field(default=0.2, gt=0)
    penalty_every: int = Field(default=4, ge=1)
    diversity: float = Field(default=0.4, ge=0)
    transforms: float = Field(default=0.3, ge=0, lt=LEAK_LIMIT)
    sampling_batch: int = Field(default=64, ge=1)

    @field_validator("channels")
    @classmethod
    def _deep(cls, channels: tuple[int, ...]) -> tuple[int, ...]:
        if len(channels) < 2 or min(channels) < 1:
            raise ValueError("channels must be two or more positive widths")
        return channels


def maker_loss(real: Tensor, made: Tensor) -> Tensor:
    """Loss of the network that makes images: R3GAN equation 2, f(t) = -softplus(-t), descended.

    Args:
        real: Scores of real images, shape (b,).
        made: Scores of made images of the same classes, shape (b,).
    """
    return functional.softplus(real - made).mean()


def critic_loss(real: Tensor, made: Tensor) -> Tensor:
    """Loss of the critic: the same game from the other side. Shapes (b,)."""
    return functional.softplus(made - real).mean()


def gradient_penalty(critic: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean squared norm of the score's gradient: R1 on real images, R2 on made ones.

    Args:
        critic: Maps (images, labels) to scores.
        images: Shape (b, 3, h, w); treated as constants.
        labels: int64, shape (b,).

    Source:
        R3GAN, equations 3 and 4 (γ/2 is applied by the caller).
    """
    images = images.detach().requires_grad_(True)
    scores = critic(images, labels)
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def penalty_weight(step: int, settings: GanSettings) -> float:
    """γ at a step: from the first value to the last along a cosine."""
    left = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.final_penalty + left * (settings.penalty - settings.final_penalty)


def pooled(images: Tensor) -> Tensor:
    """A 4×4-averaged copy: form and color of a cell without its noise. Shape (b, 3, h/4, w/4)."""
    return functional.avg_pool2d(images, 4)


def class_spread(images: Tensor, labels: Tensor, pairs: int = 256) -> Tensor:
    """Distance that three in four pairs of training cells of a class exceed.

    The distance is the mean absolute difference of pooled images.

    Args:
        images: uint8, shape (n, 3, h, w).
        labels: int64, shape (n,), every class present.
        pairs: Random pairs per class.

    Returns:
        Shape (classes,), in units of [-1, 1] images, above zero.
    """
    spread = []
    for label in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == label).flatten().cpu()
        chosen = torch.randint(len(members), (2, pairs), generator=torch_generator("spread", label))
        one, other = (pooled(images[members[rows]].float() / 127.5 - 1) for rows in chosen)
        apart = (one - other).abs().mean(dim=(1, 2, 3))
        spread.append(apart.quantile(0.25))
    return torch.stack(spread).clamp_min(1e-3)


def diversity_loss(one: Tensor, other: Tensor, spread: Tensor) -> Tensor:
    """How much more alike two made images of a class are than two training cells of it.

    Args:
        one: Made images, shape (b, 3, h, w).
        other: Images of the same classes from other latents.
        spread: Least distance of each pair, shape (b,), from `class_spread`.

    Returns:
        0 where pairs differ as most training cells do, 1 where they are the same.

    Source:
        After mode seeking (Mao et al., arXiv:1903.05628), bounded by the training cells' own
        spread, so that it has no say once that is reached.
    """
    distance = (pooled(one) - pooled(other)).abs().mean(dim=(1, 2, 3))
    return functional.relu(1 - distance / spread).mean()


@dataclass
class Game:
    """Both networks at play: each `play` is a move of the critic and one of the maker.

    Every random draw of an image is a function of (seed, step, place in the batch).
    """

    settings: GanSettings
    seed: int
    maker: nn.Module
    critic: nn.Module
    maker_adam: torch.optim.Optimizer
    critic_adam: torch.optim.Optimizer
    spread: Tensor
    symmetry: Symmetry
    descent: Descent

    def play(self, pixels: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        """Do step `number` on uint8 images (b, 3, h, w) and labels (b,); returns the losses."""
        for group in [*self.maker_adam.param_groups, *self.critic_adam.param_groups]:
            group["lr"] = learning_rate(number, self.settings)
        return {**self._move_critic(pixels, labels, number), **self._move_maker(pixels, labels, number)}

    def _move_critic(self, pixels: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        every = self.settings.penalty_every

        def loss_of(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            draws = Draws(self.seed, "critic", number, batch=len(labels), part=part)
            own = labels[part]
            real = self._seen(pixels[part].float() / 127.5 - 1, draws)  # (b, 3, h, w)
            with torch.no_grad():
                made = self._seen(self._made(own, draws), draws)
            both, twice = torch.cat([real, made]), own.repeat(2)
            loss = critic_loss(*self.critic(both, twice).float().chunk(2))
            found = {"critic": loss}
            if number % every == 0:
                # The mean over both halves times γ is γ/2 · R1 + γ/2 · R2.
                with torch.autocast(both.device.type, enabled=False):
                    penalty = gradient_penalty(self.critic, both, twice)
                loss = loss + penalty_weight(number, self.settings) * every * penalty
                found["penalty"] = penalty
            return loss, found

        return self.descent.down(self.critic_adam, self.critic, len(labels), loss_of)

    def _move_maker(self, pixels: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        # Two images of each class, so that pairs differ in the latent only.
        pairs = len(labels) // 2

        def loss_of(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            draws = Draws(self.seed, "maker", number, batch=pairs, part=part)
            own = labels[:pairs][part]
            one, other = self._made(own, draws), self._made(own, draws)  # (b, 3, h, w)
            real = self._seen(pixels[:pairs][part].float() / 127.5 - 1, draws)
            with torch.no_grad():
                reference = self.critic(real, own).float()
            scores = [self.critic(self._seen(made, draws), own).float() for made in (one, other)]
            loss = maker_loss(reference.repeat(2), torch.cat(scores))
            alike = diversity_loss(one, other, self.spread[own])
            return loss + self.settings.diversity * alike, {"maker": loss, "alike": alike}

        with held_still(self.critic):
            return self.descent.down(self.maker_adam, self.maker, pairs, loss_of)

    def _made(self, labels: Tensor, draws: Draws) -> Tensor:
        """Images of some classes from new latents."""
        latent = draws.normal(self.settings.latent).to(labels.device)
        made: Tensor = self.maker(latent, labels)
        return made.float()

    def _seen(self, images: Tensor, draws: Draws) -> Tensor:
        """Images as the critic sees them."""
        return differentiable(images, draws, self.settings.transforms, self.symmetry)


class Gan(NetworkGenerator):
    """A conditional GAN; see `generators.protocol.Generator`.

    Args:
        settings: Networks, training and sampling.
        classes: Class names.
        image_size: Edge in pixels, divisible by 4.
        seed: Of initialization and training.
    """

    kind: ClassVar[str] = KIND
    settings_type: ClassVar[type[GanSettings]] = GanSettings
    settings: GanSettings
    class_table: ClassVar[str] = "embedding.weight"
    _critic: Mapping[str, Tensor] | None = None

    def __init__(
        self, settings: GanSettings, classes: tuple[str, ...], image_size: int, seed: int = 0
    ) -> None:
        check_size(image_size, KIND, len(settings.channels) - 1)
        super().__init__(settings, classes, image_size, seed)
        self._use(self._networks()[0])

    def _networks(self) -> tuple[ImageMaker, Critic]:
        """Both networks; their initial weights depend on the seed only."""
        shape, settings = (
            (len(self.classes), self.image_size, self.settings.channels),
            self.settings,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, "weights"))
            return ImageMaker(*shape, settings.latent, settings.layers), Critic(*shape, settings.layers)

    def _early_layers(self) -> tuple[str, ...]:
        return self._networks()[1].layers()

    def _begin_both(self, maker: ImageMaker, critic: Critic) -> None:
        """Let both networks start from a saved model, if there is one; early layers are the critic's.

        Raises:
            InputError: If layers of a critic are to be frozen that was not saved.
        """
        self._begin(maker)
        if self._start is None:
            return
        saved = read_critic(self._start.folder)
        if saved is not None:
            begin(critic, saved, self.class_table, self._start)
        elif self._frozen:
            raise InputError(
                f"start_from={self._start.folder}: has no {CRITIC}, so there are no early layers to "
                "freeze; set generator.freeze=0, which trains a critic anew."
            )
        else:
            print(f"{self._start.folder}: has no {CRITIC}; a critic is trained anew", file=sys.stderr)
        freeze(critic, self._frozen)

    def _beside(self, folder: Path) -> Mapping[str, Any]:
        """The critic, which only a further training needs: the folder draws without it."""
        if self._critic is None:
            return {}
        save_tensors(folder / CRITIC, self._critic)
        return {"critic_sha256": file_digest(folder / CRITIC)}

    def _restore(self, folder: Path) -> None:
        super()._restore(folder)
        self._critic = read_critic(folder)

    def _trainer(self, cells: CellSet) -> Trainer:
        settings = self.settings
        descent = make_descent(settings)
        device = descent.accelerator.device
        symmetry = symmetry_of(settings.augmentation, cells.modality)
        images, labels = (column.to(device) for column in as_tensor(cells))
        maker, critic = self._networks()
        self._begin_both(maker, critic)
        # Channels last: a little faster on a CPU (docs/results/throughput.md), much on a GPU.
        for network in (maker, critic):
            network.to(device).to(memory_format=torch.channels_last)
        self.network = deepcopy(maker)
        self._critic = critic.state_dict()  # as it will be at the end, not a copy
        ema = Ema(self.network, settings.ema_half_life)
        betas = (0.0, settings.second_moment)
        maker_adam, critic_adam = (
            torch.optim.Adam(network.parameters(), lr=settings.learning_rate, betas=betas, fused=True)
            for network in (maker, critic)
        )
        spread = class_spread(images, labels)
        game = Game(settings, self.seed, maker, critic, maker_adam, critic_adam, spread, symmetry, descent)
        host_labels = labels.cpu()

        def step(number: int) -> dict[str, Tensor]:
            index = balanced_indices(host_labels, settings.batch, settings.balance, self.seed, number).to(
                images.device
            )
            losses = game.play(images[index], labels[index], number)
            ema.update(maker, number * settings.batch, settings.batch)
            return losses

        modules = {"maker": maker, "critic": critic, "ema": self.network}
        adams = {"maker_adam": maker_adam, "critic_adam": critic_adam}
        return Trainer(modules, adams, step, descent, kept=("ema", "critic"))

    @torch.no_grad()
    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw images; see `generators.protocol.Generator.sample`."""
        check_request(self, labels, seeds)
        size, device = self.settings.sampling_batch, next(self.network.parameters()).device
        drawn = [torch.zeros((0, 3, self.image_size, self.image_size), dtype=torch.uint8)]
        for part, own in batches(labels, seeds, size):
            latent = noise(own, (self.settings.latent,)).to(device)
            drawn.append(to_bytes(self.network(latent, part.to(device))))  # (b, 3, h, w)
        return torch.cat(drawn)
