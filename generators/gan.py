"""Class-conditional GAN: relativistic loss, two gradient penalties, no normalization.

Two networks play: one makes images, the other scores how real they look. The score of a real image
counts relative to that of a made one of the same class, which keeps the game from dropping modes,
and penalties on the gradient of the score make it converge.

Source:
    Huang et al., "The GAN is dead; long live the GAN! A Modern GAN Baseline", arXiv:2501.05441
    ("R3GAN" below).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from cells.cellset import CellSet
from generators.adapting import CRITIC, begin, freeze, held_still, read_critic
from generators.adaptive import Transforms
from generators.augment import Symmetry, differentiable, posed, symmetry_of
from generators.class_watch import ClassWatch
from generators.descent import Descent
from generators.ema import Ema
from generators.fitted import NetworkGenerator
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
from generators.gan_settings import KIND, GanSettings, penalty_weight, sized
from generators.networks import Critic, ImageMaker
from generators.protocol import as_tensor, batches, check_request, noise, to_bytes
from generators.training import Trainer, balanced_indices, learning_rate, make_descent
from runtime.checkpoint import file_digest, save_tensors
from runtime.errors import InputError
from runtime.seeds import Draws, seed_of

__all__ = ["Gan", "GanSettings", "penalty_weight"]

TWINS = 256  # styles whose correlation is taken: they cost little, and a batch has too few


@dataclass
class Game:
    """Both networks at play: each `play` is a move of the critic and one of the maker.

    Every random draw of an image is a function of (seed, step, place in the batch).

    Attributes:
        spread: Least distance of two images of each class, shape (classes,).
        blur: Standard deviation of the noise on each class's embedding, shape (classes,).
    """

    settings: GanSettings
    seed: int
    maker: nn.Module
    critic: nn.Module
    maker_adam: torch.optim.Optimizer
    critic_adam: torch.optim.Optimizer
    spread: Tensor
    blur: Tensor
    symmetry: Symmetry
    transforms: Transforms
    descent: Descent

    def play(self, pixels: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        """Do step `number` on uint8 images (b, 3, h, w) and labels (b,); returns the losses."""
        for group in [*self.maker_adam.param_groups, *self.critic_adam.param_groups]:
            group["lr"] = learning_rate(number, self.settings)
        found = self._move_critic(pixels, labels, number)
        if self.transforms.target is not None:
            if "lead" in found:
                self.transforms.note(self.descent.total(found["lead"], len(labels)), len(labels), number)
            found["transforms"] = self.transforms.probability.float().clone()
        return {**found, **self._move_maker(pixels, labels, number)}

    def _move_critic(self, pixels: Tensor, labels: Tensor, number: int) -> dict[str, Tensor]:
        every = self.settings.penalty_every

        def loss_of(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
            draws = Draws(self.seed, "critic", number, batch=len(labels), part=part)
            own = labels[part]
            real = self._seen(pixels[part].float() / 127.5 - 1, draws)  # (b, 3, h, w)
            with torch.no_grad():
                made = self._seen(self._made(own, draws), draws)
            both, twice = torch.cat([real, made]), own.repeat(2)
            scores = self.critic(both, twice).float().chunk(2)
            loss = critic_loss(*scores)
            found = {"critic": loss, "lead": lead(*scores)}
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
            found = {"maker": loss, "alike": alike}
            whole = loss + self.settings.diversity * alike
            if self.settings.twins:
                found["twins"] = self._twins(number, labels.device)
                whole = whole + self.settings.twins * found["twins"]
            return whole, found

        with held_still(self.critic):
            return self.descent.down(self.maker_adam, self.maker, pairs, loss_of)

    def _made(self, labels: Tensor, draws: Draws) -> Tensor:
        """Images of some classes from new latents."""
        latent = draws.normal(self.settings.latent).to(labels.device)
        noise = self._noise(labels, draws) if self.settings.twins else None
        made: Tensor = self.maker(latent, labels, noise)
        return made.float()

    def _noise(self, labels: Tensor, draws: Draws) -> Tensor:
        return draws.normal(self.settings.latent).to(labels.device) * self.blur[labels, None]

    def _twins(self, number: int, device: torch.device) -> Tensor:
        """The loss of NoisyTwins on latents of its own: the same for every part of a batch."""
        draws = Draws(self.seed, "twins", number, batch=TWINS)
        labels = draws.integers(len(self.blur)).to(device)
        latent = draws.normal(self.settings.latent).to(device)
        maker = cast(ImageMaker, self.maker)
        with torch.autocast(device.type, enabled=False):
            styles = [maker.style(latent, labels, self._noise(labels, draws)) for _ in range(2)]
            return twins_loss(*styles)

    def _seen(self, images: Tensor, draws: Draws) -> Tensor:
        """Images as the critic sees them."""
        return differentiable(images, draws, self.transforms.now, self.symmetry)


def _transforms(settings: GanSettings) -> Transforms:
    """The probability of the transforms, as the settings ask for it."""
    if settings.transforms == "adaptive":
        climb = settings.transforms_climb
        return Transforms(0.0, settings.transforms_target, settings.transforms_cap, climb)
    return Transforms(settings.transforms)


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
        super().__init__(sized(settings, image_size), classes, image_size, seed)
        self._use(self._networks()[0])

    def _networks(self) -> tuple[ImageMaker, Critic]:
        """Both networks; their initial weights depend on the seed only."""
        settings, channels = self.settings, self.settings.channels
        assert channels is not None, "sized() set them"
        shape = (len(self.classes), self.image_size, channels)
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
        symmetry = self._symmetry()
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
        watch = ClassWatch(images, labels, self.classes, settings.steps)
        transforms = _transforms(settings)
        blur = embedding_noise(torch.bincount(labels), settings.twins_noise)
        game = Game(
            settings=settings,
            seed=self.seed,
            maker=maker,
            critic=critic,
            maker_adam=maker_adam,
            critic_adam=critic_adam,
            spread=class_spread(images, labels),
            blur=blur,
            symmetry=symmetry,
            transforms=transforms,
            descent=descent,
        )
        host_labels = labels.cpu()

        def step(number: int) -> dict[str, Tensor]:
            index = balanced_indices(host_labels, settings.batch, settings.balance, self.seed, number).to(
                images.device
            )
            losses = game.play(images[index], labels[index], number)
            ema.update(maker, number * settings.batch, settings.batch)
            if "maker" in losses:
                watch.note(losses["maker"])
            return losses

        modules = {"maker": maker, "critic": critic, "ema": self.network, "transforms": transforms}
        return Trainer(
            {**modules, "watch": watch},
            {"maker_adam": maker_adam, "critic_adam": critic_adam},
            step,
            descent,
            kept=("ema", "critic"),
            class_watch=watch,
        )

    def _symmetry(self) -> Symmetry:
        """The group of its training cells; none before a training."""
        if self.record is None:
            return "none"
        return symmetry_of(self.settings.augmentation, self.record.modality)

    @torch.no_grad()
    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw images; see `generators.protocol.Generator.sample`."""
        check_request(self, labels, seeds)
        size, device = self.settings.sampling_batch, next(self.network.parameters()).device
        drawn = [torch.zeros((0, 3, self.image_size, self.image_size), dtype=torch.uint8)]
        for part, own in batches(labels, seeds, size):
            latent = noise(own, (self.settings.latent,)).to(device)
            made = self.network(latent, part.to(device))  # (b, 3, h, w)
            drawn.append(to_bytes(posed(made, own, self._symmetry())))
        return torch.cat(drawn)
