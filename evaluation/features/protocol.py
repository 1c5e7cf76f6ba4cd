"""What an encoder is."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet


class Encoder(Protocol):
    """Turns cells into features."""

    @property
    def name(self) -> str:
        """In words, for tables: ``Inception``, ``mobilenet.onnx``, ``domain CNN``."""
        ...

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Encoder, weight digest and resize: figures that differ in it are not comparable."""
        ...

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, d), one row a cell, in order."""
        ...
