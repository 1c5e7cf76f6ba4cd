"""Mixing of a batch's images with each other: MixUp, CutMix and ReMix."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torchvision.transforms import v2

from classifiers.batches import Batch
from runtime.seeds import seed_of

ALPHA = 1.0  # of the Beta distribution: every share of the partner is equally likely
# ReMix: how many times as common a class is whose share goes to the rarer one, and the largest such share.
COMMON, LARGEST_GIVEN = 3.0, 0.5

MIXINGS = ("none", "mixup", "cutmix", "remix")


def mixed(stream: Iterator[Batch], mixing: str, counts: Tensor, seed: int) -> Iterator[Batch]:
    """Batches of which each image is mixed with another one of its batch; a function of (seed, step).

    Args:
        stream: Plain batches.
        mixing: One of `MIXINGS`.
        counts: Training cells per class, shape (C,), for ReMix.
        seed: Decides pairs and shares.

    Yields:
        Batches whose targets are twice as many: of each image and of its partner, with their parts.

    Source:
        Zhang et al. 2018, arXiv:1710.09412; Yun et al. 2019, arXiv:1905.04899 (both as in torchvision).
    """
    if mixing == "none":
        yield from stream
        return
    for step, batch in enumerate(stream):
        yield _mix(batch, mixing, counts, seed_of(seed, "mixing", step))


def _mix(batch: Batch, mixing: str, counts: Tensor, seed: int) -> Batch:
    count = len(batch.targets)
    transform = (v2.CutMix if mixing == "cutmix" else v2.MixUp)(alpha=ALPHA, num_classes=count)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torchvision draws from the global state
        order = torch.randperm(count)  # it pairs neighbors, and balanced batches are in the order of classes
        # The "labels" are places in the batch: what comes back is how much of each place is in each image.
        images, places = transform(batch.images[order].flatten(1, -3), torch.arange(count))
    own = places.diagonal()  # (b,)
    targets = batch.targets[order]
    partners = targets.roll(1)
    if mixing == "remix":
        own = remix_shares(own, counts[targets], counts[partners])
    parts = torch.ones(count) if batch.parts is None else batch.parts[order]
    both = torch.cat([parts * own, parts.roll(1) * (1 - own)])
    return Batch(images.view_as(batch.images), torch.cat([targets, partners]), both)


def remix_shares(own: Tensor, counts: Tensor, partner_counts: Tensor) -> Tensor:
    """The share of each image's own class in its label: all of it goes to the rarer class of the two if
    that one is at least three times as rare and the common one has less than half of the image.

    Args:
        own: Share of the image itself in the mixed one, shape (b,), in [0, 1].
        counts: Training cells of its class, shape (b,).
        partner_counts: Training cells of its partner's class, shape (b,).

    Source:
        Chou et al., ECCV workshops 2020, arXiv:2007.03943, with κ = 3 and τ = 0.5.
    """
    ratio = counts.clamp(min=1).double() / partner_counts.clamp(min=1).double()
    own = torch.where((ratio >= COMMON) & (own < LARGEST_GIVEN), 0.0, own)
    return torch.where((ratio <= 1 / COMMON) & (1 - own < LARGEST_GIVEN), 1.0, own)
