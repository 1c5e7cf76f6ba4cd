"""A training that starts from a saved model: classes matched by name, early layers frozen.

Few images are too few to learn what a cell is, and enough to learn how one class differs from the
others. A network trained on many cells, of other classes too, brings the first.

Source:
    Wang et al., "Transferring GANs", arXiv:1805.01677 (starting from trained networks, the critic's
    too); Mo et al., "Freeze the Discriminator", arXiv:2002.10964 (freezing early layers).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from generators.protocol import FitRecord, Generator, load_model, model_folder
from generators.training import TrainingSettings
from runtime.checkpoint import read_tensors
from runtime.errors import InputError, suggest
from runtime.rundir import read_json

CRITIC = "critic.safetensors"  # of a GAN, beside its weights


@dataclass(frozen=True)
class Start:
    """A saved model, and which of its classes each class of the new one begins as.

    Attributes:
        folder: Holds its config.json.
        classes: Of the saved model.
        tensors: Its weights.
        record: What it was trained on.
        digest: SHA-256 of its weights.
        begins_as: For each class of the new model a class of the saved one, or None for a new class.
    """

    folder: Path
    classes: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    record: FitRecord
    digest: str
    begins_as: Mapping[str, str | None]

    def extend(self, record: FitRecord, frozen: Sequence[str]) -> FitRecord:
        """The record of a training on further cells: what the saved model has seen stays seen.

        Args:
            record: Of the further cells.
            frozen: Names of the layers that stay as they are.
        """
        known = set(self.begins_as.values())
        start = {
            "weights_sha256": self.digest,
            "split_digest": self.record.split_digest,
            "class_map": dict(self.begins_as),
            "left_out": [name for name in self.classes if name not in known],
            "counts": dict(self.record.counts),
            "frozen": list(frozen),
        }
        return replace(
            record,
            seen=tuple(sorted({*record.seen, *self.record.seen})),
            origins=tuple(sorted({*record.origins, *self.record.origins})),
            start=start,
        )


def read_start(generator: Generator, kind: str, modality: str) -> Start | None:
    """The model that the settings start from; None where they name none.

    Args:
        generator: The new one.
        kind: Its kind.
        modality: Of its training cells.

    Raises:
        InputError: If the saved model is missing or damaged, of another kind, size or modality, or if
            a class of `class_map` does not exist.
    """
    settings: TrainingSettings = generator.settings
    if settings.start_from is None:
        if settings.freeze or settings.class_map:
            key = "freeze" if settings.freeze else "class_map"
            raise InputError(f"generator.{key} is set and start_from is not: name the model to start from.")
        return None
    folder = model_folder(settings.start_from)
    tensors, config, record = load_model(folder, kind)
    if config["image_size"] != generator.image_size:
        theirs, own = config["image_size"], generator.image_size
        raise InputError(
            f"start_from={folder}: draws {theirs} px, the cells have {own} px; set "
            f"data.image_size={theirs} or start from another model."
        )
    if record.modality != modality:
        raise InputError(
            f"start_from={folder}: has learned from images of modality {record.modality}, these are "
            f"{modality}; start from a model of the same modality."
        )
    begins_as = matched(generator.classes, tuple(config["classes"]), settings.class_map)
    return Start(folder, tuple(config["classes"]), tensors, record, config["weights_sha256"], begins_as)


def matched(
    classes: tuple[str, ...], known: tuple[str, ...], named: Mapping[str, str]
) -> dict[str, str | None]:
    """Which known class each class begins as: the one named, else that of the same name, else None.

    Raises:
        InputError: If `named` has a class that is not among `classes`, or a value not among `known`.
    """
    for own, theirs in named.items():
        for name, there, whose in ((own, classes, "cells have"), (theirs, known, "start model has")):
            if name not in there:
                raise InputError(f"class_map: the {whose} no class '{name}'.{suggest(name, there)}")
    return {name: named.get(name, name if name in known else None) for name in classes}


def begin(network: nn.Module, tensors: Mapping[str, Tensor], table: str, start: Start) -> None:
    """Give a network the weights of a saved one.

    A known class keeps its row of the class table; a new one begins at the mean of all known rows.
    Rows beyond the classes (that of "any class") are kept.

    Args:
        network: Of the new model.
        tensors: Of the saved network.
        table: Name of the parameter with a row for each class.
        start: Whose classes the rows are.

    Raises:
        InputError: If the saved network has other layers.
    """
    own = network.state_dict()
    given = {**tensors}
    if table in given:
        given[table] = _rows(given[table], start)
    differing = [k for k in {**own, **given} if _shape(own, k) != _shape(given, k)]
    if differing:
        name = differing[0]
        raise InputError(
            f"start_from={start.folder}: its network has other layers ({name}: {_shape(given, name)} there, "
            f"{_shape(own, name)} here); give the generator the settings in {start.folder / 'config.json'}."
        )
    network.load_state_dict(given)


def read_critic(folder: Path) -> dict[str, Tensor] | None:
    """The critic beside a saved GAN; None where it was left out.

    Raises:
        InputError: If it is damaged.
    """
    if not (folder / CRITIC).is_file():
        return None
    return read_tensors(folder / CRITIC, read_json(folder / "config.json").get("critic_sha256"))


def _rows(saved: Tensor, start: Start) -> Tensor:
    """The class table in the order of the new model's classes."""
    count = len(start.classes)
    mean = saved[:count].float().mean(dim=0).to(saved.dtype)
    rows = [mean if name is None else saved[start.classes.index(name)] for name in start.begins_as.values()]
    return torch.cat([torch.stack(rows), saved[count:]])


def _shape(tensors: Mapping[str, Tensor], name: str) -> str:
    return "×".join(map(str, tensors[name].shape)) or "number" if name in tensors else "nothing"


def early(layers: Sequence[str], share: float) -> tuple[str, ...]:
    """The first layers, by name.

    Args:
        layers: All, from the first one on.
        share: Of them, in [0, 1).
    """
    return tuple(layers[: round(share * len(layers))])


def freeze(network: nn.Module, layers: Sequence[str]) -> None:
    """Let no training change these layers."""
    for name in layers:
        network.get_submodule(name).requires_grad_(False)


@contextmanager
def held_still(network: nn.Module) -> Iterator[None]:
    """No gradients for a network meanwhile; what was frozen before stays frozen."""
    moving = [p for p in network.parameters() if p.requires_grad]
    for p in moving:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in moving:
            p.requires_grad_(True)
