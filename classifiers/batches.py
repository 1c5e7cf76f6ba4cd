"""Which cells a training step sees, and how they look: a function of (seed, step) alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from cells.images import Augmentation, augmentation_of
from runtime.seeds import seed_of, torch_generator

AHEAD = 3  # batches that the background thread may be ahead of the network
# Policies that run image by image outside of torch: slow enough to be prepared beside training.
PREPARED_AHEAD = ("strong",)

Sampler = Callable[[int], Tensor]


class Batch(NamedTuple):
    """What one step learns from.

    Attributes:
        images: float32, shape (b, 3, h, w), or of stacks (b, d, 3, h, w), in [0, 1].
        targets: Classes, int64, shape (b,). Of mixed images (2b,): the first b are those of the images,
            the others those of their partners.
        parts: How much each target counts, float32, same shape; None: all alike.
    """

    images: Tensor
    targets: Tensor
    parts: Tensor | None = None


Batches = Iterator[Batch]


def uniform(labels: Tensor, seed: int, batch: int) -> Sampler:
    """All cells equally often: a new order each epoch, batches run on across epochs.

    Args:
        labels: int64, shape (n,), n > 0.
        seed: Decides the orders.
        batch: Cells per step b.

    Returns:
        From a step (0, 1, …) to indices of cells, int64, shape (b,).
    """
    count = len(labels)

    @lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        return torch.randperm(count, generator=torch_generator(seed, "order", epoch))

    def sample(step: int) -> Tensor:
        places = range(step * batch, (step + 1) * batch)
        epochs = range(places[0] // count, places[-1] // count + 1)
        run = torch.cat([order(epoch) for epoch in epochs])
        begin = places[0] - epochs[0] * count
        return run[begin : begin + batch]  # (b,)

    return sample


def balanced(labels: Tensor, seed: int, batch: int) -> Sampler:
    """All classes equally often, each cell of a class with equal chance, with replacement.

    Every run of C places holds each of the C classes that have cells once, so that any number of
    steps is balanced to within one cell per class. Arguments and result as for `uniform`.
    """
    members = torch.argsort(labels, stable=True)  # (n,) cells, class by class
    _, sizes = torch.unique(labels, return_counts=True)
    starts = sizes.cumsum(0) - sizes

    def sample(step: int) -> Tensor:
        slots = torch.arange(step * batch, (step + 1) * batch) % len(sizes)  # (b,)
        draws = torch.rand(batch, generator=torch_generator(seed, "balanced", step), dtype=torch.float64)
        return members[starts[slots] + (draws * sizes[slots]).long()]  # (b,)

    return sample


SAMPLERS: dict[str, Callable[[Tensor, int, int], Sampler]] = {
    "uniform": uniform,
    "balanced": balanced,
}


def batches(
    pixels: Tensor,
    labels: Tensor,
    sampler: str,
    augmentation: str,
    *,
    modality: str,
    batch: int,
    steps: int,
    seed: int,
    parts: Tensor | None = None,
) -> Batches:
    """The batches of a training run, step by step.

    Args:
        pixels: uint8, shape (n, 3, h, w), or of stacks (n, d, 3, h, w).
        labels: int64, shape (n,).
        sampler: One of `SAMPLERS`.
        augmentation: One of `cells.images.AUGMENTATIONS`.
        modality: Of the cells, one of `cells.cellset.MODALITIES`: X-rays are not flipped or turned.
        batch: Cells per step b.
        steps: How many batches.
        seed: Decides which cells and their augmentation.
        parts: How much each cell counts, float32, shape (n,); None: all alike.
    """
    sample = SAMPLERS[sampler](labels, seed, batch)
    augment = augmentation_of(augmentation, modality)

    def make(step: int) -> Batch:
        index = sample(step)
        images = augmented(augment, pixels[index], seed_of(seed, "augmentation", step))
        return Batch(images, labels[index], None if parts is None else parts[index])

    if augmentation in PREPARED_AHEAD:
        yield from _ahead(make, steps)
    else:
        yield from map(make, range(steps))


def augmented(augment: Augmentation, images: Tensor, seed: int) -> Tensor:
    """Augmented images; those of a stack alike, as draws hang on seed and place in the batch alone."""
    if images.ndim == 4:
        return augment(images, seed)
    return torch.stack([augment(planes, seed) for planes in images.unbind(1)], dim=1)  # (b, d, 3, h, w)


def _ahead(make: Callable[[int], Batch], steps: int) -> Batches:
    """The same batches, made by one background thread while the network trains."""
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(max_workers=1) as worker:
        try:
            for step in range(steps):
                waiting.append(worker.submit(make, step))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            worker.shutdown(wait=True, cancel_futures=True)
