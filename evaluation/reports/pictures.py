"""Pictures of one study, copied or drawn into its report's own folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from evaluation.reports.figures import KINDS, finish
from runtime.errors import InputError
from runtime.rundir import write_bytes


class Pictures:
    """Takes pictures from a study's directory and puts them, and new figures, beside its report.

    Args:
        source: The study's pictures.
        folder: The report's figures.
        prefix: Of every name, so that several studies share a folder.
    """

    def __init__(self, source: Path, folder: Path, prefix: str = "") -> None:
        self.source, self.folder, self.prefix = source, folder, prefix

    def read(self, name: str) -> bytes:
        """A picture of the study.

        Raises:
            InputError: If it is not there.
        """
        if not (self.source / name).is_file():
            raise InputError(
                f"{self.source / name}: no such file; a report needs the whole out= of its benchmark."
            )
        return (self.source / name).read_bytes()

    def copy(self, name: str) -> Path:
        """Copy a picture of the study; its path in the report's folder."""
        path = self.folder / f"{self.prefix}{name}"
        write_bytes(path, self.read(name))
        return path

    def pixels(self, name: str) -> NDArray[np.uint8]:
        """A picture of the study as RGB, shape (h, w, 3)."""
        self.read(name)
        with Image.open(self.source / name) as image:
            return np.asarray(image.convert("RGB"))

    def plot(self, name: str, figure: Figure) -> Path:
        """Write a figure as PNG, SVG and PDF; the path of the PNG."""
        figure.draw_without_rendering()  # places everything once, and not once a format
        figure.set_layout_engine("none")
        for kind in KINDS:
            write_bytes(self.folder / f"{self.prefix}{name}.{kind}", finish(figure, kind))
        return self.folder / f"{self.prefix}{name}.png"
