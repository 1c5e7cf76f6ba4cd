"""Tensors on disk as safetensors and JSON, each verified by digest; the newest valid one wins."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from runtime.errors import InputError
from runtime.rundir import read_json, write_json, writing

KEPT = 2
WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on.

    Attributes:
        step: Steps done.
        tensors: Networks, averages and optimizer state, by name, on the CPU.
        state: Everything else, as JSON values.
        damaged: Newer ones that were passed over.
    """

    step: int
    tensors: dict[str, torch.Tensor]
    state: dict[str, Any]
    damaged: tuple[Path, ...] = ()


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint aside, sync and verify it, rename it, and drop all but the newest two.

    Args:
        folder: Where checkpoints live, as ``step-00000100/``.
        step: Steps done.
        tensors: Any device; saved contiguous.
        state: JSON values.

    Raises:
        InputError: If the disk does not take it; the checkpoints before it are untouched.
    """
    final = folder / f"step-{step:08d}"
    aside = folder / f".{final.name}.tmp"
    try:
        for left in folder.glob(".step-*.tmp"):  # by a killed process
            _remove(left)
        aside.mkdir(parents=True)
        _write(aside, step, tensors, state)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise InputError(
            f"{final}: the checkpoint could not be written ({error.strerror or error}); make room and run "
            "the same command again: it goes on from the checkpoint before."
        ) from None
    if final.exists():  # a damaged one: a valid one would have been resumed from
        _remove(final)
    aside.rename(final)
    _sync(folder)
    _prune(folder, final.name)


def _prune(folder: Path, newest: str) -> None:
    """Keep the newest and the one before; later ones are damaged, or the run would have gone on there."""
    names = sorted(path.name for path in folder.glob("step-*"))
    done = [name for name in names if name <= newest]
    for name in [*done[:-KEPT], *names[len(done) :]]:
        _remove(folder / name)


def _remove(path: Path) -> None:
    """A checkpoint's folder, or what damage made of it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _write(folder: Path, step: int, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
    file = folder / "tensors.safetensors"
    _save(file, tensors)
    _sync(file)
    plain = json.loads(json.dumps(dict(state)))
    digest = _digest(file, step, plain)
    write_json(folder / "state.json", {"step": step, "sha256": digest, "state": plain})
    _sync(folder)
    if _read(folder) is None:
        raise OSError("it does not read back as it was written")


def _digest(tensors: Path, step: int, state: Mapping[str, Any]) -> str:
    """Over all that a checkpoint holds."""
    words = json.dumps([file_digest(tensors), step, state], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()


def _sync(path: Path) -> None:
    """Have the disk write a file or the names in a folder."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that verifies; None where there is none at all.

    Raises:
        InputError: If there are some and every one is damaged.
    """
    damaged: list[Path] = []
    for path in sorted(folder.glob("step-*"), reverse=True):
        found = _read(path)
        if found is not None:
            return replace(found, damaged=tuple(damaged))
        damaged.append(path)
    if damaged:
        raise InputError(
            f"{damaged[0]}: damaged, and no other checkpoint there is whole; remove {folder} to begin anew."
        )
    return None


def _read(path: Path) -> Checkpoint | None:
    """None for a checkpoint that is torn or altered."""
    try:
        record = json.loads((path / "state.json").read_text(encoding="utf-8"))
        file = path / "tensors.safetensors"
        if _digest(file, record["step"], record["state"]) != record["sha256"]:
            return None
        tensors = load_file(file)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):  # TypeError: JSON, but no object
        return None
    return Checkpoint(record["step"], tensors, record["state"])


def save_weights(
    folder: Path,
    tensors: Mapping[str, torch.Tensor],
    config: Mapping[str, Any],
    beside: Callable[[Path], Mapping[str, Any]] | None = None,
) -> None:
    """Write ``weights.safetensors`` and, last, ``config.json`` with the digest of the weights.

    Args:
        folder: Made if need be.
        tensors: Any device; saved contiguous.
        config: JSON values.
        beside: Writes other files between the two, given the folder; what it returns joins the config.
    """
    save_tensors(folder / WEIGHTS, tensors)
    more = {"weights_sha256": file_digest(folder / WEIGHTS), **(beside(folder) if beside else {})}
    write_json(folder / "config.json", {**config, **more})


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a safetensors file whole, or leave what was there."""
    with writing(path) as aside:
        _save(aside, tensors)


def load_weights(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read what `save_weights` wrote.

    Raises:
        InputError: If a file is missing, or the weights are not those that the config names.
    """
    config = read_json(folder / "config.json")
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; train the model again or copy the file there.")
    return read_tensors(weights, config.get("weights_sha256")), config


def read_tensors(path: Path, sha256: str | None) -> dict[str, torch.Tensor]:
    """Read a safetensors file of a known digest.

    Raises:
        InputError: If it is another file.
    """
    if file_digest(path) != sha256:
        raise InputError(f"{path}: does not match the digest in config.json; it is damaged or replaced.")
    return load_file(path)


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
    """Write a safetensors file.

    Raises:
        OSError: If the disk does not take it; with the system's number of the reason, where it is told.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        save_file(plain, path)
    except SafetensorError as error:  # its way to say that the disk is full
        told = re.search(r"os error (\d+)", str(error))
        if told is None:
            raise OSError(str(error)) from None
        raise OSError(int(told[1]), os.strerror(int(told[1])), str(path)) from None
