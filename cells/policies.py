"""Augmentation policies beyond flips and light: torchvision's automatic ones, and one of the stain."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from cells.cellset import XRAY

GRAY = 128  # what comes in from outside the image
# Of the stain, in optical density: relative spread of its strength and of its saturation, spread of its hue
# in radians, and of the light behind it.
STRENGTH, SATURATION, HUE, LIGHT = 0.2, 0.3, 0.2, 0.05

AUTOMATIC: dict[str, type[v2.RandAugment] | type[v2.TrivialAugmentWide]] = {
    "randaugment": v2.RandAugment,
    "trivialaugment": v2.TrivialAugmentWide,
}
NOT_FOR_XRAYS = ("Rotate", "Color")


def automatic(name: str, images: Tensor, seed: int, modality: str) -> Tensor:
    """torchvision's RandAugment (two operations of magnitude 9 of 30) or TrivialAugment (one, of any
    magnitude), image by image.

    X-rays are not turned, and have no color.

    Args:
        name: One of `AUTOMATIC`.
        images: uint8, shape (b, 3, h, w).
        seed: Same seed, same result; the global random state is left as it was.
        modality: One of `cells.cellset.MODALITIES`.

    Returns:
        uint8, same shape.

    Source:
        Cubuk et al. 2020, arXiv:1909.13719; Müller and Hutter 2021, arXiv:2103.10158.
    """
    policy = AUTOMATIC[name](interpolation=InterpolationMode.BILINEAR, fill=GRAY)
    if modality == XRAY:
        known = type(policy)._AUGMENTATION_SPACE
        policy._AUGMENTATION_SPACE = {key: how for key, how in known.items() if key not in NOT_FOR_XRAYS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # torchvision draws from the global state
        return torch.stack([policy(image) for image in images])


def restained(images: Tensor, seed: int) -> Tensor:
    """Cells as if stained for longer or shorter, in a somewhat other hue, under another light; per image.

    In optical density, −log of the transmitted light, stains add up, so that background stays
    background. Its mean over the channels is the strength; what differs from that is turned around the
    gray axis (hue) and stretched (saturation).

    Args:
        images: uint8, shape (b, 3, h, w).
        seed: Same seed, same result.

    Returns:
        float32, same shape, in [0, 1].

    Source:
        The idea: Tellez et al. 2019, arXiv:1902.06543, who vary H&E stains; here no stain is assumed.
    """
    draws = torch.Generator().manual_seed(seed)
    coins = (2 * torch.rand(4, len(images), 1, 1, 1, generator=draws) - 1).to(images.device)
    strength, saturation, hue, light = coins * torch.tensor(
        [STRENGTH, SATURATION, HUE, LIGHT], device=images.device
    ).view(4, 1, 1, 1, 1)
    density = -(images.float().clamp(min=1) / 255).log()  # (b, 3, h, w)
    gray = density.mean(dim=1, keepdim=True)
    tint = density - gray
    across = (tint.roll(1, dims=1) - tint.roll(-1, dims=1)) / math.sqrt(3)  # cross product with the gray axis
    tint = (tint * hue.cos() + across * hue.sin()) * (1 + saturation)
    return (-(gray * (1 + strength) + tint + light)).exp().clamp(0, 1)
