"""Does an image or stack look like anything in training? Two distances, calibrated on held-out cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from cells.cellset import CellSet
from classifiers.samples import Samples
from classifiers.training import Classifier
from runtime.checkpoint import WEIGHTS, file_digest, read_tensors, save_tensors
from runtime.errors import InputError
from runtime.rundir import read_json, write_json
from runtime.seeds import numpy_generator

TENSORS, RECORD = "known.safetensors", "known.json"
FORMAT = 1
NEIGHBORS = 5
BANK = 5000  # training cells that are kept to compare with
LEAST = 0.01  # share of a variance or deviation of about 1 that is taken to be there at least
QUERIES = 1024  # cells whose distances are computed at a time
VIEWS = ("features", "appearance")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One way of looking at cells: training cells as points, and how far from them unseen cells lie.

    Attributes:
        center: Mean of the training cells, shape (d,).
        whitening: What turns differences from it into points of about unit variance, shape (d, d).
        bank: Training cells as points, float32, shape (m, d).
        held_out: Distance of each held-out cell, ascending, shape (v,).
    """

    center: NDArray[np.float32]
    whitening: NDArray[np.float32]
    bank: NDArray[np.float32]
    held_out: NDArray[np.float32]

    @classmethod
    def fit(cls, train: NDArray[np.float32], held_out: NDArray[np.float32]) -> Self:
        """From what is seen of training cells (m, d) and of held-out ones (v, d)."""
        center, matrix = train.mean(axis=0), whitening(train)
        nothing = np.zeros(0, np.float32)
        bank = cls(center, matrix, nothing, nothing).points(train)
        return cls(center, matrix, bank, np.sort(cls(center, matrix, bank, nothing).distances(held_out)))

    def points(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, d) to (n, d)."""
        return np.asarray((seen - self.center) @ self.whitening, dtype=np.float32)

    def distances(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean distance to the nearest training cells: (n, d) to (n,)."""
        bank, count = torch.from_numpy(self.bank), min(NEIGHBORS, len(self.bank))
        rows = [
            torch.cdist(part, bank).topk(count, largest=False).values.mean(dim=1)
            for part in torch.from_numpy(self.points(seen)).split(QUERIES)
        ]
        return np.asarray(torch.cat(rows).numpy() if rows else np.zeros(0, np.float32))

    def familiarity(self, seen: NDArray[np.float32]) -> Floats:
        """Share of held-out cells, the cell itself among them, that lie as far out or farther: (n,).

        For cells like the held-out ones it is uniform, so that a share r has r or less.
        """
        beyond = len(self.held_out) - np.searchsorted(self.held_out, self.distances(seen), side="left")
        return np.asarray((1 + beyond) / (1 + len(self.held_out)), dtype=np.float64)


