"""A diffusion model as diffusers itself saves one, beside rarecell's own files.

`unet/` and `scheduler/` open with diffusers' `from_pretrained`. The weights in `unet/` are the file
weights.safetensors under a second name, so they take no room twice.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file
from torch import Tensor

from generators.samplers import SamplingSettings, scheduler_of
from runtime.checkpoint import WEIGHTS, file_digest
from runtime.errors import InputError
from runtime.rundir import read_json, writing

UNET, SCHEDULER, SNAPSHOT = "unet", "scheduler", "snapshot"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
SNAPSHOT_DIGEST = "snapshot_sha256"  # its key in config.json


def write_for_diffusers(
    folder: Path, network: UNet2DModel, snapshot: UNet2DModel | None, settings: SamplingSettings
) -> dict[str, Any]:
    """Write `unet/`, `scheduler/` and, where there is one, `snapshot/`.

    Args:
        folder: Holds weights.safetensors already, the weights of `network`.
        network: Gives the config of `unet/`.
        snapshot: The guide of autoguidance, of the same config.
        settings: Noise levels of the scheduler.

    Returns:
        What config.json says of these files.
    """
    network.save_config(folder / UNET)
    _link(folder / WEIGHTS, folder / UNET / DIFFUSERS_WEIGHTS)
    scheduler_of(settings).save_pretrained(folder / SCHEDULER)
    if snapshot is None:
        return {}
    snapshot.save_pretrained(folder / SNAPSHOT)
    return {SNAPSHOT_DIGEST: file_digest(folder / SNAPSHOT / DIFFUSERS_WEIGHTS)}


def read_snapshot(folder: Path) -> dict[str, Tensor]:
    """The weights of a saved snapshot.

    Raises:
        InputError: If the file is missing or not the one that config.json names.
    """
    weights = folder / SNAPSHOT / DIFFUSERS_WEIGHTS
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; copy it there, or train the model again.")
    if file_digest(weights) != read_json(folder / "config.json").get(SNAPSHOT_DIGEST):
        raise InputError(f"{weights}: does not match the digest in config.json; it is damaged or replaced.")
    return load_file(weights)


@torch.no_grad()
def copy_weights(source: UNet2DModel, target: UNet2DModel) -> None:
    """Give a network the weights of another of the same config, in place."""
    torch._foreach_copy_(list(target.parameters()), list(source.parameters()))


def _link(weights: Path, name: Path) -> None:
    """A second name of a file; a copy where the disk has no second names, which opens just as well."""
    with writing(name) as aside:
        try:
            os.link(weights, aside)
        except OSError:
            shutil.copyfile(weights, aside)
