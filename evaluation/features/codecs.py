"""The same file format for both sides: what JPEG leaves in real cells must not tell them from others."""

import io
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cells.cellset import CellSet
from evaluation.features.protocol import Encoder
from runtime.config import Settings

JPEG_QUALITY = 95
JPEG = {".jpg", ".jpeg"}

Codec = Literal["none", "jpeg95"]


class CodecSettings(Settings):
    """Base of all encoders' settings.

    Attributes:
        codec: ``jpeg95`` saves every cell of either side as a JPEG of quality 95 (chroma at half the
            resolution) and reads it again before it is resized and encoded.
    """

    codec: Codec = "none"


class Recoded:
    """An encoder of cells that went through a codec first.

    Args:
        encoder: What encodes them.
        codec: The codec.
    """

    def __init__(self, encoder: Encoder, codec: Codec) -> None:
        self.encoder = encoder
        self.codec = codec
        self.name = encoder.name
        self.fingerprint: dict[str, Any] = {**encoder.fingerprint, "codec": codec}
        if hasattr(encoder, "logits"):  # of features, which are what they are
            self.logits = encoder.logits

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, d)."""
        return self.encoder.encode(recoded(cells, self.codec))


def recoded(cells: CellSet, codec: Codec) -> CellSet:
    """The same cells with the pixels that the codec leaves of them."""
    if codec == "none" or len(cells) == 0:
        return cells
    return replace(cells, pixels=np.stack([_jpeg(image) for image in cells.pixels]))


def codec_note(real: CellSet, synthetic: CellSet, codec: Codec) -> str | None:
    """A warning where one side's files are lossy and the other's are not, and nothing evens that out.

    Args:
        real: Named after its files.
        synthetic: Named after its files.
        codec: Of the encoder.
    """
    shares = [_jpeg_share(side) for side in (real, synthetic)]
    if codec != "none" or shares[0] == shares[1]:
        return None
    real_share, made_share = (f"{share:.0%}" for share in shares)
    return (
        f"{real_share} of the real and {made_share} of the synthetic files are JPEG: an encoder sees the "
        "difference; encoder.codec=jpeg95 passes both sides through the same one"
    )


def _jpeg(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return np.asarray(Image.open(buffer, formats=["JPEG"]))


def _jpeg_share(cells: CellSet) -> float:
    return float(
        np.mean([PurePosixPath(str(name)).suffix.lower() in JPEG for name in cells.names] or [False])
    )
