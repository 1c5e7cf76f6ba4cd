"""CellSet: the one type that carries cells from the source to the verdict."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cells.mapped import chunks, collected, gathered, joined
from runtime.errors import InputError, suggest

ORIGINS = ("real", "phantom", "synthetic")
MICROSCOPY, XRAY = "microscopy", "xray"
MODALITIES = (MICROSCOPY, XRAY)

# Keys of the provenance, and so columns of metadata.jsonl, of cells of any origin.
MODALITY = "modality"  # what took the image, where it is no microscope
UNPROCESSED = "unprocessed_sha256"  # digest of the pixels before preprocessing


@dataclass(frozen=True, eq=False)
class CellSet:
    """An immutable table of labelled cells over a packed array of images.

    Real, split, synthetic and curated sets differ only in what the table says.

    Attributes:
        classes: Class names, in the order of the labels.
        pixels: Images, uint8, shape (n, h, w, 3), h = w; read-only. Large ones are mapped from disk.
        labels: Index into `classes`, int64, shape (n,).
        names: Where each image came from: a relative path, or ``train_images[12]``.
        groups: What must not be split: patient, slide, field. The name where it is unknown.
        splits: ``train``, ``val``, ``test``, or empty where the source has no split.
        origins: ``real``, ``phantom`` (drawn) or ``synthetic`` (generated).
        provenance: For synthetic cells: generator, seed, split digest. For any: `MODALITY` and
            `UNPROCESSED`, where there is something to say.
    """

    classes: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    names: NDArray[np.object_]
    groups: NDArray[np.object_]
    splits: NDArray[np.object_]
    origins: NDArray[np.object_]
    provenance: NDArray[np.object_]

    def __post_init__(self) -> None:
        assert self.pixels.ndim == 4 and self.pixels.shape[3] == 3, self.pixels.shape
        assert self.pixels.dtype == np.uint8, self.pixels.dtype
        columns = (self.labels, self.names, self.groups, self.splits, self.origins, self.provenance)
        assert all(len(column) == len(self.pixels) for column in columns)
        assert len(self.labels) == 0 or 0 <= self.labels.min() <= self.labels.max() < len(self.classes)
        for column in (self.pixels, *columns):
            column.setflags(write=False)

    @classmethod
    def from_arrays(
        cls,
        pixels: NDArray[np.uint8],
        labels: Sequence[int] | NDArray[np.integer[Any]],
        classes: Sequence[str],
        *,
        names: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
        splits: Sequence[str] | str = "",
        origin: str = "real",
        provenance: Sequence[Mapping[str, Any]] | None = None,
    ) -> "CellSet":
        """A set from plain columns.

        Args:
            pixels: uint8, shape (n, h, w, 3).
            labels: Shape (n,), index into `classes`.
            classes: Class names.
            names: Default ``image[i]``.
            groups: Default: each cell its own.
            splits: One word for all, or a column.
            origin: One word of `ORIGINS` for all.
            provenance: Default empty.
        """
        assert origin in ORIGINS, origin
        count = len(pixels)
        given = list(names) if names is not None else [f"image[{i}]" for i in range(count)]
        return cls(
            classes=tuple(classes),
            pixels=pixels.view(),
            labels=np.array(labels, dtype=np.int64).reshape(count),
            names=_column(given),
            groups=_column(list(groups) if groups is not None else given),
            splits=_column([splits] * count if isinstance(splits, str) else list(splits)),
            origins=_column([origin] * count),
            provenance=_column(list(provenance) if provenance is not None else [{}] * count),
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Edge of the square images, in pixels."""
        return int(self.pixels.shape[1])

    @property
    def counts(self) -> dict[str, int]:
        """Cells per class, classes without cells included."""
        per_class = np.bincount(self.labels, minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, per_class, strict=True)}

    @property
    def is_synthetic(self) -> NDArray[np.bool_]:
        """True for each generated cell, shape (n,)."""
        return np.asarray(self.origins == "synthetic", dtype=bool).reshape(len(self))

    @property
    def modality(self) -> str:
        """``xray`` if any cell is said to be one: those are not flipped or turned; else ``microscopy``.

        Each cell carries it, so that neither a subset nor a saved set can lose it.
        """
        return XRAY if any(said.get(MODALITY) == XRAY for said in self.provenance) else MICROSCOPY

    def with_modality(self, modality: str) -> "CellSet":
        """The same cells, each said to be of this modality.

        Args:
            modality: One word of `MODALITIES`.
        """
        assert modality in MODALITIES, modality
        said = {MODALITY: modality} if modality != MICROSCOPY else {}
        rows = [{k: v for k, v in row.items() if k != MODALITY} | said for row in self.provenance]
        return replace(self, provenance=_column(rows))

    @property
    def original_digests(self) -> NDArray[np.object_]:
        """`digests` as they were before any preprocessing, shape (n,)."""
        pairs = zip(self.provenance, self.digests, strict=True)
        return _column([said.get(UNPROCESSED, digest) for said, digest in pairs])

    @cached_property
    def digests(self) -> NDArray[np.object_]:
        """SHA-256 of each cell's shape and decoded pixels, hex, shape (n,)."""
        shape = str(self.pixels.shape[1:]).encode()
        return _column(
            [
                hashlib.sha256(shape + np.ascontiguousarray(image).tobytes()).hexdigest()
                for images in chunks(self.pixels)
                for image in images
            ]
        )

    @cached_property
    def digest(self) -> str:
        """16 hex digits over pixels and labels, in any order of the cells."""
        rows = sorted(
            f"{pixel} {self.classes[label]}" for pixel, label in zip(self.digests, self.labels, strict=True)
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]

    def index_of(self, name: str) -> int:
        """The label of a class.

        Raises:
            InputError: If there is no such class.
        """
        if name not in self.classes:
            raise InputError(f"unknown class '{name}'.{suggest(name, self.classes)}")
        return self.classes.index(name)

    def subset(self, index: NDArray[Any] | Sequence[int]) -> "CellSet":
        """The cells at an integer or boolean index, in its order."""
        rows = np.asarray(index)
        if rows.size == 0:
            rows = rows.astype(np.int64)
        return CellSet(
            self.classes,
            gathered(self.pixels, rows),
            self.labels[rows],
            self.names[rows],
            self.groups[rows],
            self.splits[rows],
            self.origins[rows],
            self.provenance[rows],
        )

    def of_class(self, name: str) -> "CellSet":
        """The cells of one class."""
        return self.subset(self.labels == self.index_of(name))

    def __add__(self, other: "CellSet") -> "CellSet":
        if self.classes != other.classes or self.pixels.shape[1:] != other.pixels.shape[1:]:
            raise InputError(
                f"sets of {self.image_size} px {list(self.classes)} and {other.image_size} px "
                f"{list(other.classes)} cannot be joined: give both the same classes and image size."
            )
        return CellSet(
            self.classes,
            joined([self.pixels, other.pixels]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.names, other.names]),
            np.concatenate([self.groups, other.groups]),
            np.concatenate([self.splits, other.splits]),
            np.concatenate([self.origins, other.origins]),
            np.concatenate([self.provenance, other.provenance]),
        )

    def resized(self, size: int) -> "CellSet":
        """The same cells at another edge length in pixels, antialiased."""
        if size == self.image_size:
            return self
        resized = (
            np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.LANCZOS))[None]
            for image in self.pixels
        )
        pixels = collected(resized, (len(self), size, size, 3))
        return CellSet(
            self.classes,
            pixels,
            self.labels,
            self.names,
            self.groups,
            self.splits,
            self.origins,
            self.provenance,
        )


def _column(values: Sequence[Any]) -> NDArray[np.object_]:
    """An object column, also of mappings and of nothing."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


@dataclass(frozen=True)
class Loaded:
    """What reading a source gave.

    Attributes:
        cells: The cells.
        unreadable: Files that should have been cells and could not be decoded, with the reason.
        ignored: Files that were passed over because they are not images (dotfiles, notes), by name.
        files: The file that each cell was decoded from (of parquet and boxes: its image or crop, in the
            cache); empty where the cells are not in files of their own.
    """

    cells: CellSet
    unreadable: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
