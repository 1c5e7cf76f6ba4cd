"""Sets of cells on disk: images, table, card, Croissant, checksums; whole, or marked as unfinished."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from cells.card import About, card
from cells.cellset import CellSet
from cells.croissant import croissant
from cells.mapped import chunks
from cells.names import check_class_names
from cells.parquet_writer import write_parquet
from cells.preprocessing import FILE as PREPROCESSING
from cells.preprocessing import Preprocessing
from cells.records import record_of, to_line
from runtime.errors import InputError
from runtime.rundir import read_json, write_json, write_text

MARK = ".unfinished"
TABLE, CLASSES, FACTS, PARQUET = "metadata.jsonl", "classes.json", "set.json", "cells.parquet"
CARD, CROISSANT, CHECKSUMS = "README.md", "croissant.json", "checksums.txt"
MORPHOLOGY = "morphology.csv"
OWN = (TABLE, CLASSES, FACTS, PARQUET, MORPHOLOGY, PREPROCESSING, CARD, CROISSANT, CHECKSUMS)

# IPTC's word for what a generator made, in the place where image tools look for it.
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    "Iptc4xmpExt:DigitalSourceType="
    '"http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"/>'
    "</rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
)


def file_names_of(cells: CellSet) -> list[str]:
    """Where `write_set` puts the image of each cell, relative to the folder of the set."""
    return [f"{cells.classes[label]}/{row:06d}.png" for row, label in enumerate(cells.labels)]


def write_set(
    cells: CellSet,
    root: Path,
    about: About | None = None,
    parquet: bool = False,
    morphology: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> None:
    """Write ``root/<class>/<number>.png``, ``root/metadata.jsonl`` and what describes them.

    torchvision's ``ImageFolder`` and Hugging Face's ``imagefolder`` open the result as it is.
    Synthetic PNGs carry the XMP DigitalSourceType ``trainedAlgorithmicMedia``. Beside them lie
    a card, Croissant metadata and checksums. `cells.reading.read_set` reads it back.

    Args:
        cells: The set.
        root: The folder; an earlier set in it, or what an interrupted writing left, is replaced.
            Files that are not of a set stay as they are.
        about: What the card says beyond the table: licence, citation, notes.
        parquet: Also write ``cells.parquet``.
        morphology: The text of ``morphology.csv``, if there is to be one.
        preprocessing: What the cells went through, written as ``preprocessing.json``, if anything.

    Raises:
        InputError: If a class cannot be a folder, a provenance is not plain JSON, or the disk
            does not take the files.
    """
    _check_classes(cells.classes, root)
    file_names = file_names_of(cells)
    lines = [to_line(record_of(cells, row, name)) for row, name in enumerate(file_names)]
    with _whole(root):
        _clear(root)
        write_json(root / CLASSES, list(cells.classes))  # first: says which folders are this set's
        images = (image for some in chunks(cells.pixels) for image in some)
        for image, name, synthetic in zip(images, file_names, cells.is_synthetic, strict=True):
            _write_png(image, root / name, synthetic=bool(synthetic))
        write_json(root / FACTS, {"image_size": cells.image_size, "cells": len(cells)})
        if parquet:
            write_parquet(cells, file_names, root, root / PARQUET)
        if morphology is not None:
            write_text(root / MORPHOLOGY, morphology)
        if preprocessing is not None:
            preprocessing.save(root)
        write_text(root / TABLE, "".join(f"{line}\n" for line in lines))
        _describe({"": cells}, root, about or About())


def write_tree(
    parts: Mapping[str, CellSet],
    root: Path,
    about: About | None = None,
    parquet: bool = False,
    morphology: Mapping[str, str] | None = None,
    beside: Sequence[str] = (),
) -> None:
    """Write each part (train, val, test) as a set of its own below `root`, and describe the whole.

    Args:
        parts: The cells of each folder.
        root: The folder of the folders.
        about: For the cards.
        parquet: Also write a parquet file in each.
        morphology: The text of ``morphology.csv`` in each folder, if there is to be one.
        beside: Files in `root`, written before, that belong to the whole and get a checksum as well.

    Raises:
        InputError: See `write_set`.
    """
    with _whole(root):
        for side, cells in parts.items():
            write_set(cells, root / side, about, parquet, (morphology or {}).get(side))
        _describe(parts, root, about or About(), beside)


def is_unfinished(root: Path) -> bool:
    """True for a folder whose writing was interrupted."""
    return (root / MARK).exists()


def refuse_unfinished(root: Path) -> None:
    """Refuse a folder whose writing was interrupted.

    Raises:
        InputError: If it was; says what to do.
    """
    if is_unfinished(root):
        raise InputError(f"{root}: was not written to its end; run the command that wrote it again.")


@contextmanager
def _whole(root: Path) -> Iterator[None]:
    """Mark a folder as unfinished for as long as it is written."""
    try:
        write_text(root / MARK, "This folder is being written, or its writing was interrupted.\n")
        yield
        (root / MARK).unlink()
    except OSError as error:
        raise InputError(
            f"{error.filename or root}: cannot be written ({error.strerror}); "
            "make room, or choose another folder."
        ) from None


def _clear(root: Path) -> None:
    """Take away what `write_set` wrote here before."""
    before = read_json(root / CLASSES) if (root / CLASSES).is_file() else []
    for name in OWN:
        if name != CLASSES:
            (root / name).unlink(missing_ok=True)
    for name in before:
        for image in (root / name).glob("[0-9]*.png"):
            image.unlink()
        if (root / name).is_dir() and not any((root / name).iterdir()):
            (root / name).rmdir()


def _check_classes(classes: tuple[str, ...], root: Path) -> None:
    check_class_names(classes, str(root))
    for name in set(classes) & set(OWN):
        raise InputError(f"{root}: class name '{name}' is that of a file of the set; rename the class.")
    if len(set(classes)) < len(classes):
        raise InputError(f"{root}: classes {list(classes)} share a name; rename one of them.")


def _write_png(image: NDArray[np.uint8], path: Path, *, synthetic: bool) -> None:
    info = PngImagePlugin.PngInfo()
    if synthetic:
        info.add_itxt("XML:com.adobe.xmp", XMP)
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(image).save(path, pnginfo=info)


def _describe(parts: Mapping[str, CellSet], root: Path, about: About, beside: Sequence[str] = ()) -> None:
    """Card, Croissant and, last, the checksums of all files of the set."""
    write_text(root / CARD, card(parts, about))
    write_json(root / CROISSANT, croissant(parts, about, root))
    folders = [root / side for side in parts]
    own = [root / name for name in (*OWN, *beside)] + [folder / name for folder in folders for name in OWN]
    images = [path for folder in folders for path in folder.glob("*/*.png")]
    files = sorted({path for path in own + images if path.is_file()} - {root / CHECKSUMS})
    write_text(root / CHECKSUMS, "".join(f"{_sha256(path)}  {path.relative_to(root)}\n" for path in files))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
