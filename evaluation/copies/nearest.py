"""How far cells are from each other, in pixels and in features, whichever way they are turned.

Both spaces take the least distance over the eight flips and quarter turns of a square. In pixels
a copy is also found when it was made darker, paler or of another tint: the light of the training
cell is fitted to the cell that is asked about, within bounds.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cells.cellset import CellSet
from evaluation.features.encoders import Encoder

EDGE = 14  # low-passed: re-encoding and resampling vanish, the cell's build remains
GAIN = 1.12  # contrast of a channel may differ by this factor
SHIFT = 0.1  # brightness of a channel may differ by this much, of [0, 1]
FLAT = 1e-6  # variance of a channel below which it has no contrast to fit
NEXT = 50  # training cells after the nearest that its distance is compared to
CHUNK = 2048
BLOCK = 128  # queries at a time: a block of distances to 50,000 cells takes 50 MB

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


class Neighborhood(NamedTuple):
    """What lies next to each of n cells among the cells of its class in a bank.

    Attributes:
        nearest: Distance to the nearest, shape (n,); infinite where the class has no cell.
        second: Distance to the second nearest, shape (n,); infinite where there is none.
        beyond: Mean distance to the next ones, from the second on, at most `NEXT`; infinite where
            there is none.
        row: Of the nearest in the bank, shape (n,); -1 where there is none.
    """

    nearest: Floats
    second: Floats
    beyond: Floats
    row: Rows


class Space(Protocol):
    """Somewhere that cells have a distance."""

    @property
    def name(self) -> str:
        """In words, for tables."""
        ...

    def prepare(self, cells: CellSet, made: bool) -> Tensor:
        """Coordinates, one row a cell; `made` tells the side of the synthetic cells from the real one."""
        ...

    def pairwise(self, queries: Tensor, bank: Tensor) -> Tensor:
        """Distances of prepared rows, least over all turns, shape (queries, bank), float64."""
        ...


class PixelSpace:
    """Low-passed RGB; the distance is a root mean square of values in [0, 1].

    For a query q and a cell b of the bank, with channel means q̄ and b̄, it is the root of the mean over
    channels of  min over g, s of  mean((q - q̄) - g (b - b̄))² + (q̄ - b̄ - s)²,  1/GAIN <= g <= GAIN,
    |s| <= SHIFT. Both minima are closed: g is the clipped least-squares gain, s the clipped difference.
    """

    name = "pixels"

    def prepare(self, cells: CellSet, made: bool) -> Tensor:
        """Small images, shape (n, 3, EDGE, EDGE); both sides alike."""
        return low_passed(cells)

    def pairwise(self, queries: Tensor, bank: Tensor) -> Tensor:
        """See `Space.pairwise`."""
        best = torch.full((len(queries), len(bank)), torch.inf, dtype=torch.float64)
        mean, rest, variance = _light(bank)
        for turned in _turns(queries):
            asked_mean, asked, asked_variance = _light(turned)
            total = torch.zeros_like(best)
            for channel in range(3):
                own = variance[:, channel]
                shared = asked[:, channel] @ rest[:, channel].T / rest.shape[2]  # covariance
                gain = (shared / own.clamp_min(FLAT)).clamp(1 / GAIN, GAIN)
                left = asked_variance[:, channel, None] - 2 * gain * shared + gain**2 * own
                apart = asked_mean[:, channel, None] - mean[:, channel]
                total += left.clamp_min(0) + (apart - apart.clamp(-SHIFT, SHIFT)) ** 2
            best = torch.minimum(best, (total / 3).sqrt())
        return best


class FeatureSpace:
    """Features of an encoder, at Euclidean distance.

    An encoder is not blind to turns, so one side is encoded in all eight. It is the same side throughout:
    then unseen real cells, which stand in for synthetic ones, are treated like them.

    Args:
        encoder: Gives the features, and caches them.
        turn_made: Whether the synthetic side is turned, or the real one.
    """

    def __init__(self, encoder: Encoder, turn_made: bool) -> None:
        self.encoder, self.turn_made = encoder, turn_made
        self.name = f"features ({encoder.name})"

    def prepare(self, cells: CellSet, made: bool) -> Tensor:
        """Features, shape (n, 8 or 1, d)."""
        sides = turned_cells(cells) if made == self.turn_made else [cells]
        return torch.stack([torch.from_numpy(self.encoder.encode(side)) for side in sides], dim=1)

    def pairwise(self, queries: Tensor, bank: Tensor) -> Tensor:
        """See `Space.pairwise`."""
        best = torch.full((len(queries), len(bank)), torch.inf, dtype=torch.float64)
        for one in queries.double().unbind(1):
            for other in bank.double().unbind(1):
                best = torch.minimum(best, torch.cdist(one, other))
        return best


def neighbors(
    space: Space, queries: Tensor, labels: Rows, bank: Tensor, bank_labels: Rows, following: int = NEXT
) -> Neighborhood:
    """The nearest cells of the same class.

    Args:
        space: What prepared both sides.
        queries: Prepared, n rows.
        labels: Their classes, shape (n,).
        bank: Prepared, m rows.
        bank_labels: Their classes, shape (m,).
        following: How many after the nearest make up `Neighborhood.beyond`, >= 1.
    """
    n = len(labels)
    far = np.full((3, n), np.inf)
    found = Neighborhood(far[0], far[1], far[2], np.full(n, -1, dtype=np.int64))
    for label in np.unique(labels):
        members = np.flatnonzero(bank_labels == label)
        rows = np.flatnonzero(labels == label)
        if len(members) == 0:
            continue
        of_class = bank[torch.from_numpy(members)]
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            distances = space.pairwise(queries[torch.from_numpy(part)], of_class)
            values, order = distances.topk(min(following + 1, len(members)), dim=1, largest=False)
            found.nearest[part] = values[:, 0].numpy()
            found.row[part] = members[order[:, 0].numpy()]
            if len(members) > 1:
                found.second[part] = values[:, 1].numpy()
                found.beyond[part] = values[:, 1:].mean(dim=1).numpy()
    return found


def low_passed(cells: CellSet, edge: int = EDGE) -> Tensor:
    """Cells as small antialiased RGB images in [0, 1], shape (n, 3, edge, edge) float32."""
    parts = [torch.zeros(0, 3, edge, edge)]
    for start in range(0, len(cells), CHUNK):
        pixels = np.array(cells.pixels[start : start + CHUNK].transpose(0, 3, 1, 2), order="C")
        x = torch.from_numpy(pixels).float() / 255  # (b, 3, h, w)
        parts.append(functional.interpolate(x, (edge, edge), mode="bilinear", antialias=True))
    return torch.cat(parts)


def turned_cells(cells: CellSet) -> list[CellSet]:
    """The cells in the eight orientations of a square, each set in their order."""
    both = (cells.pixels, cells.pixels[:, :, ::-1])
    return [
        CellSet.from_arrays(
            np.ascontiguousarray(np.rot90(pixels, quarter, (1, 2))), cells.labels, cells.classes
        )
        for pixels in both
        for quarter in range(4)
    ]


def _turns(images: Tensor) -> list[Tensor]:
    """The eight images of a square under flips and quarter turns."""
    both = (images, images.flip(-1))
    return [torch.rot90(image, quarter, (-2, -1)) for image in both for quarter in range(4)]


def _light(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, what is left without it, and variance of each channel; in float64, so that copies are at 0."""
    flat = images.double().flatten(2)  # (n, 3, p)
    mean = flat.mean(dim=2)
    rest = flat - mean[..., None]
    return mean, rest, (rest**2).mean(dim=2)
