"""A public generator behind our two verbs: `denoising-diffusion-pytorch`, with guidance by class.

Its Trainer knows no classes, so this one steps as that one does by default (Adam, clipping, average
of the weights), on its own network and loss. It sees the batches and turned images that ours see.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cells.cellset import CellSet
from generators.augment import SYMMETRIES, symmetry_of
from generators.protocol import as_tensor
from generators.training import Trainer, TrainingSettings, balanced_indices, make_descent
from runtime.checkpoint import load_checkpoint, save_checkpoint
from runtime.devices import pick_device
from runtime.errors import InputError
from runtime.seeds import Draws, seed_of

WIDTH, WIDTHS = 64, (1, 2, 4)  # `dim` as in its documentation; three levels, since 28 halves but twice
RATE, BETAS, CLIP, BATCH = 1e-4, (0.9, 0.99), 1.0, 16  # its Trainer's defaults
AVERAGE, AVERAGED_EVERY = 0.995, 10
SAVED_EVERY = 50  # steps


class Peer:
    """The peer on one set of training cells.

    Args:
        train: Cells.
        seed: Of weights, batches, noise and samples.

    Raises:
        InputError: If it is not installed.
    """

    batch = BATCH

    def __init__(self, train: CellSet, seed: int) -> None:
        try:
            from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet
            from ema_pytorch import EMA
        except ImportError:
            raise InputError(
                "denoising-diffusion-pytorch is not installed; run 'uv sync --group peers'."
            ) from None
        self.train, self.seed, self.device = train, seed, pick_device()
        torch.manual_seed(seed_of(seed, "weights"))
        network = Unet(dim=WIDTH, dim_mults=WIDTHS, num_classes=len(train.classes), cond_drop_prob=0.5)
        self.diffusion = GaussianDiffusion(network, image_size=train.image_size, timesteps=1000)
        self.average = EMA(
            self.diffusion, beta=AVERAGE, update_every=AVERAGED_EVERY, include_online_model=False
        )
        self.diffusion.to(self.device)
        self.average.to(self.device)

    def fit(self, folder: Path, more: Callable[[], bool]) -> int:
        """Train from the newest checkpoint in a folder until there is no more time.

        Args:
            folder: Of checkpoints.
            more: Asked before each step.

        Returns:
            Steps done.
        """
        adam = torch.optim.Adam(self.diffusion.parameters(), lr=RATE, betas=BETAS)
        images, labels = (column.to(self.device) for column in as_tensor(self.train))
        turned = SYMMETRIES[symmetry_of("auto", self.train.modality)]

        def step(number: int) -> dict[str, Tensor]:
            index = balanced_indices(labels.cpu(), BATCH, TrainingSettings().balance, self.seed, number)
            own = index.to(self.device)
            draws = Draws(self.seed, "noise", number, batch=BATCH, part=slice(0, BATCH))
            clean = (turned(images[own].float() / 127.5 - 1, draws) + 1) / 2  # (b, 3, h, w) in [0, 1]
            torch.manual_seed(seed_of(self.seed, "step", number))
            loss = self.diffusion(clean, classes=labels[own])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.diffusion.parameters(), CLIP)
            adam.step()
            adam.zero_grad()
            self.average.update()
            return {"loss": loss.detach()}

        trainer = Trainer(
            {"network": self.diffusion, "ema": self.average},
            {"optimizer": adam},
            step,
            make_descent(TrainingSettings()),
        )
        found = load_checkpoint(folder)
        if found is not None:
            trainer.restore(found.tensors, folder)
        done = last = found.step if found else 0
        while more():
            trainer.step(done)
            done += 1
            if done % SAVED_EVERY == 0:
                last = done
                save_checkpoint(folder, done, trainer.tensors(), {})
        if done > last:
            save_checkpoint(folder, done, trainer.tensors(), {})
        return done

    @torch.no_grad()
    def draw(self, labels: Tensor, guidance: float, steps: int) -> np.ndarray:
        """Draw with DDIM, as its documentation does where time matters.

        Args:
            labels: int64, shape (n,).
            guidance: Its `cond_scale`.
            steps: Of DDIM.

        Returns:
            uint8, shape (n, h, w, 3).
        """
        from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion

        model: Any = self.average.ema_model
        sampler = GaussianDiffusion(
            model.model, image_size=model.image_size, timesteps=1000, sampling_timesteps=steps
        ).to(self.device)
        sampler.eval()
        torch.manual_seed(seed_of(self.seed, "sample"))
        parts = [
            sampler.sample(classes=part.to(self.device), cond_scale=guidance).cpu()
            for part in labels.split(64)
        ]
        pixels = (torch.cat(parts).clamp(0, 1) * 255).round().to(torch.uint8)
        return np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())
