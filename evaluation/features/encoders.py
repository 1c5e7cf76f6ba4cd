"""Encoders: cells to feature vectors, by one config key, cached by content.

Inception (torch-fidelity's, the network of the FID), DINOv2, any network of torchvision or timm, any ONNX
file, or a small CNN fitted on real training cells, which needs no download. What an encoder does to
an image is in its fingerprint.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cells.cellset import CellSet
from cells.images import cache_folder
from classifiers.training import Classifier, ClassifierSettings
from evaluation.features.backbones import BackboneSettings, build_backbone
from evaluation.features.codecs import CodecSettings, Recoded, recoded
from evaluation.features.digests import network_digest
from evaluation.features.extractors import InceptionNetwork, OnnxNetwork
from evaluation.features.feature_cache import add_rows, read_rows
from evaluation.features.protocol import Encoder
from runtime.config import digest, to_dict
from runtime.errors import InputError
from runtime.seeds import seed_of

__all__ = [
    "CachedEncoder",
    "DomainEncoder",
    "DomainSettings",
    "Encoder",
    "EncoderSettings",
    "InceptionSettings",
    "OnnxSettings",
    "build_encoder",
]


class InceptionSettings(CodecSettings):
    """torch-fidelity's Inception-v3, the network that the FID is defined on (Heusel 1706.08500).

    Attributes:
        path: Its weights file; None downloads it once.
    """

    kind: Literal["inception"] = "inception"
    path: Path | None = None


class OnnxSettings(CodecSettings):
    """Any ONNX file with one image input, float32, shape (n, 3, h, w).

    Attributes:
        path: The file.
        output: Name of the output; None takes the one called ``features``, else the first.
        input_size: Edge in pixels; None takes the model's, or 224 where the model leaves it open.
        input_range: ``byte`` [0, 255], ``unit`` [0, 1], or ``imagenet`` (mean 0, deviation 1).
    """

    kind: Literal["onnx"] = "onnx"
    path: Path
    output: str | None = None
    input_size: int | None = Field(default=None, ge=8, le=1024)
    input_range: Literal["byte", "unit", "imagenet"] = "byte"


class DomainSettings(CodecSettings):
    """A small CNN that knows these cells: penultimate features of a classifier.

    Attributes:
        path: Folder of a saved classifier; None fits one on the real training cells.
        classifier: What to fit.
    """

    kind: Literal["domain"] = "domain"
    path: Path | None = None
    classifier: ClassifierSettings = ClassifierSettings(network="fast", sampler="balanced")


EncoderSettings = Annotated[
    InceptionSettings | OnnxSettings | DomainSettings | BackboneSettings, Field(discriminator="kind")
]


class DomainEncoder:
    """Penultimate features of a classifier of these cells.

    Args:
        classifier: Fitted on real training cells, and on nothing that is evaluated.
    """

    name = "domain CNN"

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.fingerprint: dict[str, Any] = {
            "encoder": self.name,
            "weights": network_digest(classifier.network),
            "resize": "none",
        }

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, d)."""
        return np.asarray(self.classifier.features(cells), dtype=np.float32)


class CachedEncoder:
    """An encoder that remembers: features by pixel content and encoder fingerprint.

    Args:
        encoder: Asked only for cells that it has not seen.
        cache: Folder; features lie in ``features/`` under it.
    """

    def __init__(self, encoder: Encoder, cache: Path) -> None:
        self.encoder = encoder
        self.folder = cache / "features"

    @property
    def name(self) -> str:
        """The encoder's."""
        return self.encoder.name

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The encoder's."""
        return self.encoder.fingerprint

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, d), from the cache where it has them; of equal cells, once."""
        file = self.folder / f"{digest(self.fingerprint)}.sqlite"
        keys = [str(pixels) for pixels in cells.digests]
        known = read_rows(file, list(dict.fromkeys(keys)))
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in known}
        if first or not keys:
            missing = sorted(first.values())
            features = self.encoder.encode(cells.subset(missing))
            if not keys:
                return features
            found = {keys[row]: one for row, one in zip(missing, features, strict=True)}
            add_rows(file, found.items())
            known |= found
        return np.stack([known[key] for key in keys])

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Class logits of features that `encode` gave, shape (n, classes); None if it has none."""
        give = getattr(self.encoder, "logits", None)
        return None if give is None else np.asarray(give(features))


def build_encoder(
    settings: EncoderSettings,
    train: CellSet | None = None,
    seed: int = 0,
    cache: Path | None = None,
) -> Encoder:
    """The encoder that the settings name, with cached features.

    Args:
        settings: Which, and where its weights are.
        train: Real cells that a domain encoder without a path is fitted on.
        seed: Of that fit alone: the study's other networks have their own.
        cache: Default: `cells.images.cache_folder`.

    Raises:
        InputError: If weights are missing or do not fit, or a domain encoder has no cells.
    """
    folder = cache if cache is not None else cache_folder()
    encoder = _encoder(settings, train, seed, folder)
    return CachedEncoder(encoder if settings.codec == "none" else Recoded(encoder, settings.codec), folder)


def _encoder(settings: EncoderSettings, train: CellSet | None, seed: int, cache: Path) -> Encoder:
    if isinstance(settings, InceptionSettings):
        return InceptionNetwork(settings.path)
    if isinstance(settings, OnnxSettings):
        return OnnxNetwork(settings.path, settings.output, settings.input_size, settings.input_range)
    if not isinstance(settings, DomainSettings):
        return build_backbone(settings)
    if settings.path is not None:
        return DomainEncoder(Classifier.load(settings.path))
    like_encoded = None if train is None else recoded(train, settings.codec)
    return DomainEncoder(_fitted(settings.classifier, like_encoded, seed, cache))


def _fitted(settings: ClassifierSettings, train: CellSet | None, seed: int, cache: Path) -> Classifier:
    """Fit once for these cells, settings and seed; later runs load it."""
    if train is None or len(train) == 0:
        raise InputError(
            "encoder.kind=domain needs real training cells to fit on: set encoder.path to a saved "
            "classifier, or give training cells."
        )
    if train.is_synthetic.any():
        raise InputError("the domain encoder is fitted on real cells only; leave synthetic ones out.")
    key = digest({"settings": to_dict(settings), "cells": train.digest, "seed": seed})
    folder = cache / "encoders" / key
    if not (folder / "weights.safetensors").is_file():
        classifier = Classifier(train.classes, settings)
        classifier.fit(train, seed=seed_of(seed, "domain encoder"), description="domain encoder")
        classifier.save(folder)
    return Classifier.load(folder)
