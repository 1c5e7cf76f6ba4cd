"""Copies of training cells among synthetic ones, judged by how near unseen real cells come.

A generator that returns its training cells, turned or flipped, looks perfect to every fidelity
metric. Whether a synthetic cell is *too* near is calibrated on held-out real cells: at the
threshold, one in a hundred of them would be called a copy.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cells.cellset import CellSet
from runtime.errors import InputError

EDGE = 14  # low-passed: re-encoding and resampling vanish, the cell's build remains
WORST = 20
LEAST_HELD_OUT = 5  # a class with fewer takes the scale of all classes
CHUNK = 2048


class CopyDetector:
    """Distance to the nearest training cell of the class, against that of held-out real cells.

    The distance is the root mean square over low-passed RGB in [0, 1], the least of the eight
    flips and quarter turns. It is told relative to the class: 1 is the median held-out real cell.

    Args:
        train: Real cells that the generator was trained on.
        heldout: Real cells that it was not trained on.
        per_flag: Share of the held-out cells that the threshold flags.

    Attributes:
        threshold: Relative distance below which a cell counts as a near-copy.
        calibrated_on: Number of held-out cells behind it.

    Raises:
        InputError: If there is no held-out cell of a class that training has.
    """

    def __init__(self, train: CellSet, heldout: CellSet, per_flag: float = 0.01) -> None:
        _check(train, heldout)
        self.train = train
        self._bank = low_passed(train)
        distances, _ = self.nearest(heldout)
        known = np.isfinite(distances)
        if not known.any():
            raise InputError("copies cannot be calibrated: no held-out real cell of a training class.")
        self.scales = _scales(distances, heldout, known)
        relative = distances[known] / self.scales[heldout.labels[known]]
        self.threshold = float(np.quantile(relative, per_flag))
        self.calibrated_on = int(known.sum())

    def nearest(self, cells: CellSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distance to the nearest training cell of the same class, and its index in `train`.

        Returns:
            Root mean square in [0, 1], shape (n,), infinite without such a cell; and the index,
            -1 without.
        """
        _check(self.train, cells)
        distances = np.full(len(cells), np.inf)
        indices = np.full(len(cells), -1, dtype=np.int64)
        queries = low_passed(cells)
        for label in np.unique(cells.labels):
            rows = np.flatnonzero(cells.labels == label)
            bank = np.flatnonzero(self.train.labels == label)
            if len(bank):
                found = _nearest(queries[rows], self._bank[bank])
                distances[rows], indices[rows] = found[0], bank[found[1]]
        return distances, indices

    def relative(self, cells: CellSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """As `nearest`, the distances in units of the class's median held-out real cell."""
        distances, indices = self.nearest(cells)
        return distances / self.scales[cells.labels], indices

    def flags(self, cells: CellSet) -> NDArray[np.bool_]:
        """True for each near-copy, shape (n,)."""
        return np.asarray(self.relative(cells)[0] <= self.threshold)


def near_copies(
    synthetic: CellSet, train: CellSet, heldout: CellSet, per_flag: float = 0.01
) -> dict[str, Any]:
    """Share of synthetic cells that are nearer to a training cell than unseen real cells are.

    Args:
        synthetic: Cells to judge.
        train: Real cells that the generator was trained on; same classes and image size.
        heldout: Real cells that it was not trained on.
        per_flag: Share of held-out cells that is flagged: what an honest generator scores.

    Returns:
        JSON values: ``share`` and ``n``; ``expected`` (= per_flag); ``threshold``, a relative
        distance (1 = the class's median held-out cell); ``calibrated_on``; ``per_class`` shares;
        ``worst``, the nearest pairs first: ``synthetic_index``, ``train_index``, ``distance``
        (relative), ``rms`` (of RGB in [0, 1]), ``class``, ``copy``.
    """
    detector = CopyDetector(train, heldout, per_flag)
    relative, indices = detector.relative(synthetic)
    copies = relative <= detector.threshold
    worst = []
    for row in np.argsort(relative, kind="stable")[:WORST].tolist():
        if indices[row] < 0:
            break
        label = int(synthetic.labels[row])
        worst.append(
            {
                "synthetic_index": row,
                "train_index": int(indices[row]),
                "distance": float(relative[row]),
                "rms": float(relative[row] * detector.scales[label]),
                "class": synthetic.classes[label],
                "copy": bool(copies[row]),
            }
        )
    return {
        "share": float(copies.mean()) if len(copies) else None,
        "n": len(copies),
        "expected": per_flag,
        "threshold": detector.threshold,
        "calibrated_on": detector.calibrated_on,
        "per_class": {
            name: float(copies[synthetic.labels == label].mean())
            for label, name in enumerate(synthetic.classes)
            if (synthetic.labels == label).any()
        },
        "worst": worst,
    }


def low_passed(cells: CellSet, edge: int = EDGE) -> Tensor:
    """Cells as small antialiased RGB images in [0, 1], shape (n, 3, edge, edge) float32."""
    parts = [torch.zeros(0, 3, edge, edge)]
    for start in range(0, len(cells), CHUNK):
        pixels = np.array(cells.pixels[start : start + CHUNK].transpose(0, 3, 1, 2), order="C")
        x = torch.from_numpy(pixels).float() / 255  # (b, 3, h, w)
        parts.append(functional.interpolate(x, (edge, edge), mode="bilinear", antialias=True))
    return torch.cat(parts)


def _nearest(queries: Tensor, bank: Tensor) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Least root-mean-square distance over all flips and quarter turns, and where it is."""
    flat = bank.flatten(1).double()  # (m, p); in float32 an exact copy would not be at 0
    best = torch.full((len(queries),), torch.inf, dtype=torch.float64)
    where = torch.zeros(len(queries), dtype=torch.int64)
    for turned in _turns(queries.double()):  # (n, 3, edge, edge)
        for start in range(0, len(queries), CHUNK):
            rows = slice(start, start + CHUNK)
            values, found = torch.cdist(turned[rows].flatten(1), flat).min(dim=1)
            nearer = values < best[rows]
            best[rows] = torch.where(nearer, values, best[rows])
            where[rows] = torch.where(nearer, found, where[rows])
    return (best / flat.shape[1] ** 0.5).numpy(), where.numpy()


def _turns(images: Tensor) -> list[Tensor]:
    """The eight images of a square under flips and quarter turns."""
    both = (images, images.flip(-1))
    return [torch.rot90(image, quarter, (-2, -1)) for image in both for quarter in range(4)]


def _scales(
    distances: NDArray[np.float64], heldout: CellSet, known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Median held-out distance of each class: small round cells are alike without being copies."""
    pooled = float(np.median(distances[known]))
    scales = np.full(len(heldout.classes), max(pooled, 1e-6))
    for label in range(len(heldout.classes)):
        of_class = distances[known & (heldout.labels == label)]
        if len(of_class) >= LEAST_HELD_OUT:
            scales[label] = max(float(np.median(of_class)), 1e-6)
    return scales


def _check(train: CellSet, other: CellSet) -> None:
    if train.classes != other.classes:
        raise InputError(
            f"training classes {list(train.classes)} are not {list(other.classes)}; "
            "give both sets the same classes."
        )