@dataclass(frozen=True)
class Known:
    """What the training set, of cells or of stacks, looks like: to the network, and in color and texture.

    The network's features miss what it never learned to see, so the second view looks at the pixels alone.

    Attributes:
        views: By name, one for each of `VIEWS`.
    """

    views: dict[str, View]

    @classmethod
    def fit(cls, classifier: Classifier, train: CellSet, held_out: CellSet) -> Self:
        """Remember training cells, and calibrate on cells that the network was not trained on.

        Args:
            classifier: Trained.
            train: Its training cells; synthetic ones are left out.
            held_out: Real cells of the same kind that it has not seen: validation cells.

        Source:
            Sun et al., ICML 2022, arXiv:2204.06507 (distance to training cells in a network's features);
            Laxhammar and Falkman, AMAI 2015 (conformal calibration of such a distance).
        """
        real = train.subset(~train.is_synthetic) if not train.is_synthetic.all() else train
        samples = Samples(real)
        rows = numpy_generator(0, "known").permutation(len(samples))[:BANK]
        bank = samples.subset(np.sort(rows))
        seen = zip(VIEWS, look(classifier, bank), look(classifier, held_out), strict=True)
        return cls({name: View.fit(of_train, of_others) for name, of_train, of_others in seen})

    def familiarity(self, classifier: Classifier, cells: CellSet) -> dict[str, Floats]:
        """See `View.familiarity`: by view, shape (n,)."""
        return {
            name: self.views[name].familiarity(found)
            for name, found in zip(VIEWS, look(classifier, cells), strict=True)
        }

    def threshold(self, rate: float) -> float:
        """The familiarity at or below which a view flags, so that of cells like the held-out ones no more
        than `rate` are flagged by either view: half the rate each, but no less than one in all.
        """
        count = len(next(iter(self.views.values())).held_out)
        return max(rate / len(VIEWS), 1 / (1 + count))

    def save(self, folder: Path) -> None:
        """Write ``known.safetensors`` and ``known.json`` beside the classifier's weights."""
        tensors = {
            f"{name}.{part}": torch.from_numpy(getattr(view, part).copy())
            for name, view in self.views.items()
            for part in View.__dataclass_fields__
        }
        save_tensors(folder / TENSORS, tensors)
        digests = {"sha256": file_digest(folder / TENSORS), "weights_sha256": file_digest(folder / WEIGHTS)}
        write_json(folder / RECORD, {"format": FORMAT, **digests})

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read what `save` wrote; None where the folder has none.

        Raises:
            InputError: If a file is missing or damaged, or belongs to other weights.
        """
        if not (folder / RECORD).is_file():
            return None
        record, file = read_json(folder / RECORD), folder / TENSORS
        if record.get("format") != FORMAT or not file.is_file():
            raise InputError(
                f"{folder / RECORD}: does not say what {file} holds; train the classifier again."
            )
        if record.get("weights_sha256") != file_digest(folder / WEIGHTS):
            raise InputError(
                f"{file}: belongs to another classifier than {folder / WEIGHTS}; train it again."
            )
        tensors = {name: tensor.numpy() for name, tensor in read_tensors(file, record.get("sha256")).items()}
        parts = View.__dataclass_fields__
        return cls({name: View(**{part: tensors[f"{name}.{part}"] for part in parts}) for name in VIEWS})


def whitening(train: NDArray[np.float32]) -> NDArray[np.float32]:
    """The matrix that gives training cells unit variance in every direction: (m, d) to (d, d).

    Where they hardly vary, as colors of gray images do, `LEAST` keeps noise from counting as far away.
    """
    spread = train.std(axis=0)
    spread = np.maximum(spread, LEAST * max(float(spread.mean()), 1e-6))
    scaled = ((train - train.mean(axis=0)) / spread).astype(np.float64)
    values, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled))
    return (directions / np.sqrt(values.clip(min=0) + LEAST) / spread[:, None]).astype(np.float32)


def look(classifier: Classifier, cells: CellSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What each of `VIEWS` sees of cells, or of stacks: (n, d) each.

    The appearance of a stack is that of its images one after the other: one strange image counts, and so does
    their order.
    """
    features, depth = classifier.features(cells), classifier.depth
    if depth:
        cells = Samples(cells).subset(np.arange(len(features)))  # stack by stack
    each = appearance(np.asarray(cells.pixels))
    return features, each.reshape(len(features), each.shape[1] * max(1, depth))


def appearance(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Color and texture of images in 24 numbers, whatever they show.

    Mean, standard deviation, 5th and 95th percentile of each color channel; how much neighboring pixels
    differ in it, at full, half and quarter resolution; and how far the channels agree.

    Args:
        pixels: uint8, shape (n, h, w, 3), h, w >= 8.

    Returns:
        float32, shape (n, 24).
    """
    made = [_appearance(pixels[begin : begin + QUERIES]) for begin in range(0, len(pixels), QUERIES)]
    return np.concatenate(made) if made else np.zeros((0, 24), np.float32)


def _appearance(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    images = torch.from_numpy(np.moveaxis(pixels, 3, 1).astype(np.float32) / 255)  # (n, 3, h, w)
    flat = images.flatten(2)  # (n, 3, h w)
    parts = [flat.mean(2), flat.std(2), flat.quantile(0.05, dim=2), flat.quantile(0.95, dim=2)]
    for _ in range(3):
        across, down = images.diff(dim=3).abs().mean(dim=(2, 3)), images.diff(dim=2).abs().mean(dim=(2, 3))
        parts.append((across + down).clamp(min=1e-4).log())
        images = torch.nn.functional.avg_pool2d(images, 2)
    centered = flat - flat.mean(2, keepdim=True)
    shape = centered / centered.norm(dim=2, keepdim=True).clamp(min=1e-6)
    agree = shape @ shape.transpose(1, 2)  # (n, 3, 3) correlations
    parts.append(torch.stack([agree[:, 0, 1], agree[:, 0, 2], agree[:, 1, 2]], dim=1))
    return torch.cat(parts, dim=1).numpy()
