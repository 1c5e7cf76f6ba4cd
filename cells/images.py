"""Images in and out: decode, fit, pack, view as tensors, augment while training."""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from runtime.errors import InputError
from runtime.progress import progress
from runtime.rundir import writing

if TYPE_CHECKING:
    import albumentations

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
PACK_FORMAT = 1  # raise it when decoding or fitting changes: cached packs of another number are not read
# What Pillow's decoders raise on a damaged file.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, Image.DecompressionBombError)
BRIGHTNESS = 0.10
COLOR = 0.05

Augmentation = Callable[[Tensor, int], Tensor]


def decode(path: Path) -> NDArray[np.uint8]:
    """Read one image as RGB.

    Grey becomes three equal channels, transparency is laid on white (the empty slide), 16-bit
    samples keep their upper 8 bits, and an EXIF rotation is applied.

    Returns:
        uint8, shape (h, w, 3).

    Raises:
        InputError: If the file is missing, empty, truncated or not an image; it is named.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); restore or remove it.")
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened)
            return np.array(_rgb(image))
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path}: no such image.") from None
    except DAMAGED as error:
        reason = " ".join(str(error).replace(str(path), "").split()).strip("'\" ")
        raise InputError(
            f"{path}: not a readable image ({reason or type(error).__name__}); restore or remove it."
        ) from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode == "I":
        upper = np.asarray(image).astype(np.int64) >> 8
        return Image.fromarray(upper.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def fit_square(image: NDArray[np.uint8], size: int, crop: int | None = None) -> NDArray[np.uint8]:
    """Cut the center square and resize it with antialiasing (bicubic over the true footprint).

    Args:
        image: uint8, shape (h, w, 3).
        size: Edge of the result in pixels.
        crop: Edge of the center square to keep, in pixels; None keeps the largest one.

    Returns:
        uint8, shape (size, size, 3).

    Raises:
        InputError: If the image is smaller than `crop`.
    """
    height, width = image.shape[:2]
    edge = crop if crop is not None else min(height, width)
    if edge > min(height, width):
        raise InputError(f"crop = {edge} is larger than an image of {width}×{height} px; lower crop.")
    top, left = (height - edge) // 2, (width - edge) // 2
    square = np.ascontiguousarray(image[top : top + edge, left : left + edge])
    if edge == size:
        return square
    return np.array(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))


def cache_folder() -> Path:
    """Where decoded images and features are kept: ``RARECELL_CACHE``, or ``.rarecell-cache``."""
    return Path(os.environ.get("RARECELL_CACHE") or ".rarecell-cache")


def pack(
    paths: Sequence[Path], size: int, crop: int | None = None, cache: Path | None = None
) -> NDArray[np.uint8]:
    """Decode many images once into one array; later calls read it from the cache.

    The cache is keyed by the bytes of the files in their order, `size` and `crop`, so a changed,
    renamed or moved file is never mistaken.

    Args:
        paths: Image files.
        size: Edge of the result in pixels.
        crop: See `fit_square`.
        cache: Cache folder; None for `cache_folder()`.

    Returns:
        uint8, shape (n, size, size, 3), read-only.

    Raises:
        InputError: See `decode` and `fit_square`; the file is named.
    """
    folder = cache if cache is not None else cache_folder()
    stored = folder / f"pack-{_pack_key(paths, size, crop)}.npy"
    shape = (len(paths), size, size, 3)
    pixels = _read_pack(stored, shape)
    if pixels is None:
        pixels = np.empty(shape, np.uint8)
        _fill(pixels, paths, crop)
        _write_pack(stored, pixels)
    pixels.setflags(write=False)
    return pixels


def _pack_key(paths: Sequence[Path], size: int, crop: int | None) -> str:
    total = hashlib.sha256(f"pack {PACK_FORMAT} {size} {crop}".encode())
    for path in paths:
        try:
            total.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); restore or remove it.") from None
    return total.hexdigest()[:32]


def _fill(pixels: NDArray[np.uint8], paths: Sequence[Path], crop: int | None) -> None:
    """Decode into the array, on threads: Pillow releases the interpreter while it decodes."""

    def one(i: int) -> None:
        image = decode(paths[i])
        try:
            pixels[i] = fit_square(image, pixels.shape[1], crop)
        except InputError as error:
            raise InputError(f"{paths[i]}: {error}") from None

    with ThreadPoolExecutor() as pool, progress(len(paths), "reading images") as bar:
        try:
            for _ in pool.map(one, range(len(paths))):
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # do not decode the rest first
            raise


def _read_pack(stored: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """None where there is no pack, or a damaged one."""
    try:
        pixels = np.load(stored, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return pixels if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _write_pack(stored: Path, pixels: NDArray[np.uint8]) -> None:
    try:
        with writing(stored) as aside:
            np.save(aside, pixels)
    except OSError as error:
        raise InputError(
            f"{stored.parent}: the cache cannot be written ({error.strerror}); "
            "set RARECELL_CACHE to a folder with space that you may write to."
        ) from None


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


def strong_augmentation(images: Tensor, seed: int) -> Tensor:
    """An albumentations policy: geometry, light, stain, focus, noise and dropout; per image.

    Args:
        images: uint8, shape (b, 3, h, w), on any device.
        seed: Image i depends on (seed, i) and not on its neighbors.

    Returns:
        float32, shape (b, 3, h, w), in [0, 1].
    """
    policy, reseed = _strong_policy(images.shape[2])
    turned = to_pixels(_turned(images, torch.Generator().manual_seed(seed)))
    pixels = np.empty_like(turned)
    for i, image in enumerate(turned):
        reseed(seed, i)
        pixels[i] = policy(image=image)["image"]  # (h, w, 3)
    return to_tensor(pixels).to(images.device)


@lru_cache(maxsize=4)
def _strong_policy(size: int) -> tuple["albumentations.Compose", Callable[[int, int], None]]:
    """The policy for images of this edge (flips and turns are done before), and what seeds it."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # or importing it asks the network for a newer one
    import albumentations as alb
    import cv2

    cv2.setNumThreads(0)  # the images are small: threads cost more than they give
    policy = alb.Compose(
        [
            alb.Affine(
                scale=(0.8, 1.2),
                rotate=(-45, 45),
                translate_percent=(-0.1, 0.1),
                border_mode=cv2.BORDER_REFLECT_101,
                p=0.5,
            ),
            alb.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.8),
            alb.HueSaturationValue(hue_shift_limit=8, sat_shift_limit=25, val_shift_limit=0, p=0.4),
            alb.GaussianBlur(blur_limit=0, sigma_limit=(0.2, size / 32), p=0.15),
            alb.GaussNoise(std_range=(0.01, 0.05), p=0.15),
            alb.CoarseDropout(
                num_holes_range=(1, 2),
                hole_height_range=(0.1, 0.25),
                hole_width_range=(0.1, 0.25),
                fill="random_uniform",
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


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": no_augmentation,
    "mild": mild_augmentation,
    "strong": strong_augmentation,
}


def find_images(folder: Path) -> list[Path]:
    """Image files directly in a folder, by name; hidden files are passed over (PBC ships one)."""
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
