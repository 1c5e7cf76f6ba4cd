"""Light, contrast, noise and edges of one image: scikit-image's filters on 8-bit RGB.

What changes light or contrast works on the value of HSV, so that hue and saturation stay, and a gray
image stays gray.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, median_filter
from skimage import exposure, filters, restoration
from skimage.color import hsv2rgb, rgb2hsv

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]


def clahe(image: Image, clip: float, tiles: int) -> Image:
    """Contrast-limited adaptive histogram equalization; see `skimage.exposure.equalize_adapthist`.

    Args:
        image: uint8, shape (h, w, 3).
        clip: Limit of the contrast, in (0, 1]; more is stronger.
        tiles: The image has this many tiles a side, each with a histogram of its own.
    """
    tile = max(2, image.shape[0] // tiles)
    return _on_value(image, lambda v: exposure.equalize_adapthist(v, kernel_size=tile, clip_limit=clip))


def equalize(image: Image) -> Image:
    """Histogram equalization of the whole image; a flat one stays as it is."""
    if int(image.max()) == int(image.min()):
        return image.copy()
    return _on_value(image, exposure.equalize_hist)


def gamma(image: Image, power: float) -> Image:
    """Each level to a power: below 1 brightens."""
    return _to_bytes(exposure.adjust_gamma(image / 255, power))


def median(image: Image, radius: int) -> Image:
    """The median of a square of 2 radius + 1 pixels, each channel by itself, borders mirrored."""
    return np.asarray(median_filter(image, size=(2 * radius + 1, 2 * radius + 1, 1), mode="reflect"))


def bilateral(image: Image, strength: float) -> Image:
    """Bilateral filter: `strength` is the difference of levels, in [0, 1], that counts as an edge."""
    return _to_bytes(
        restoration.denoise_bilateral(image / 255, sigma_color=strength, sigma_spatial=1, channel_axis=2)
    )


def nl_means(image: Image, strength: float) -> Image:
    """Non-local means: `strength` is h in standard deviations of the noise, which is estimated."""
    levels = image / 255
    noise = noise_of(levels)
    if noise == 0:
        return image.copy()
    return _to_bytes(
        restoration.denoise_nl_means(
            levels,
            h=strength * noise,
            sigma=noise,
            patch_size=3,
            patch_distance=5,
            fast_mode=True,
            channel_axis=2,
        )
    )


def noise_of(levels: Plane) -> float:
    """Standard deviation of an image's noise, from what a difference of Laplacians leaves of it.

    Args:
        levels: Shape (h, w, c), h and w at least 3.

    Source:
        Immerkær, "Fast noise variance estimation", Computer Vision and Image Understanding 64(2), 1996.
    """
    mask = np.outer([1, -2, 1], [1, -2, 1])[..., None]
    left = convolve(levels, mask)[1:-1, 1:-1]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(left).mean())


def tv(image: Image, strength: float) -> Image:
    """Total variation (Chambolle): `strength` is its weight."""
    return _to_bytes(restoration.denoise_tv_chambolle(image / 255, weight=strength, channel_axis=2))


def unsharp(image: Image, radius: float, amount: float) -> Image:
    """Unsharp masking: `amount` times what a Gaussian of `radius` pixels blurs away is added."""
    # channel_axis=-1 means the first axis there (scikit-image 0.26) and leaves most rows unset.
    return _to_bytes(filters.unsharp_mask(image / 255, radius=radius, amount=amount, channel_axis=2))


def _on_value(image: Image, change: Callable[[Plane], Plane]) -> Image:
    hsv = rgb2hsv(image)
    hsv[..., 2] = change(hsv[..., 2])
    return _to_bytes(hsv2rgb(hsv))


def _to_bytes(levels: Plane) -> Image:
    return np.asarray((levels * 255).round().clip(0, 255), dtype=np.uint8)
