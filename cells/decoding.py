"""One image file to RGB pixels: by declared rules, or with an error that names the file."""

import errno
import io
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps
from pydantic import Field, field_validator, model_validator

from runtime.config import Settings
from runtime.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# Nothing else is tried: a file of another kind with such a name would start its (external) decoder.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # grays of more than 8 bits
PILLOW_LIMIT = 89_478_485  # above it Pillow warns on its own
INT32_MAX = 2**31 - 1
PHOTOMETRIC = 262  # the TIFF tag
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

Byte = Annotated[int, Field(ge=0, le=255)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Decoding(Settings):
    """How image files become 8-bit RGB. Ordinary 8-bit images need none of it.

    Attributes:
        depth: How grays of 16 or 32 bits and floats become 8 bits. ``full``: the whole range of the
            sample type (unsigned 16 bit: value / 65535; floats must lie in [0, 1]). ``minmax``: each
            image from its smallest to its largest value (a constant image becomes black). Or a window
            ``[low, high]``, the same for all images.
        clip: With a window: values outside become black or white; otherwise they are an error.
        background: RGB that transparent images are laid on; white is the empty slide.
        page: Which page or frame to read of files that have several, from 0; None refuses them.
        max_pixels: Larger images are refused by their header, before they are decoded.
    """

    depth: Literal["full", "minmax"] | tuple[Finite, Finite] = "full"
    clip: bool = False
    background: tuple[Byte, Byte, Byte] = (255, 255, 255)
    page: Annotated[int, Field(ge=0)] | None = None
    max_pixels: Annotated[int, Field(ge=1, le=PILLOW_LIMIT)] = 2**26

    @field_validator("depth")
    @classmethod
    def _ordered(cls, depth: str | tuple[float, float]) -> str | tuple[float, float]:
        if not isinstance(depth, str) and not depth[0] < depth[1]:
            raise ValueError("a window is [low, high] with low below high")
        return depth

    @model_validator(mode="after")
    def _clip_needs_a_window(self) -> "Decoding":
        if self.clip and isinstance(self.depth, str):
            raise ValueError("clip=true needs a window to clip to, depth=[low, high]")
        return self


DEFAULT = Decoding()


class Unreadable(InputError):
    """A file that cannot become a cell: for what is in it, or as the system does not give it.

    Attributes:
        reason: Why, without the file's name.
        fix: What a person can do about it.
    """

    def __init__(self, path: Path, reason: str, fix: str = "restore or remove it") -> None:
        super().__init__(f"{path}: {reason}; {fix}.")
        self.reason, self.fix = reason, fix


class Misfit(InputError):
    """An image whose values `Decoding.depth` does not allow: undamaged, so the setting is to be mended."""


class TooManyUnreadable(InputError):
    """More of a source is unreadable than its settings allow.

    Attributes:
        unreadable: All such files, with the reason.
    """

    def __init__(self, message: str, unreadable: Mapping[str, str]) -> None:
        super().__init__(message)
        self.unreadable = dict(unreadable)


def decode(path: Path, decoding: Decoding = DEFAULT) -> NDArray[np.uint8]:
    """Read one image as RGB.

    Gray becomes three equal channels, deep gray is scaled and transparency laid on a background as
    `decoding` says, CMYK, YCbCr, LAB and palettes are converted, and an EXIF rotation is applied.
    Color of 16 bits a channel keeps its upper 8 bits.

    Returns:
        uint8, shape (h, w, 3).

    Raises:
        Unreadable: If the file is empty, damaged, no image, too large, or has several pages.
        Misfit: If its values do not fit `decoding.depth`.
        InputError: If it is missing. The file is named, as it is in the others.
    """
    content = _content(path)
    with _naming(path, decoding), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _check_size(image, path, decoding)
        _turn_to_page(image, path, decoding)
        _check_size(image, path, decoding)  # pages differ in size
        raw, white_is_zero = _raw_mode(image), getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
        upright = ImageOps.exif_transpose(image)
    if upright.mode in DEEP:
        pixels = _deep_gray(upright, raw, path, decoding)
        return 255 - pixels if white_is_zero else pixels  # Pillow turns only the 8-bit ones itself
    if ";16" in raw and decoding.depth != "full":
        raise Misfit(f"{path}: has color of 16 bits a channel, which only data.decoding.depth=full reads.")
    return np.array(_rgb(upright, decoding))


def largest_of_16_bits(path: Path, decoding: Decoding = DEFAULT) -> int | None:
    """The largest sample of a gray file of unsigned 16 bits; None for any other, by its header.

    Raises:
        InputError: See `decode`.
    """
    content = _content(path)
    with _naming(path, decoding), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        _turn_to_page(image, path, decoding)
        if image.mode not in DEEP or _type_range(image.mode, _raw_mode(image)) != (0, 2**16 - 1):
            return None
        return int(np.asarray(image).max())


def _content(path: Path) -> bytes:
    """Read before decoding, so that trouble with the disk is not taken for a damaged image."""
    try:
        content = path.read_bytes()
    except OSError as error:
        # Its bytes were there when its digest was taken: not kept in the cache as a damaged file.
        raise InputError(str(out_of_reach(path, error))) from None
    if not content:
        raise Unreadable(path, "the file is empty (0 bytes)")
    return content


def out_of_reach(path: Path, error: OSError) -> Unreadable:
    """The error for a file that the system does not give: a broken link, no permission, a bad sector.

    Raises:
        InputError: If that says nothing of the file, as the machine gave out.
    """
    reason = f"cannot be read ({error.strerror or error})"
    if error.errno in EXHAUSTED:
        raise InputError(f"{path}: {reason}; end other programs, or raise what the system allows.")
    return Unreadable(path, reason)


@contextmanager
def _naming(path: Path, decoding: Decoding) -> Iterator[None]:
    """Name the file in whatever Pillow raises: its plugins know many exceptions for a damaged one."""
    try:
        yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path}: needs more memory to be decoded than there is; cut it up.") from None
    except Image.DecompressionBombError as error:  # it tells the number of pixels before any size is known
        told = re.search(r"\d+", str(error))
        raise _too_large(path, int(told[0]) if told else 2 * PILLOW_LIMIT, "", decoding) from None
    except Exception as error:
        # Pillow's messages may name the buffer that it read from.
        words = " ".join(re.sub(r"<_io\.BytesIO[^>]*>", "", str(error)).split()).strip("'\" ")
        raise Unreadable(path, f"not a readable image ({words or type(error).__name__})") from None


