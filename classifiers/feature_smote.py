"""SMOTE on what the last layer sees: batches of features in place of images."""

from __future__ import annotations

import numpy as np
import torch
from imblearn.over_sampling import SMOTE
from numpy.typing import NDArray
from torch import Tensor

from cells.images import augmentation_of
from classifiers.batches import Batch, Batches, augmented
from classifiers.networks import Network
from runtime.errors import InputError
from runtime.seeds import seed_of, torch_generator

NEIGHBORS = 5
AT_ONCE = 256  # images through the network


def filled_counts(counts: Tensor) -> Tensor:
    """Points per class after SMOTE: every class that has cells gets as many as the largest, shape (C,)."""
    return torch.where(counts > 0, counts.max(), counts)


def check_smote(labels: Tensor, classes: tuple[str, ...]) -> None:
    """Refuse cells between which nothing can be drawn.

    Raises:
        InputError: If a class has a single one.
    """
    for name, count in zip(classes, labels.bincount(minlength=len(classes)).tolist(), strict=True):
        if count == 1:
            raise InputError(
                f"class '{name}' has one training cell, and SMOTE needs two to draw between; give it more "
                "cells, or leave out the strategy feature_smote."
            )


def smote_batches(
    network: Network,
    pixels: Tensor,
    labels: Tensor,
    *,
    augmentation: str,
    modality: str,
    batch: int,
    steps: int,
    seed: int,
) -> Batches:
    """Batches of features, of which those of rare classes are filled up by SMOTE.

    In rounds: each takes the features of all cells, augmented anew, fills every class up to the size of
    the largest, and hands out each point once, in random order.

    Args:
        network: Its body must not change meanwhile; in evaluation mode but for the head.
        pixels: uint8, shape (n, 3, h, w), or of stacks (n, d, 3, h, w).
        labels: int64, shape (n,).
        augmentation: One of `cells.images.AUGMENTATIONS`.
        modality: Of the cells, one of `cells.cellset.MODALITIES`.
        batch: Points per step b.
        steps: How many batches.
        seed: Decides augmentation, points and order.

    Yields:
        Batches whose `images` are features, float32, shape (b, d), on the CPU.

    Source:
        Chawla et al., JAIR 16, 2002, in the space of the features that a network has learned, and
        with its last layer trained again on them: Dablain et al. 2022, arXiv:2207.06080.
    """
    augment = augmentation_of(augmentation, modality)
    points, targets, rounds = torch.zeros(0), labels[:0], 0
    for _ in range(steps):
        while len(targets) < batch:
            own = seed_of(seed, "round", rounds)
            seen = features_of(network, augmented(augment, pixels, own))
            more, their = filled(seen, labels.numpy(), own)
            order = torch.randperm(len(their), generator=torch_generator(own, "order"))
            points = torch.cat([points.reshape(-1, more.shape[1]), torch.from_numpy(more)[order]])
            targets = torch.cat([targets, torch.from_numpy(their)[order]])
            rounds += 1
        yield Batch(points[:batch], targets[:batch])
        points, targets = points[batch:], targets[batch:]


def features_of(network: Network, images: Tensor) -> NDArray[np.float32]:
    """What the last layer sees of images, float (n, 3, h, w) in [0, 1]: float32, shape (n, d)."""
    device = network.head.weight.device
    with torch.no_grad():
        parts = [network.features(part.to(device)).float().cpu() for part in images.split(AT_ONCE)]
    return torch.cat(parts).numpy()


def filled(
    points: NDArray[np.float32], labels: NDArray[np.int64], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Points of which every class has as many as the largest: theirs, and then new ones by SMOTE.

    A class of n points has n - 1 neighbors to draw with, where that is less than `NEIGHBORS`.

    Args:
        points: float32, shape (n, d).
        labels: int64, shape (n,); each class has none or two and more.
        seed: Decides the new points.

    Returns:
        Points and labels, those given first.
    """
    present, counts = np.unique(labels, return_counts=True)
    new, their = [points], [labels]
    for label, count in zip(present, counts, strict=True):
        if count < counts.max():
            smote = SMOTE(
                sampling_strategy={label: int(counts.max())},
                k_neighbors=min(NEIGHBORS, int(count) - 1),
                random_state=seed_of(seed, "smote", int(label)) % 2**32,
            )
            made, found = smote.fit_resample(points, labels)
            new.append(made[len(points) :])
            their.append(found[len(points) :])
    return np.concatenate(new).astype(np.float32), np.concatenate(their)
