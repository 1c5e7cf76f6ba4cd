"""A codec for both sides: lossy, in the fingerprint, and asked for where the files differ."""

import io

import numpy as np
from PIL import Image

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.features.codecs import Recoded, codec_note, recoded

CELLS = phantoms(dict.fromkeys(CLASSES[:2], 2), 32, 1)


class Bytes:
    """Pixels as features."""

    name = "bytes"
    fingerprint = {"encoder": "bytes"}  # noqa: RUF012

    def encode(self, cells: CellSet) -> np.ndarray:
        return cells.pixels.reshape(len(cells), -1).astype(np.float32)


def named(ending: str) -> CellSet:
    names = [f"a/{i}{ending}" for i in range(len(CELLS))]
    return CellSet.from_arrays(CELLS.pixels, CELLS.labels, CELLS.classes, names=names)


def test_jpeg_changes_pixels_a_little_and_only_once_asked() -> None:
    assert recoded(CELLS, "none") is CELLS
    once = recoded(CELLS, "jpeg95")
    difference = np.abs(once.pixels.astype(int) - CELLS.pixels).mean()
    assert 0.2 < difference < 6
    buffer = io.BytesIO()
    Image.fromarray(CELLS.pixels[1]).save(buffer, "JPEG", quality=95)
    assert np.array_equal(once.pixels[1], np.asarray(Image.open(buffer)))
    assert (once.digests != CELLS.digests).all() and once.labels is CELLS.labels


def test_an_encoder_behind_a_codec_says_so() -> None:
    encoder = Recoded(Bytes(), "jpeg95")
    assert encoder.fingerprint == {"encoder": "bytes", "codec": "jpeg95"}
    assert np.array_equal(encoder.encode(CELLS), Bytes().encode(recoded(CELLS, "jpeg95")))
    assert not hasattr(encoder, "logits")


def test_files_of_different_formats_are_pointed_out() -> None:
    note = codec_note(named(".JPG"), named(".png"), "none")
    assert note is not None and "100% of the real and 0% of the synthetic" in note and "codec=jpeg95" in note
    assert codec_note(named(".JPG"), named(".png"), "jpeg95") is None
    assert codec_note(named(".jpg"), named(".jpeg"), "none") is None
    assert codec_note(named(".png"), named(".tif"), "none") is None
