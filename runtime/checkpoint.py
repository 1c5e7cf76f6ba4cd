"""Tensors on disk as safetensors and JSON, each verified by digest; the newest valid one wins."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from runtime.errors import InputError
from runtime.rundir import read_json, write_json, writing

KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        step: Steps done.
        tensors: Networks, averages and optimizer state, by name, on the CPU.
        state: Everything else, as JSON values.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint aside, verify it, rename it, and drop all but the newest two.

    Args:
        folder: Where checkpoints live, as ``step-00000100/``.
        step: Steps done.
        tensors: Any device; saved contiguous.
        state: JSON values.
    """
    final = folder / f"step-{step:08d}"
    aside = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    _save(aside / "tensors.safetensors", tensors)
    write_json(
        aside / "state.json",
        {"step": step, "sha256": file_digest(aside / "tensors.safetensors"), "state": dict(state)},
    )
    assert _read(aside) is not None, f"{aside} does not read back"
    if final.exists():
        shutil.rmtree(final)
    aside.rename(final)
    for old in sorted(folder.glob("step-*"))[:-KEPT]:
        shutil.rmtree(old)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies; None where there is none."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        found = _read(path)
        if found is not None:
            return found
    return None


def _read(path: Path) -> Checkpoint | None:
    """None for a checkpoint that is torn or altered."""
    try:
        record = json.loads((path / "state.json").read_text(encoding="utf-8"))
        if file_digest(path / "tensors.safetensors") != record["sha256"]:
            return None
        tensors = load_file(path / "tensors.safetensors")
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    return Checkpoint(record["step"], tensors, record["state"])


def save_weights(folder: Path, tensors: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> None:
    """Write ``weights.safetensors`` and, last, ``config.json`` with the digest of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / "weights.safetensors") as aside:
        _save(aside, tensors)
    weights = file_digest(folder / "weights.safetensors")
    write_json(folder / "config.json", {**config, "weights_sha256": weights})


def load_weights(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote.

    Raises:
        InputError: If a file is missing, or the weights are not those that the config names.
    """
    config = read_json(folder / "config.json")
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; train the model again or copy the file there.")
    if file_digest(weights) != config.get("weights_sha256"):
        raise InputError(f"{weights}: does not match the digest in config.json; it is damaged or replaced.")
    return load_file(weights), config


def fit_state(module: torch.nn.Module, tensors: Mapping[str, torch.Tensor], where: Path | str) -> None:
    """Load weights into a network.

    Raises:
        InputError: If names or shapes differ: the saved network is of other settings.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(
            f"{where}: the saved network does not fit the config ({reason}); "
            "use the config it was trained with or another out=."
        ) from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(plain, path)
