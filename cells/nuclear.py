"""Which pixels are nuclear stain, and which are stained at all, by Otsu's method or by HSV thresholds."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from skimage.color import rgb2hsv
from skimage.filters import gaussian, threshold_otsu

from runtime.config import Settings

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

# Weights of optical density in red, green and blue: high for the purple of chromatin, low for the
# pink and brown of hemoglobin and eosinophil granules, which absorb blue, and for blue cytoplasm.
NUCLEAR = np.array([0.3, 1.0, -0.7], np.float32)
PALE = 0.8  # stained at all: above this share of Otsu's threshold outside the nuclear stain
SMOOTHING = 1 / 100  # standard deviation in image widths
COARSER = 2.0  # of `SMOOTHING`, for the choice of a threshold inside the cell
SEPARABLE = 0.68  # share of the variance that a threshold inside the cell explains at least


class OtsuMasks(Settings):
    """Otsu's threshold on a stain channel of the optical density, image by image."""

    kind: Literal["otsu"] = "otsu"


class HsvMasks(Settings):
    """Fixed thresholds on hue, saturation and value, after the background is made white.

    Attributes:
        hue: From and to, in degrees; nuclear stain lies between.
        saturation: Nuclear stain has at least this much.
        value: Nuclear stain has at most this much.
        cell_saturation: What is stained at all has at least this much,
        cell_value: or at most this value.
    """

    kind: Literal["hsv"] = "hsv"
    hue: tuple[float, float] = (240, 285)
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.38
    value: Annotated[float, Field(ge=0, le=1)] = 0.78
    cell_saturation: Annotated[float, Field(ge=0, le=1)] = 0.1
    cell_value: Annotated[float, Field(ge=0, le=1)] = 0.9


class ByOtsu:
    """Otsu's method on one image.

    Args:
        through: Light that passes the stains, in (0, 1], float32, shape (h, w, 3).
        settings: Of the method.
    """

    def __init__(self, through: Floats, settings: OtsuMasks) -> None:
        density = -np.log10(through)  # Beer-Lambert: proportional to the amount of stain
        self.nuclear, self.stain = density @ NUCLEAR, density.sum(axis=2)

    def first(self) -> tuple[Mask, Mask]:
        """Nuclear stain, and any stain, in the whole image, each (h, w)."""
        if self.nuclear.min() == self.nuclear.max():
            return np.zeros(self.nuclear.shape, bool), np.zeros(self.nuclear.shape, bool)
        dark = self.nuclear > threshold_otsu(self.nuclear)
        rest = self.stain[~dark]
        pale = PALE * threshold_otsu(np.minimum(rest, np.quantile(rest, 0.9)))
        return dark, self.stain > pale

    def inside(self, nuclear: Mask, cell: Mask) -> Mask:
        """Nuclear stain by a threshold found inside the cell alone, if the cell has two sides to tell.

        Args:
            nuclear: What `first` found.
            cell: The cell.
        """
        size = len(cell)
        inner = ndimage.binary_erosion(cell, iterations=max(1, size // 40))
        values = gaussian(self.nuclear, COARSER * SMOOTHING * size)[inner]
        if len(values) < 20 or np.ptp(values) == 0:
            return nuclear
        threshold = threshold_otsu(values)
        high = values > threshold
        share = high.mean()
        between = share * (1 - share) * (values[high].mean() - values[~high].mean()) ** 2
        return np.asarray(self.nuclear > threshold) if between >= SEPARABLE * values.var() else nuclear


class ByHsv:
    """Thresholds on hue, saturation and value of one image.

    Args:
        through: Light that passes the stains, in (0, 1], float32, shape (h, w, 3).
        settings: Of the method.
    """

    def __init__(self, through: Floats, settings: HsvMasks) -> None:
        self.hsv = np.moveaxis(rgb2hsv(through), 2, 0)
        self.settings = settings

    def first(self) -> tuple[Mask, Mask]:
        """Nuclear stain, and any stain, in the whole image, each (h, w)."""
        hue, saturation, value = self.hsv
        settings = self.settings
        low, high = settings.hue
        within = (hue * 360 - low) % 360 <= (high - low) % 360
        dark = within & (saturation >= settings.saturation) & (value <= settings.value)
        return dark, (saturation >= settings.cell_saturation) | (value <= settings.cell_value)

    def inside(self, nuclear: Mask, cell: Mask) -> Mask:
        """What `first` found."""
        return nuclear
