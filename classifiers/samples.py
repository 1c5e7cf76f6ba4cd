"""What a network takes as one sample: an image, or a stack of images."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cells.cellset import CellSet
from cells.images import to_bytes
from cells.stacks import is_stacked, rows_of_stacks


class Samples:
    """The samples of a set of cells: its cells, or its stacks in the order of their first images.

    Args:
        cells: The cells.

    Attributes:
        depth: Images of each stack d; 0 for single images.

    Raises:
        InputError: If stacks are not whole.
    """

    def __init__(self, cells: CellSet) -> None:
        self.cells = cells
        self._rows = rows_of_stacks(cells) if is_stacked(cells) else None  # (s, d)
        self.depth = 0 if self._rows is None else self._rows.shape[1]
        self._first = np.arange(len(cells)) if self._rows is None else self._rows[:, 0]

    def __len__(self) -> int:
        return len(self._first)

    @property
    def labels(self) -> Tensor:
        """The class of each: int64, shape (s,)."""
        return torch.from_numpy(self.cells.labels[self._first])

    @property
    def synthetic(self) -> Tensor:
        """Whether it was generated: bool, shape (s,)."""
        return torch.from_numpy(self.cells.is_synthetic[self._first])

    def subset(self, numbers: NDArray[np.int64]) -> CellSet:
        """The cells of some samples, by number."""
        return self.cells.subset(numbers if self._rows is None else self._rows[numbers].reshape(-1))

    def images(self, begin: int = 0, end: int | None = None) -> Tensor:
        """Those from `begin` to before `end`: uint8, shape (s, 3, h, w), or of stacks (s, d, 3, h, w)."""
        if self._rows is None:
            return to_bytes(self.cells.pixels[begin:end])
        rows = self._rows[begin:end]
        return to_bytes(self.cells.pixels[rows.reshape(-1)]).unflatten(0, rows.shape)
