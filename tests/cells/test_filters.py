"""Filters against scikit-image's own results and against what they are for."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from skimage import exposure, filters
from skimage.color import rgb2hsv

from cells import filters as ours
from cells.phantom import draw


def gray(size: int = 32) -> NDArray[np.uint8]:
    """A dim, noisy ramp with a disc, as X-rays are: equal channels."""
    y, x = np.mgrid[:size, :size]
    plane = 60 + x + 40 * (np.hypot(x - size / 2, y - size / 2) < size / 4)
    noise = np.random.default_rng(0).normal(0, 4, plane.shape)
    return np.clip(plane + noise, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=2)


ALL = {
    "clahe": lambda image: ours.clahe(image, 0.02, 4),
    "equalize": ours.equalize,
    "gamma": lambda image: ours.gamma(image, 0.7),
    "median": lambda image: ours.median(image, 1),
    "bilateral": lambda image: ours.bilateral(image, 0.1),
    "nl_means": lambda image: ours.nl_means(image, 0.8),
    "tv": lambda image: ours.tv(image, 0.1),
    "unsharp": lambda image: ours.unsharp(image, 1.0, 1.0),
}


@pytest.mark.parametrize("name", ALL)
def test_gray_stays_gray_and_flat_stays_flat(name: str) -> None:
    made = ALL[name](gray())
    assert made.dtype == np.uint8 and made.shape == (32, 32, 3)
    assert (made == made[..., :1]).all()
    flat = np.full((16, 16, 3), 90, np.uint8)
    assert len(np.unique(ALL[name](flat))) == 1


def test_references() -> None:
    image, plane = gray(), gray()[..., 0]
    reference = {
        "gamma": (plane / 255) ** 0.7,
        "equalize": exposure.equalize_hist(plane / 255),
        "median": median_filter(plane, 3, mode="reflect") / 255,
        "unsharp": filters.unsharp_mask(plane / 255, radius=1.0, amount=1.0),
        "clahe": exposure.equalize_adapthist(plane / 255, kernel_size=8, clip_limit=0.02),
    }
    for name, expected in reference.items():
        assert np.abs(ALL[name](image)[..., 0] - expected * 255).max() <= 1, name


@pytest.mark.parametrize("name", ["clahe", "equalize"])
def test_contrast_leaves_hue_alone(name: str) -> None:
    image = draw(0, 0, 32)
    before, after = rgb2hsv(image), rgb2hsv(ALL[name](image))
    colored = (before[..., 1] > 0.15) & (after[..., 2] > 0.2)
    apart = np.abs(before[..., 0] - after[..., 0])[colored]
    assert np.percentile(np.minimum(apart, 1 - apart), 95) < 0.02


@pytest.mark.parametrize("name", ["median", "bilateral", "nl_means", "tv"])
def test_denoising_removes_noise_and_keeps_the_edge(name: str) -> None:
    clean = np.full((32, 32, 3), 60, np.uint8)
    clean[:, 16:] = 180
    noise = np.random.default_rng(0).normal(0, 10, clean.shape)
    noisy = np.clip(clean + noise, 0, 255).astype(np.uint8)
    made = ALL[name](noisy).astype(float)
    assert np.abs(made - clean).mean() < 0.75 * np.abs(noisy.astype(float) - clean).mean()
    assert made[:, 17].mean() - made[:, 14].mean() > 80


def test_unsharp_and_gamma_go_the_right_way() -> None:
    image = gray()
    assert ours.unsharp(image, 1, 1).astype(float).std() > image.astype(float).std()
    assert ours.gamma(image, 0.5).mean() > image.mean() > ours.gamma(image, 2.0).mean()
