"""Transfer learning: a network that begins with what was learned elsewhere, all but its last layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor
from torchvision import models

from classifiers.networks import NORMALIZATIONS, Network, Normalization, find_network
from classifiers.settings import IMAGENET, ClassifierSettings
from runtime.checkpoint import WEIGHTS, file_digest
from runtime.errors import InputError
from runtime.rundir import read_json
from runtime.states import first_line, read_state, torchvision_state

KEY = "classifier.weights"
BODY = "body."  # what the names begin with in a file that `Classifier.save` wrote


def check_weights(settings: ClassifierSettings) -> None:
    """Refuse weights that cannot be had, before anything is trained.

    Raises:
        InputError: If there are no published weights of the network, or the file is missing.
    """
    if not settings.transfers:
        return
    if settings.weights != IMAGENET:
        _file(settings.weights)
        return
    architecture = find_network(settings.network)
    if architecture.published is None:
        raise InputError(
            f"{KEY}={IMAGENET}: there are no published weights of {settings.network}; take network=resnet18 "
            "or another one of torchvision's, or a file of weights."
        )
    if settings.width not in (None, architecture.width):
        raise InputError(
            f"{KEY}={IMAGENET}: the published weights of {settings.network} are of width "
            f"{architecture.width}; leave classifier.width out."
        )


def begin_with(network: Network, settings: ClassifierSettings) -> dict[str, str]:
    """Put the weights that the settings name into the body of a network; its head stays as it is.

    Pixels are then normalized as these weights ask for, unless the settings say otherwise.

    Args:
        network: Fresh, of these settings; changed in place.
        settings: With other `weights` than ``none``.

    Returns:
        Where they came from: ``name`` and, of a file, ``sha256``.

    Raises:
        InputError: If they are missing, cannot be downloaded or read safely, or are of another network.
    """
    check_weights(settings)
    if settings.weights == IMAGENET:
        state, normalization, source = _published(settings.network)
    else:
        state, normalization, source = _from_file(_file(settings.weights), settings.network)
    try:
        network.body.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{source['name']}: not weights of {settings.network} ({first_line(error)}); set {KEY} to its "
            "file, and classifier.network and width to what the file is of."
        ) from None
    network.normalize_by(NORMALIZATIONS.get(settings.normalization, normalization))
    return source


Found = tuple[dict[str, Tensor], Normalization, dict[str, str]]


def _published(network: str) -> Found:
    """ImageNet's, as torchvision publishes them."""
    architecture = find_network(network)
    assert architecture.published is not None
    weights: Any = models.get_model_weights(architecture.published)["DEFAULT"]
    state = torchvision_state(weights, KEY, "train from fresh weights, weights=none")
    asked = weights.transforms()
    return _body(state, architecture.last), (tuple(asked.mean), tuple(asked.std)), {"name": str(weights)}


def _from_file(file: Path, network: str) -> Found:
    """A file in torchvision's layout, or one of our own classifiers."""
    state, source = read_state(file, KEY), {"name": str(file), "sha256": file_digest(file)}
    if any(name.startswith(BODY) for name in state):
        own = {name.removeprefix(BODY): value for name, value in state.items() if name.startswith(BODY)}
        return own, _normalization_beside(file), source
    return _body(state, find_network(network).last), NORMALIZATIONS[IMAGENET], source


def _body(state: dict[str, Tensor], last: str) -> dict[str, Tensor]:
    """All but the last layer."""
    return {name: value for name, value in state.items() if not last or not name.startswith(last)}


def _normalization_beside(file: Path) -> Normalization:
    """What a saved classifier's own config.json says."""
    config = file.with_name("config.json")
    said = read_json(config).get("input") if config.is_file() else None
    return (tuple(said["mean"]), tuple(said["spread"])) if said else NORMALIZATIONS["cells"]


def _file(words: str) -> Path:
    """The file, or that in the folder of a saved classifier."""
    file = Path(words) / WEIGHTS if Path(words).is_dir() else Path(words)
    if not file.is_file():
        raise InputError(
            f"{file}: no such file; set {KEY} to a file of weights (.safetensors or .pth), to the folder of "
            f"a trained classifier, to {IMAGENET} or to none."
        )
    return file
