"""SMOTE on the principal components of pixels, behind the protocol of a generator.

The rival that needs no training: a synthetic cell lies somewhere between a training cell and one of its
nearest neighbors of the same class. In pixels that is a cross-fade of two cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from cells.cellset import CellSet
from generators.fitted import FittedGenerator
from generators.protocol import Monitor, as_tensor, check_request
from runtime.config import Settings
from runtime.errors import InputError
from runtime.rundir import RunDir
from runtime.seeds import numpy_generator, seed_of

KIND: Literal["smote"] = "smote"
NONE = -1  # in the table of neighbors: a class so small that it has no more


class SmoteSettings(Settings):
    """What SMOTE interpolates.

    Attributes:
        neighbors: Nearest neighbors of a cell within its class; the other end of a segment is one of them.
            A class of n cells has n - 1 at most.
        components: Principal components of the training cells' pixels that are kept; with few of them the
            drawn cells are blurred.
    """

    kind: Literal["smote"] = KIND
    neighbors: Annotated[int, Field(ge=1)] = 5
    components: Annotated[int, Field(ge=1)] = 512


class Smote(FittedGenerator):
    """Draws cells between training cells; see `generators.protocol.Generator`.

    Args:
        settings: Neighbors and components.
        classes: Class names.
        image_size: Edge in pixels.
        seed: Of the approximate decomposition; the drawn cell depends on the class and the image's own seed.

    Source:
        Chawla et al., JAIR 16, 2002, section 4.2; the cell and the neighbor are drawn as by
        imbalanced-learn's SMOTE, all pairs being equally likely.
    """

    kind: ClassVar[str] = KIND
    settings_type: ClassVar[type[SmoteSettings]] = SmoteSettings

    def __init__(
        self, settings: SmoteSettings, classes: tuple[str, ...], image_size: int, seed: int = 0
    ) -> None:
        super().__init__(settings, classes, image_size, seed)
        self._mean = np.zeros(0, np.float32)  # (d,), d = 3 h w
        self._components = np.zeros((0, 0), np.float32)  # (c, d)
        self._scores = np.zeros((0, 0), np.float32)  # (n, c): the training cells
        self._labels = np.zeros(0, np.int64)  # (n,)
        self._neighbors = np.zeros((0, 0), np.int64)  # (n, k): rows, NONE where a class has no more

    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw cells; see `generators.protocol.Generator.sample`.

        Raises:
            InputError: Also if a class has a single training cell, which has no neighbor.
        """
        check_request(self, labels, seeds)
        if self.record is None:
            raise InputError("the generator has no cells yet; call fit() before sample().")
        shape = (len(labels), 3, self.image_size, self.image_size)
        if not len(labels):
            return torch.zeros(shape, dtype=torch.uint8)
        drawn = [self._between(int(label), int(seed)) for label, seed in zip(labels, seeds, strict=True)]
        flat = np.stack(drawn) @ self._components + self._mean  # (n, d)
        pixels = np.clip(np.rint(flat * 255), 0, 255).astype(np.uint8)
        return torch.from_numpy(pixels.reshape(shape))

    def _between(self, label: int, seed: int) -> NDArray[np.float32]:
        """Scores of a point between a cell of the class and one of its neighbors, shape (c,)."""
        rows = np.flatnonzero(self._labels == label)
        if len(rows) < 2:
            raise InputError(
                f"class '{self.classes[label]}' has one training cell, and SMOTE needs two to draw between; "
                "give it more cells, ask for none of it (balance.to), or leave out the strategy smote."
            )
        k = int((self._neighbors[rows[0]] != NONE).sum())
        random = numpy_generator(seed, "smote")
        place, share = int(random.integers(len(rows) * k)), np.float32(random.random())
        own = rows[place // k]
        begin, end = self._scores[own], self._scores[self._neighbors[own, place % k]]
        return np.asarray(begin + share * (end - begin), np.float32)

    def _learn(self, cells: CellSet, run: RunDir, monitor: Monitor | None) -> None:
        """Find components and neighbors; there is nothing to monitor."""
        images, labels = as_tensor(cells)
        flat = images.flatten(1).numpy().astype(np.float32) / 255  # (n, d)
        kept = min(self.settings.components, *flat.shape)
        found = PCA(kept, random_state=seed_of(self.seed, "smote") % 2**32)
        self._scores = found.fit_transform(flat).astype(np.float32)
        self._mean, self._components = found.mean_, found.components_
        self._labels = labels.numpy()
        self._neighbors = neighbors_within(self._scores, self._labels, self.settings.neighbors)

    def _tensors(self) -> Mapping[str, Tensor]:
        arrays = {
            "mean": self._mean,
            "components": self._components,
            "scores": self._scores,
            "labels": self._labels,
            "neighbors": self._neighbors,
        }
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _take(self, tensors: Mapping[str, Tensor], folder: Path) -> None:
        names = {"mean", "components", "scores", "labels", "neighbors"}
        if set(tensors) != names or len(tensors["mean"]) != 3 * self.image_size**2:
            raise InputError(f"{folder}: weights.safetensors holds no components of {self.image_size} px.")
        arrays = {name: tensors[name].numpy() for name in names}
        self._mean, self._components = arrays["mean"], arrays["components"]
        self._scores, self._labels, self._neighbors = arrays["scores"], arrays["labels"], arrays["neighbors"]


def neighbors_within(points: NDArray[np.float32], labels: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """The nearest neighbors of each point among those of its class, itself left out.

    Args:
        points: Shape (n, c).
        labels: Shape (n,).
        k: How many.

    Returns:
        Rows of `points`, nearest first, shape (n, k); `NONE` where a class has no more.
    """
    table = np.full((len(points), k), NONE, np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(k, len(rows) - 1)
        if count:
            known = NearestNeighbors(n_neighbors=count).fit(points[rows])
            # Without an argument, a point is not a neighbor of its own, even where another lies on it.
            table[rows, :count] = rows[known.kneighbors(return_distance=False)]
    return table
