"""Images in memory: found, viewed as tensors, augmented while training; decoding and packing by name."""

import os
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cells.cellset import MICROSCOPY, XRAY
from cells.decoding import DEFAULT, SUFFIXES, Decoding, Unreadable, decode
from cells.packing import cache_folder, fit_square, pack, pack_readable
from cells.policies import automatic, restained
from runtime.errors import InputError
from runtime.seeds import seed_of

if TYPE_CHECKING:
    import albumentations

__all__ = [
    "AUGMENTATIONS",
    "DEFAULT",
    "SUFFIXES",
    "XRAY_AUGMENTATIONS",
    "Augmentation",
    "Decoding",
    "Unreadable",
    "augmentation_of",
    "cache_folder",
    "decode",
    "find_images",
    "fit_square",
    "is_image",
    "mild_augmentation",
    "mild_xray_augmentation",
    "no_augmentation",
    "pack",
    "pack_readable",
    "stain_augmentation",
    "strong_augmentation",
    "strong_xray_augmentation",
    "to_bytes",
    "to_pixels",
    "to_tensor",
]

BRIGHTNESS = 0.10
CONTRAST = 0.10
COLOR = 0.05

Augmentation = Callable[[Tensor, int], Tensor]


def to_bytes(pixels: NDArray[np.uint8]) -> Tensor:
    """Images as a tensor of their bytes: (n, h, w, 3) to uint8 (n, 3, h, w), copied."""
    return torch.from_numpy(np.array(np.moveaxis(pixels, 3, 1), order="C", copy=True))


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Images for a network: uint8 (n, h, w, 3) to float32 (n, 3, h, w) in [0, 1]."""
    return to_bytes(pixels).float().div_(255)


def to_pixels(tensor: Tensor) -> NDArray[np.uint8]:
    """The way back: uint8, or float in [0, 1] (clamped), (n, 3, h, w) to uint8 (n, h, w, 3)."""
    tensor = tensor.detach()
    if tensor.is_floating_point():
        tensor = tensor.float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return np.ascontiguousarray(tensor.permute(0, 2, 3, 1).cpu().numpy())


def no_augmentation(images: Tensor, seed: int) -> Tensor:
    """The images as they are: uint8 (b, 3, h, w) to float32 in [0, 1]."""
    return images.float().div_(255)


def mild_augmentation(images: Tensor, seed: int) -> Tensor:
    """Flips and quarter turns, brightness within 10 %, each color channel within 5 %; per image.

    A cell has no up or down, so all eight symmetries of the square are equally likely.

    Args:
        images: uint8, shape (b, 3, h, w), h = w, on any device.
        seed: Same seed, same result on every device.

    Returns:
        float32, shape (b, 3, h, w), in [0, 1].
    """
    assert images.dtype == torch.uint8 and images.shape[2] == images.shape[3], images.shape
    count = len(images)
    draws = torch.Generator().manual_seed(seed)
    images = _turned(images, draws)
    brightness = 1 + BRIGHTNESS * (2 * torch.rand(count, 1, 1, 1, generator=draws) - 1)
    color = 1 + COLOR * (2 * torch.rand(count, 3, 1, 1, generator=draws) - 1)
    gain = (brightness * color / 255).to(images.device)  # (b, 3, 1, 1)
    return images.float().mul_(gain).clamp_(0, 1)


def _turned(images: Tensor, draws: torch.Generator) -> Tensor:
    """Each image in one of the eight symmetries of the square: two flips and a transposition."""
    coins = torch.randint(0, 2, (len(images), 3), generator=draws).bool().to(images.device)
    flip, tumble, transpose = coins.T.reshape(3, -1, 1, 1, 1)
    images = torch.where(flip, images.flip(3), images)  # (b, 3, h, w)
    images = torch.where(tumble, images.flip(2), images)
    return torch.where(transpose, images.transpose(2, 3), images)


def mild_xray_augmentation(images: Tensor, seed: int) -> Tensor:
    """Brightness and contrast within 10 %, alike in all channels; per image.

    An X-ray has an up and a left (the heart is on one side) and no color: it is not flipped, turned
    or tinted. Arguments and result as for `mild_augmentation`.
    """
    assert images.dtype == torch.uint8, images.dtype
    draws = torch.Generator().manual_seed(seed)
    coins = 2 * torch.rand(2, len(images), 1, 1, 1, generator=draws) - 1
    brightness, contrast = (1 + coins * torch.tensor([BRIGHTNESS, CONTRAST]).view(2, 1, 1, 1, 1)).to(
        images.device
    )
    levels = images.float().div_(255)
    mean = levels.mean(dim=(1, 2, 3), keepdim=True)
    return ((levels - mean) * contrast + mean).mul_(brightness).clamp_(0, 1)


def strong_augmentation(images: Tensor, seed: int) -> Tensor:
    """An albumentations policy: geometry, light, stain, focus, noise and dropout; per image.

    Args:
        images: uint8, shape (b, 3, h, w), on any device.
        seed: Image i depends on (seed, i) and not on its neighbors.

    Returns:
        float32, shape (b, 3, h, w), in [0, 1].
    """
    return _strong(_turned(images, torch.Generator().manual_seed(seed)), seed, MICROSCOPY)


def strong_xray_augmentation(images: Tensor, seed: int) -> Tensor:
    """`strong_augmentation` for X-rays: without flips, turns and color, and with half the shifts."""
    return _strong(images, seed, XRAY)


def _strong(images: Tensor, seed: int, modality: str) -> Tensor:
    policy, reseed = _strong_policy(images.shape[2], modality)
    given = to_pixels(images)
    pixels = np.empty_like(given)
    for i, image in enumerate(given):
        reseed(seed, i)
        pixels[i] = policy(image=image)["image"]  # (h, w, 3)
    return to_tensor(pixels).to(images.device)


@lru_cache(maxsize=4)
def _strong_policy(size: int, modality: str) -> tuple["albumentations.Compose", Callable[[int, int], None]]:
    """The policy for images of this edge (flips and turns are done before), and what seeds it."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for a newer one
    import albumentations as alb
    import cv2

    cv2.setNumThreads(0)  # the images are small: threads cost more than they give
    xray = modality == XRAY
    reach, turn = (0.05, 0) if xray else (0.1, 45)
    color = alb.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=0, p=0.4)
    policy = alb.Compose(
        [
            alb.Affine(
                scale=(1 - 2 * reach, 1 + 2 * reach),
                rotate=(-turn, turn),
                translate_percent=(-reach, reach),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            alb.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.8),
            *([] if xray else [color]),
            alb.GaussianBlur(blur_limit=0, sigma_limit=(0.2, size / 32), p=0.15),
            alb.GaussNoise(std_range=(0.01, 0.05), per_channel=not xray, p=0.15),
            alb.CoarseDropout(
                num_holes_range=(1, 2),
                hole_height_range=(0.1, 0.25),
                hole_width_range=(0.1, 0.25),
                fill=0 if xray else "random_uniform",
                p=0.25,
            ),
        ],
        is_check_shapes=False,
    )
    return policy, _reseeder(policy)


