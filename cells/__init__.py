"""Labelled cell images: where they come from, how they are split, balanced and carried."""

from cells.cellset import CellSet

__all__ = ["CellSet"]
