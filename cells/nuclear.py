"""Which pixels are nuclear stain, and which are stained at all, by Otsu's method or by HSV thresholds."""

from __future__ import annotations

from typing import Annotated, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import ndimage
from skimage.filters import gaussian, threshold_otsu

from cells.regions import from_middle
from runtime.config import Settings

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]
Share = Annotated[float, Field(ge=0, le=1)]

# Weights of optical density in red, green and blue: high for the purple of chromatin, low for the
# pink and brown of hemoglobin and eosinophil granules, which absorb blue, and for blue cytoplasm.
NUCLEAR = np.array([0.3, 1.0, -0.7], np.float32)
PALE = 0.8  # stained at all: above this share of Otsu's threshold outside the nuclear stain
SMOOTHING = 1 / 100  # standard deviation in image widths
COARSER = 2.0  # of `SMOOTHING`, for the choice of a threshold inside the cell
SEPARABLE = 0.68  # share of the variance that a threshold inside the cell explains at least

CENTRAL = 0.3  # around the middle, in image widths, the first HSV thresholds look for the strongest stain
STRONGEST = 0.95  # the quantile that is taken for it: the very strongest may be a speck of dirt


class OtsuMasks(Settings):
    """Otsu's threshold on a stain channel of the optical density, image by image."""

    kind: Literal["otsu"] = "otsu"


class HsvMasks(Settings):
    """Thresholds on hue, saturation and value, after the background is made white.

    Stain differs from smear to smear. So a first, wide set of thresholds finds the nucleus, and a
    second one in the cell is relative to what was found: to its hue, its saturation and its darkness
    (1 - value). "That of the nucleus" is the `reference` quantile of the pixels found first.

    Attributes:
        hue: From and to, in degrees; nuclear stain lies between.
        least_saturation: Nuclear stain has at least this much.
        first: And at least this share of the strongest saturation and darkness near the middle.
        hue_around: How far below and above the nucleus's mean hue nuclear stain may be, in degrees.
        saturation: Nuclear stain has at least this share of the saturation of the nucleus,
        value: and at least this share of its darkness.
        reference: The quantile that is taken for that of the nucleus.
        cell_saturation: What is stained at all has at least this much,
        cell_value: or at most this value.
    """

    kind: Literal["hsv"] = "hsv"
    hue: tuple[float, float] = (230, 300)
    least_saturation: Share = 0.15
    first: Share = 0.5
    hue_around: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = (20, 40)
    saturation: Share = 0.65
    value: Share = 0.65
    reference: Share = 0.75
    cell_saturation: Share = 0.1
    cell_value: Share = 0.9


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
        self.hue, self.saturation, self.value = np.moveaxis(cv2.cvtColor(through, cv2.COLOR_RGB2HSV), 2, 0)
        self.darkness = 1 - self.value
        self.settings = settings

    def first(self) -> tuple[Mask, Mask]:
        """Nuclear stain, and any stain, in the whole image, each (h, w)."""
        settings = self.settings
        low, high = settings.hue
        within = self._hue_between(low, high) & (self.saturation >= settings.least_saturation)
        stained = (self.saturation >= settings.cell_saturation) | (self.value <= settings.cell_value)
        near = within & (from_middle(within.shape) < CENTRAL * len(within))
        if not near.any():
            return near, stained
        return within & self._strong(near, STRONGEST, settings.first, settings.first), stained

    def inside(self, nuclear: Mask, cell: Mask) -> Mask:
        """Nuclear stain by thresholds relative to that found first in the cell, (h, w).

        Args:
            nuclear: What `first` found.
            cell: The cell.
        """
        core, settings = nuclear & cell, self.settings
        if not core.any():
            return core
        directions = self.saturation[core] * np.exp(1j * np.radians(self.hue[core]))
        hue = float(np.degrees(np.angle(directions.mean())))
        below, above = settings.hue_around
        strong = self._strong(core, settings.reference, settings.saturation, settings.value)
        return strong & self._hue_between(hue - below, hue + above)

    def _hue_between(self, low: float, high: float) -> Mask:
        """Hue on the way up from one to the other, in degrees; a full turn or more is every hue."""
        if high - low >= 360:
            return np.ones(self.hue.shape, bool)
        return np.asarray((self.hue - low) % 360 <= (high - low) % 360)

    def _strong(self, core: Mask, quantile: float, saturation: float, darkness: float) -> Mask:
        """At least these shares of a quantile of the saturation and darkness of the core."""
        return np.asarray(
            (self.saturation >= saturation * np.quantile(self.saturation[core], quantile))
            & (self.darkness >= darkness * np.quantile(self.darkness[core], quantile))
        )
