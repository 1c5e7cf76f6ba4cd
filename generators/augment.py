"""Augmentation of training tensors that a generator does not learn to reproduce.

Flips and quarter turns are drawn uniformly from a group: for cells, which have no up or down, the
augmented images are as real as the originals, so nothing leaks. The other transforms are used only
in front of a discriminator, on real and generated images alike, with a probability below 0.8, at
which the generator can still tell the unchanged distribution.

Source:
    Karras et al., arXiv:2006.06676, section 2 (when augmentation leaks); Zhao et al.,
    arXiv:2006.10738 (differentiable augmentation).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cells.cellset import XRAY
from runtime.errors import InputError
from runtime.seeds import Draws, seed_of

Symmetry = Literal["dihedral", "flips", "none"]
AskedSymmetry = Literal["auto", "dihedral", "flips", "none"]
LEAK_LIMIT = 0.8


def dihedral(images: Tensor, draws: Draws) -> Tensor:
    """Each image under one of the eight flips and quarter turns, uniformly.

    Args:
        images: Shape (b, c, h, h), square.
        draws: Randomness of these images.
    """
    flipped = flips(images, draws)
    return _where(_coins(images, draws), flipped.transpose(-1, -2), flipped)


def flips(images: Tensor, draws: Draws) -> Tensor:
    """Each image under one of the four combinations of flips, uniformly; shape (b, c, h, w)."""
    for axis in (-1, -2):
        images = _where(_coins(images, draws), images.flip(axis), images)
    return images


def unchanged(images: Tensor, draws: Draws) -> Tensor:
    """The images as they are, e.g. X-rays, which have a left and a right."""
    return images


SYMMETRIES: dict[Symmetry, Callable[[Tensor, Draws], Tensor]] = {
    "dihedral": dihedral,
    "flips": flips,
    "none": unchanged,
}


def posed(images: Tensor, seeds: Tensor, symmetry: Symmetry) -> Tensor:
    """Each image under the element of a group that its own seed draws, uniformly.

    A critic that sees everything flipped and turned at random cannot tell how a made image lies, so
    that a generator may draw a class in one pose only. What it has learned is the class in all poses.

    Args:
        images: Shape (b, c, h, h).
        seeds: int64, shape (b,), on the CPU.
        symmetry: The group.
    """
    if symmetry == "none":
        return images
    drawn = torch.tensor([seed_of(int(seed), "pose") for seed in seeds], device=images.device)
    for bit, axis in enumerate((-1, -2)):
        images = _where((drawn >> bit) % 2 == 1, images.flip(axis), images)
    if symmetry == "dihedral":
        images = _where((drawn >> 2) % 2 == 1, images.transpose(-1, -2), images)
    return images


def symmetry_of(asked: AskedSymmetry, modality: str) -> Symmetry:
    """The group that a generator's training cells are drawn from.

    Args:
        asked: ``auto``: flips and quarter turns for cells, none for X-rays.
        modality: Of the cells, one of `cells.cellset.MODALITIES`.

    Raises:
        InputError: If X-rays are to be flipped or turned.
    """
    if asked == "auto":
        return "none" if modality == XRAY else "dihedral"
    if modality == XRAY and asked != "none":
        raise InputError(
            f"augmentation={asked}: X-rays have an up and a left and are not flipped or turned; "
            "use auto or none (data.modality=microscopy if these are no X-rays)."
        )
    return asked


def differentiable(images: Tensor, draws: Draws, probability: float, symmetry: Symmetry) -> Tensor:
    """What a discriminator sees: symmetry always, the other transforms with `probability` each.

    Args:
        images: In [-1, 1], shape (b, 3, h, w); gradients pass through.
        draws: Randomness of these images.
        probability: In [0, 0.8); the chance of each transform for each image.
        symmetry: Group whose every element keeps an image real.
    """
    assert 0 <= probability < LEAK_LIMIT, probability
    images = SYMMETRIES[symmetry](images, draws)
    for transform in (light, contrast, translation, cutout):
        chosen = _coins(images, draws, probability)
        images = _where(chosen, transform(images, draws), images)
    return images


def light(images: Tensor, draws: Draws) -> Tensor:
    """Brightness shifted by up to 10 % of the range."""
    return images + _uniform(images, draws, 0.2)


def contrast(images: Tensor, draws: Draws) -> Tensor:
    """Contrast about each image's mean scaled by 0.8 to 1.2."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (1 + _uniform(images, draws, 0.2)) + mean


def translation(images: Tensor, draws: Draws) -> Tensor:
    """Shift by up to an eighth of the edge, whole pixels, borders mirrored."""
    edge = images.shape[-1]
    reach = max(1, edge // 8)
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    rows = draws.integers(2 * reach + 1, 2).to(images.device)
    span = torch.arange(edge, device=images.device)
    y, x = rows[:, :1] + span, rows[:, 1:] + span  # (b, h), (b, w)
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[batch, channel, y[:, None, :, None], x[:, None, None, :]]


def cutout(images: Tensor, draws: Draws) -> Tensor:
    """A square of a third of the edge set to mid gray."""
    edge = images.shape[-1]
    centers = draws.uniform(2).to(images.device) * edge
    span = torch.arange(edge, device=images.device)
    inside = [(span - centers[:, i : i + 1]).abs() < edge / 6 for i in (0, 1)]  # 2 × (b, edge)
    hole = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]  # (b, 1, h, w)
    return images.masked_fill(hole, 0.0)


def _coins(images: Tensor, draws: Draws, probability: float = 0.5) -> Tensor:
    return (draws.uniform() < probability).to(images.device)


def _uniform(images: Tensor, draws: Draws, reach: float) -> Tensor:
    values = (draws.uniform(1, 1, 1) * 2 - 1) * reach
    return values.to(images.device)


def _where(chosen: Tensor, changed: Tensor, images: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], changed, images)
