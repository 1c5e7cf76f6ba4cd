"""Weights of networks from files that others made: tensors by name, and never what a pickle would run."""

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from runtime.errors import InputError

WRAPPERS = ("state_dict", "model", "net")  # keys under which training scripts save the tensors


def read_state(file: Path, key: str) -> dict[str, Tensor]:
    """Tensors by name.

    Args:
        file: A ``.safetensors`` file, or a state dict saved by torch, alone or as training scripts wrap it.
        key: The setting that named the file, for errors.

    Raises:
        InputError: If it is missing, or holds anything but tensors.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; set {key} to the network's weights.")
    try:
        if file.suffix == ".safetensors":
            state: Any = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise InputError(
            f"{file}: holds no tensors that can be read safely ({first_line(error)}); set {key} to "
            "a .safetensors file or to a state dict saved by torch."
        ) from None
    for name in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise InputError(f"{file}: is no state dict, which maps names to tensors; set {key} to one.")
    return state


def torchvision_state(weights: Any, key: str, instead: str) -> dict[str, Tensor]:
    """torchvision's published weights, downloaded once into torch's hub folder, their checksum verified.

    Args:
        weights: A member of one of torchvision's enumerations of weights.
        key: The setting that takes a file, for errors.
        instead: What else the user can do where the download fails.

    Raises:
        InputError: If they cannot be downloaded; it says which file to fetch.
    """
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        name = weights.url.rsplit("/", 1)[1]
        raise InputError(missing(name, "torchvision's models", error, key, instead)) from None
    return state


def missing(file: str, where: str, error: BaseException, key: str, instead: str) -> str:
    """The sentence for weights that are neither here nor to be had."""
    return (
        f"{file} is missing and cannot be downloaded ({first_line(error)}); fetch it from {where} and set "
        f"{key} to it, or {instead}."
    )


def first_line(error: BaseException) -> str:
    """What a library's error says first, short enough for a sentence."""
    lines = [line.strip() for line in str(error).strip().splitlines()]
    return " ".join(lines[:2])[:200].rstrip(".") if lines else type(error).__name__