def _check_size(image: Image.Image, path: Path, decoding: Decoding) -> None:
    pixels = image.width * image.height
    if pixels > decoding.max_pixels:
        raise _too_large(path, pixels, f"{image.width}×{image.height} px, ", decoding)
    if pixels < 1:
        raise Unreadable(path, "has no pixels")


def _too_large(path: Path, pixels: int, size: str, decoding: Decoding) -> Unreadable:
    limit = f"data.decoding.max_pixels={decoding.max_pixels:_}"
    fix = f"cut it up: data.decoding.max_pixels can be no more than {PILLOW_LIMIT:_}"
    if pixels <= PILLOW_LIMIT:
        fix = f"cut it up, or set data.decoding.max_pixels={pixels} (at most {PILLOW_LIMIT:_})"
    return Unreadable(path, f"has {size}{pixels:_} pixels, more than {limit}", fix)


def _turn_to_page(image: Image.Image, path: Path, decoding: Decoding) -> None:
    if image.format == "MPO":  # a camera's JPEG with previews behind the picture
        return
    if decoding.page is None:
        if getattr(image, "is_animated", False):
            pages = getattr(image, "n_frames", 2)
            raise Unreadable(
                path,
                f"has {pages} pages or frames",
                f"set data.decoding.page to the one to read (0 to {pages - 1})",
            )
        return
    pages = getattr(image, "n_frames", 1)
    if decoding.page >= pages:
        raise Unreadable(path, f"has {pages} page(s), and data.decoding.page={decoding.page} counts from 0")
    image.seek(decoding.page)


def _raw_mode(image: ImageFile.ImageFile) -> str:
    """How samples lie in the file, e.g. ``I;16B``; Pillow forgets it when it decodes."""
    args = image.tile[0].args if image.tile else ()
    raw = args if isinstance(args, str) else args[0] if args else ""
    return str(raw)


def _deep_gray(image: Image.Image, raw: str, path: Path, decoding: Decoding) -> NDArray[np.uint8]:
    """Grays of more than 8 bits, scaled by the declared rule: uint8, shape (h, w, 3)."""
    samples = np.asarray(image)  # (h, w)
    whole = _type_range(image.mode, raw)
    if whole[1] > INT32_MAX:
        samples = samples.view(np.uint32)  # Pillow holds unsigned 32 bits as signed
    low, high = _window(samples, whole, path, decoding)
    gray = (samples.astype(np.float64).clip(low, high) - low) * (255 / (high - low))
    pixels = np.repeat(gray.round().astype(np.uint8)[..., None], 3, axis=2)  # (h, w, 3)
    clear = image.info.get("transparency")  # of a gray PNG: the one value that is see-through
    if isinstance(clear, int):
        pixels[samples == clear] = decoding.background
    return pixels


def _type_range(mode: str, raw: str) -> tuple[float, float]:
    """The whole range of the file's sample type."""
    if mode == "F":
        return 0.0, 1.0
    found = re.search(r";(\d+)", raw)
    bits = int(found.group(1)) if found else 16
    return (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if raw.endswith("S") else (0.0, 2.0**bits - 1)


def _window(
    samples: NDArray[np.generic], whole: tuple[float, float], path: Path, decoding: Decoding
) -> tuple[float, float]:
    """The values that become black and white; an error if that would clip what was not declared."""
    lowest, highest = float(samples.min()), float(samples.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise Unreadable(path, "holds values that are not finite numbers")
    if decoding.depth == "minmax":
        return lowest, highest if highest > lowest else math.inf  # a constant image: all black
    low, high = whole if decoding.depth == "full" else decoding.depth
    if (lowest < low or highest > high) and not decoding.clip:
        fix = "set data.decoding.depth=minmax or =[low, high]"
        if decoding.depth != "full":
            fix = "widen it, or set data.decoding.clip=true"
        raise Misfit(
            f"{path}: its gray values reach from {lowest:g} to {highest:g}, outside "
            f"data.decoding.depth={decoding.depth} ({low:g} to {high:g}); {fix}."
        )
    return low, high


def _rgb(image: Image.Image, decoding: Decoding) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    ground = Image.new("RGBA", image.size, (*decoding.background, 255))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