def _reseeder(policy: Any) -> Callable[[int, int], None]:
    """A function of (seed, index) that puts the policy's random state there.

    Building fresh generators for each image would cost as much as the policy itself. Philox is
    counter-based: its key is the state.
    """
    bits = np.random.Philox(key=0)
    fresh = bits.state
    policy.set_random_state(np.random.Generator(bits), policy.py_random)

    def reseed(seed: int, index: int) -> None:
        fresh["state"]["key"][:] = (seed % 2**64, index)
        bits.state = fresh
        policy.py_random.seed(int(bits.random_raw()))

    return reseed


def _automatic(images: Tensor, seed: int, *, name: str, modality: str) -> Tensor:
    """One of torchvision's policies, on images in one of the eight symmetries (X-rays as they are)."""
    if modality == MICROSCOPY:
        images = _turned(images, torch.Generator().manual_seed(seed))
    return automatic(name, images.cpu(), seed_of(seed, name), modality).to(images.device).float().div_(255)


def stain_augmentation(images: Tensor, seed: int) -> Tensor:
    """Flips and quarter turns, and the stain of each image varied, see `cells.policies.restained`.

    Arguments and result as for `mild_augmentation`.
    """
    return restained(_turned(images, torch.Generator().manual_seed(seed)), seed_of(seed, "stain"))


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": no_augmentation,
    "mild": mild_augmentation,
    "strong": strong_augmentation,
    "randaugment": partial(_automatic, name="randaugment", modality=MICROSCOPY),
    "trivialaugment": partial(_automatic, name="trivialaugment", modality=MICROSCOPY),
    "stain": stain_augmentation,
}
XRAY_AUGMENTATIONS: dict[str, Augmentation] = {
    "none": no_augmentation,
    "mild": mild_xray_augmentation,
    "strong": strong_xray_augmentation,
    "randaugment": partial(_automatic, name="randaugment", modality=XRAY),
    "trivialaugment": partial(_automatic, name="trivialaugment", modality=XRAY),
}


def augmentation_of(name: str, modality: str) -> Augmentation:
    """The policy of a name for cells of a modality.

    Args:
        name: One of `AUGMENTATIONS`.
        modality: One of `cells.cellset.MODALITIES`.

    Raises:
        InputError: If there is none for it: an X-ray has no stain.
    """
    policies = XRAY_AUGMENTATIONS if modality == XRAY else AUGMENTATIONS
    if name not in policies:
        raise InputError(f"augmentation={name} is not for X-rays; use one of {', '.join(policies)}.")
    return policies[name]


def is_image(path: Path) -> bool:
    """True for what should be a cell by its name; a broken link counts, so that it is noticed."""
    named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return named and (path.is_file() or path.is_symlink()) and not path.is_dir()


def find_images(folder: Path) -> list[Path]:
    """Image files directly in a folder, by name; hidden files are passed over (PBC ships one)."""
    return sorted(path for path in folder.iterdir() if is_image(path))
