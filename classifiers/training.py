"""Classifier: a network that learns the classes of cells and is then asked about others."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from cells.cellset import CellSet
from cells.images import to_bytes, to_tensor
from classifiers.batches import Batches, batches
from classifiers.losses import LOSSES, Loss
from classifiers.networks import NETWORKS, Network, build_network, check_size
from runtime.checkpoint import fit_state, load_weights, save_weights
from runtime.config import Settings, to_dict, validate
from runtime.devices import pick_device, prepare_processor
from runtime.errors import InputError, suggest
from runtime.progress import progress

KIND = "classifier"
PREDICTION_BATCH = 256
LOOKS = 10  # readings of loss and validation figures per training
WARM_UP, FIRST_LR = 0.3, 1 / 25  # share of the steps; share of the peak


class ClassifierSettings(Settings):
    """How a classifier is built and trained.

    Attributes:
        network: One of `classifiers.networks.NETWORKS`.
        width: Channels of the first stage; None for the network's own.
        steps: Optimizer steps, whatever the number of cells.
        batch: Cells per step; one cell alone has no variance to normalize by.
        lr: Peak learning rate; None for the network's own.
        weight_decay: Of AdamW; norms and biases are exempt.
        loss: One of `classifiers.losses.LOSSES`.
        sampler: `uniform` over cells, or `balanced`: over classes.
        augmentation: One of `cells.images.AUGMENTATIONS`, applied on-line.
    """

    network: str = "small_resnet"
    width: Annotated[int, Field(ge=2, le=256)] | None = None
    steps: Annotated[int, Field(ge=1)] = 1500
    batch: Annotated[int, Field(ge=2)] = 128
    lr: Annotated[float, Field(gt=0)] | None = None
    weight_decay: Annotated[float, Field(ge=0)] = 5e-2
    loss: str = "cross_entropy"
    sampler: Literal["uniform", "balanced"] = "uniform"
    augmentation: Literal["none", "mild", "strong"] = "mild"

    @field_validator("network")
    @classmethod
    def _known_network(cls, name: str) -> str:
        return _known(name, NETWORKS)

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, name: str) -> str:
        return _known(name, LOSSES)


def _known(name: str, registry: dict[str, Any]) -> str:
    if name not in registry:
        raise ValueError(f"there is none of this name.{suggest(name, registry)}")
    return name


class Classifier:
    """A network that tells the classes of cells apart.

    Args:
        classes: Class names, in the order of the labels.
        settings: How it is built and trained.

    Attributes:
        image_size: Edge in pixels of the cells that it was trained on; 0 before.
        history: How training went: rows of `step`, `loss` and, where there were validation
            cells, `val_balanced_accuracy`.
        origin: What it was trained on: `seed`, `cells` (digest of the training cells).
    """

    def __init__(self, classes: tuple[str, ...], settings: ClassifierSettings | None = None) -> None:
        self.classes = tuple(classes)
        self.settings = settings or ClassifierSettings()
        self.image_size = 0
        self.history: list[dict[str, float]] = []
        self.origin: dict[str, Any] = {}
        self.device = pick_device()
        self._network: Network | None = None

    @property
    def network(self) -> Network:
        """The trained network, in evaluation mode, on `device`."""
        assert self._network is not None, "fit or load the classifier first"
        return self._network

    def fit(self, train: CellSet, *, seed: int, val: CellSet | None = None, description: str = "") -> Self:
        """Train from fresh weights. Same cells, settings and seed: same result on one machine.

        Args:
            train: Cells to learn from. A class without cells is allowed, and is never learned.
            seed: Decides weights, batches and augmentation.
            val: Cells that are scored along the way, for `history`; nothing is chosen by them.
            description: What the progress bar says at the left.

        Raises:
            InputError: If fewer than two classes have cells, other classes are given than the
                classifier's, the images are too small for the network, or training diverges.
        """
        self._check(train)
        prepare_processor()
        self.image_size, self.history = train.image_size, []
        self.origin = {"seed": seed, "cells": train.digest}
        settings = self.settings
        network = build_network(settings.network, len(self.classes), settings.width, seed)
        self._network = network.to(self.device)
        stream = batches(
            to_bytes(train.pixels),
            torch.from_numpy(train.labels.copy()),
            settings.sampler,
            settings.augmentation,
            modality=train.modality,
            batch=settings.batch,
            steps=settings.steps,
            seed=seed,
        )
        counts = torch.tensor(list(train.counts.values()))  # (C,)
        self._train(self._network, stream, LOSSES[settings.loss](counts), val, description)
        return self

    def _train(
        self, network: Network, stream: Batches, loss_of: Loss, val: CellSet | None, about: str
    ) -> None:
        steps, look = self.settings.steps, max(1, self.settings.steps // LOOKS)
        optimizer = torch.optim.AdamW(
            decayed(network, self.settings.weight_decay), lr=self.peak_lr, fused=True
        )
        network.train()
        with progress(steps, about or f"training {self.settings.network}") as bar:
            for step, (images, targets) in enumerate(stream):  # (b, 3, h, w), (b,)
                for group in optimizer.param_groups:
                    group["lr"] = one_cycle(step, steps, self.peak_lr)
                logits = network(images.to(self.device))  # (b, C)
                loss = loss_of(logits, targets.to(self.device))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                if (step + 1) % look == 0 or step + 1 == steps:
                    bar.set_postfix(self._look(step + 1, loss.item(), val))
                bar.update()
        network.eval()

    def _look(self, step: int, loss: float, val: CellSet | None) -> dict[str, float]:
        """Note how far training is."""
        if not math.isfinite(loss):
            raise InputError(
                f"training diverged by step {step} (loss {loss}); lower classifier.lr, now {self.peak_lr:g}."
            )
        row = {"loss": round(loss, 5)}
        if val is not None:
            self.network.eval()
            recall = [
                (self.predict(cells) == label).mean()
                for label, cells in ((k, val.of_class(name)) for k, name in enumerate(val.classes))
                if len(cells)
            ]
            row["val_balanced_accuracy"] = round(float(np.mean(recall)), 5)
            self.network.train()
        self.history.append({"step": step, **row})
        return row

    def _check(self, train: CellSet) -> None:
        if train.classes != self.classes:
            raise InputError(
                f"the classifier is for {list(self.classes)}, the cells are {list(train.classes)}; "
                "give both the same classes in the same order."
            )
        present = [name for name, count in train.counts.items() if count]
        if len(present) < 2:
            raise InputError(
                f"{len(train)} training cells of {len(present)} class(es) teach nothing to tell "
                "apart; give cells of two classes or more."
            )
        check_size(self.settings.network, train.image_size)

    @property
    def peak_lr(self) -> float:
        """The setting, or the network's own."""
        return self.settings.lr or NETWORKS[self.settings.network].lr

    def probabilities(self, cells: CellSet) -> NDArray[np.float32]:
        """Class probabilities: float32, shape (n, C), rows sum to 1.

        Raises:
            InputError: If the images are of another size than those of the training.
        """
        network = self.network
        return self._map(cells, lambda images: network(images).softmax(dim=1), len(self.classes))

    def predict(self, cells: CellSet) -> NDArray[np.int64]:
        """The likeliest class of each cell, index into `classes`: int64, shape (n,)."""
        return self.probabilities(cells).argmax(axis=1).astype(np.int64)

    def features(self, cells: CellSet) -> NDArray[np.float32]:
        """What the last layer sees: float32, shape (n, d)."""
        return self._map(cells, self.network.features, self.network.head.in_features)

    def _map(self, cells: CellSet, function: Callable[[Tensor], Tensor], width: int) -> NDArray[np.float32]:
        """Apply a function of images batch by batch: shape (n, width)."""
        if cells.image_size != self.image_size and len(cells):
            raise InputError(
                f"the classifier was trained at {self.image_size} px, these cells have "
                f"{cells.image_size} px; read them with data.image_size={self.image_size}."
            )
        made = np.empty((len(cells), width), np.float32)
        with torch.inference_mode():
            for begin in range(0, len(cells), PREDICTION_BATCH):
                images = to_tensor(cells.pixels[begin : begin + PREDICTION_BATCH])  # (b, 3, h, w)
                made[begin : begin + len(images)] = function(images.to(self.device)).cpu().numpy()
        return made

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``config.json``."""
        config = {
            "kind": KIND,
            "classes": list(self.classes),
            "settings": to_dict(self.settings),
            "image_size": self.image_size,
            "trained_on": self.origin,
            "history": self.history,
            "versions": {name: version(name) for name in ("torch", "torchvision")},
        }
        save_weights(folder, self.network.state_dict(), config)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: If a file is missing or damaged, or holds something else.
        """
        tensors, config = load_weights(folder)
        where = folder / "config.json"
        if config.get("kind") != KIND:
            raise InputError(f"{where}: holds a {config.get('kind', 'model')}, not a classifier.")
        settings = validate(ClassifierSettings, config["settings"], str(where))
        made = cls(tuple(config["classes"]), settings)
        made.image_size, made.history = config["image_size"], config["history"]
        made.origin = config["trained_on"]
        network = build_network(settings.network, len(made.classes), settings.width, seed=0)
        fit_state(network, tensors, where)
        made._network = network.to(made.device).eval()
        return made


def decayed(network: Network, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: weight decay on kernels, none on norms and biases."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def one_cycle(step: int, steps: int, peak: float) -> float:
    """The learning rate of a step: up from `FIRST_LR` of the peak, then down to nothing, both as
    half a cosine.

    Args:
        step: Steps done, in [0, steps).
        steps: All steps.
        peak: The highest rate.

    Source:
        Smith and Topin 2017, arXiv:1708.07120, with cosines for the straight lines.
    """
    done = (step + 0.5) / steps  # the middle of the step: never exactly the end, where it is 0
    if done < WARM_UP:
        rise = (1 - math.cos(math.pi * done / WARM_UP)) / 2
        return peak * (FIRST_LR + (1 - FIRST_LR) * rise)
    return peak * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
