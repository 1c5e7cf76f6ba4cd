"""Classifier: a network that learns the classes of cells and is then asked about others."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cells.cellset import CellSet
from classifiers.descent import descend, stages
from classifiers.heads import with_cosine_head
from classifiers.losses import log_shares
from classifiers.networks import NORMALIZATIONS, Network, build_network, check_depth, check_size
from classifiers.samples import Samples
from classifiers.settings import ClassifierSettings
from classifiers.weights import begin_with, check_weights
from runtime.checkpoint import fit_state, load_weights, save_weights
from runtime.config import to_dict, validate
from runtime.devices import pick_device, prepare_processor
from runtime.errors import InputError

__all__ = ["Classifier", "ClassifierSettings"]

KIND = "classifier"
PREDICTION_BATCH = 256


class Best:
    """The best moment of a training so far: its step, its figure, and a copy of the weights.

    Args:
        network: The one that is trained.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.step, self.figure = 0, -1.0
        self.weights: dict[str, Tensor] = {}

    def offer(self, step: int, figure: float) -> None:
        """Keep the network as it is now, if its figure is as good as any before."""
        if figure >= self.figure:
            self.step, self.figure = step, figure
            self.weights = {name: value.clone() for name, value in self.network.state_dict().items()}

    def restore(self) -> int:
        """Put the best weights back into the network; returns their step."""
        self.network.load_state_dict(self.weights)
        return self.step


class Classifier:
    """A network that tells the classes of cells apart.

    Args:
        classes: Class names, in the order of the labels.
        settings: How it is built and trained.

    Attributes:
        image_size: Edge in pixels of the cells that it was trained on; 0 before.
        depth: Images of each stack that it was trained on; 0 for single images.
        history: How training went: rows of `step`, `loss` and, where there were validation
            cells, `val_balanced_accuracy`.
        origin: What it was trained on: `seed`, `cells` (digest of the training cells); with `keep=best`
            `kept_step`, the step of which the network is; with `weights` where those came from.
        shift: What `post_hoc` takes off the logits, float64, shape (C,).
    """

    def __init__(self, classes: tuple[str, ...], settings: ClassifierSettings | None = None) -> None:
        self.classes = tuple(classes)
        self.settings = settings or ClassifierSettings()
        self.image_size, self.depth = 0, 0
        self.history: list[dict[str, float]] = []
        self.origin: dict[str, Any] = {}
        self.shift = torch.zeros(len(self.classes), dtype=torch.float64)
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
            val: Cells that are scored along the way, for `history`; with `keep=best` they choose the moment.
            description: What the progress bar says at the left.

        Raises:
            InputError: If fewer than two classes have cells, other classes are given than the
                classifier's, the images are too small for the network, `keep=best` has no validation
                cells, or training diverges.
        """
        self._check(train, val)
        prepare_processor()
        self.image_size, self.depth, self.history = train.image_size, Samples(train).depth, []
        self.origin = {"seed": seed, "cells": train.digest}
        plan = stages(train, self.settings, seed)
        self.shift = self.settings.post_hoc * log_shares(plan[-1].counts)
        fresh = self._fresh(seed)
        if self.settings.transfers:
            self.origin["weights"] = begin_with(fresh, self.settings)
        self._network = fresh.to(self.device)
        best = Best(self._network) if self.settings.keep == "best" else None

        def look(step: int, loss: float) -> dict[str, float]:
            row = self._look(step, loss, val)
            if best is not None:
                best.offer(step, row["val_balanced_accuracy"])
            return row

        descend(self._network, plan, self.settings, look, description)
        if best is not None:
            self.origin["kept_step"] = best.restore()
        return self

    def _fresh(self, seed: int) -> Network:
        """The network that the settings ask for."""
        settings = self.settings
        network = build_network(settings.network, len(self.classes), settings.width, seed)
        network.normalize_by(NORMALIZATIONS.get(settings.normalization, network.normalization))
        return with_cosine_head(network, seed) if settings.cosine else network

    def _look(self, step: int, loss: float, val: CellSet | None) -> dict[str, float]:
        """Note how far training is."""
        row = {"loss": round(loss, 5)}
        if val is not None:
            self.network.eval()
            recall = [
                (self.predict(cells) == label).mean()  # of its images, or its stacks
                for label, cells in ((k, val.of_class(name)) for k, name in enumerate(val.classes))
                if len(cells)
            ]
            row["val_balanced_accuracy"] = round(float(np.mean(recall)), 5)
        self.history.append({"step": step, **row})
        return row

    def _check(self, train: CellSet, val: CellSet | None) -> None:
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
        check_depth(self.settings.network, Samples(train).depth)
        check_size(self.settings.network, train.image_size)
        check_weights(self.settings)
        if self.settings.keep == "best" and (val is None or not len(val)):
            raise InputError("classifier.keep=best chooses by validation cells; give some, or use keep=last.")

    def probabilities(self, cells: CellSet) -> NDArray[np.float32]:
        """Class probabilities: float32, shape (n, C), rows sum to 1; of stacks a row each, as in `Samples`.

        Raises:
            InputError: If the images are of another size than those of the training, or in other stacks.
        """
        return self._map(cells, lambda images: self.logits(images).softmax(dim=1), len(self.classes))

    def logits(self, images: Tensor) -> Tensor:
        """What predictions go by, after any post-hoc adjustment: float (n, 3, h, w), or of stacks
        (n, depth, 3, h, w), in [0, 1], on `device`, to (n, C).

        Source:
            Menon et al., ICLR 2021, arXiv:2007.07314, post-hoc logit adjustment.
        """
        logits: Tensor = self.network(images)
        return logits - self.shift.to(logits.device, logits.dtype) if self.settings.post_hoc else logits

    def predict(self, cells: CellSet) -> NDArray[np.int64]:
        """The likeliest class of each cell or stack, index into `classes`: int64, shape (n,)."""
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
        samples = Samples(cells)
        if samples.depth != self.depth and len(cells):
            check_depth(self.settings.network, samples.depth)
            raise InputError(
                f"the classifier was trained on stacks of {self.depth} images, these have {samples.depth}; "
                "give stacks of as many."
            )
        made = np.empty((len(samples), width), np.float32)
        batch = max(1, PREDICTION_BATCH // max(1, samples.depth))
        with torch.inference_mode():
            for begin in range(0, len(samples), batch):
                images = samples.images(begin, begin + batch).float().div_(255)  # (b, 3, h, w)
                made[begin : begin + len(images)] = function(images.to(self.device)).cpu().numpy()
        return made

    def save(self, folder: Path) -> None:
        """Write ``weights.safetensors`` and ``config.json``."""
        config = {
            "kind": KIND,
            "classes": list(self.classes),
            "settings": to_dict(self.settings),
            "image_size": self.image_size,
            "depth": self.depth,
            "input": dict(zip(("mean", "spread"), self.network.normalization, strict=True)),
            "trained_on": self.origin,
            "history": self.history,
            "shift": self.shift.tolist(),
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
        made.depth = config.get("depth", 0)
        made.origin = config["trained_on"]
        made.shift = torch.tensor(config.get("shift", [0.0] * len(made.classes)), dtype=torch.float64)
        network = made._fresh(seed=0)
        if "input" in config:
            network.normalize_by((tuple(config["input"]["mean"]), tuple(config["input"]["spread"])))
        fit_state(network, tensors, where)
        made._network = network.to(made.device).eval()
        return made
