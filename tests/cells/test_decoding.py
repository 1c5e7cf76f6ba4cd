import runpy
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from cells.decoding import Decoding, Unreadable, decode
from cells.images import fit_square
from runtime.errors import InputError

FUZZ = Path(__file__).parents[2] / "benchmarks" / "fuzz_images.py"
RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6)


def saved(path: Path, array: NDArray[Any], **options: Any) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def test_16_bits_are_scaled_over_their_whole_range(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 32768, 65406, 65535]], np.uint16)
    for suffix in ("png", "tif"):
        pixels = decode(saved(tmp_path / f"a.{suffix}", values))
        assert pixels[0, :, 0].tolist() == [round(v / 65535 * 255) for v in values[0].tolist()]
        assert (pixels == pixels[..., :1]).all()


def test_32_bits_and_floats_follow_their_type(tmp_path: Path) -> None:
    ints = np.array([[-(2**31), 0, 2**31 - 1]], np.int32)
    assert decode(saved(tmp_path / "i.tif", ints))[0, :, 0].tolist() == [0, 128, 255]
    floats = np.array([[0, 0.5, 1]], np.float32)
    assert decode(saved(tmp_path / "f.tif", floats))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(InputError, match=r"g\.tif.*from -1 to 2.*minmax"):
        decode(saved(tmp_path / "g.tif", np.array([[-1, 2]], np.float32)))
    with pytest.raises(Unreadable, match="not finite"):
        decode(saved(tmp_path / "n.tif", np.array([[0, np.nan]], np.float32)), Decoding(depth="minmax"))


def test_unsigned_32_bits_do_not_turn_negative(tmp_path: Path) -> None:
    import tifffile

    tifffile.imwrite(tmp_path / "u.tif", np.array([[0, 2**31, 2**32 - 1]], np.uint32))
    assert decode(tmp_path / "u.tif")[0, :, 0].tolist() == [0, 128, 255]


def test_minmax_spreads_each_image(tmp_path: Path) -> None:
    rule = Decoding(depth="minmax")
    pixels = decode(saved(tmp_path / "a.png", RAMP + 1000), rule)
    assert pixels.min() == 0 and pixels.max() == 255
    assert decode(saved(tmp_path / "flat.png", RAMP * 0 + 7), rule).max() == 0


def test_a_window_clips_only_when_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.array([[0, 100, 200, 300]], np.uint16))
    assert decode(path, Decoding(depth=(0, 300)))[0, :, 0].tolist() == [0, 85, 170, 255]
    with pytest.raises(InputError, match=r"a\.png.*from 0 to 300.*clip=true"):
        decode(path, Decoding(depth=(100, 200)))
    assert decode(path, Decoding(depth=(100, 200), clip=True))[0, :, 0].tolist() == [0, 0, 255, 255]


def test_depth_leaves_8_bits_alone(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", RAMP.astype(np.uint8))
    assert np.array_equal(decode(path, Decoding(depth="minmax"))[..., 0], RAMP)


def test_white_is_zero_is_turned(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.tif", np.array([[0, 65535]], np.uint16), tiffinfo={262: 0})
    assert decode(path)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("wrong", [{"depth": (5, 5)}, {"depth": "fully"}, {"clip": True}, {"page": -1}])
def test_rules_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Decoding(**wrong)


def test_transparency_is_laid_on_the_background(tmp_path: Path) -> None:
    red = Decoding(background=(255, 0, 0))
    half = saved(tmp_path / "half.png", np.array([[[0, 0, 0, 0], [0, 0, 0, 128], [9, 9, 9, 255]]], np.uint8))
    assert decode(half)[0].tolist() == [[255] * 3, [127] * 3, [9] * 3]
    assert decode(half, red)[0].tolist() == [[255, 0, 0], [127, 0, 0], [9, 9, 9]]
    deep = saved(tmp_path / "deep.png", np.array([[7, 65535]], np.uint16), transparency=7)
    assert decode(deep, red)[0].tolist() == [[255, 0, 0], [255, 255, 255]]
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 0)
    palette.save(tmp_path / "p.png", transparency=0)
    assert decode(tmp_path / "p.png", red)[0].tolist() == [[255, 0, 0], [10, 20, 30]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode_has_the_colors_that_it_shows(tmp_path: Path, mode: str) -> None:
    shade = Image.new("RGB", (8, 8), (200, 120, 120) if mode not in ("1", "L", "LA") else "white")
    if mode == "LAB":
        from PIL import ImageCms

        lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", mode
        )
        image = ImageCms.applyTransform(shade, lab)
        assert image is not None
    else:
        image = (shade.quantize(4) if mode in ("P", "PA") else shade).convert(mode)
    image.save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as reopened:
        assert reopened.mode == mode
    pixels = decode(tmp_path / "a.tif")
    assert pixels.shape == (8, 8, 3)
    assert abs(pixels.astype(int) - np.asarray(shade)).max() <= 4


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turn a quarter clockwise to see it upright
    path = saved(tmp_path / "a.png", RAMP.astype(np.uint8), exif=exif)
    assert np.array_equal(decode(path)[..., 0], np.rot90(RAMP, -1))


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_pages_are_read_when_told_which(tmp_path: Path, suffix: str) -> None:
    pages = [Image.new("RGB", (6, 6), (shade, shade, shade)) for shade in (0, 100, 200)]
    path = tmp_path / f"pages.{suffix}"
    options = {"lossless": True} if suffix == "webp" else {}
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    with pytest.raises(Unreadable, match=r"3 pages.*data\.decoding\.page.*0 to 2"):
        decode(path)
    assert abs(int(decode(path, Decoding(page=1)).mean()) - 100) < 3
    with pytest.raises(Unreadable, match=r"3 page\(s\).*page=3"):
        decode(path, Decoding(page=3))
    single = saved(tmp_path / "one.png", RAMP.astype(np.uint8))
    assert np.array_equal(decode(single, Decoding(page=0)), decode(single))


def test_bombs_are_refused_by_their_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "bomb.png", np.zeros((300, 300), np.uint8))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(Unreadable, match=r"300×300 px, 90_000 .*max_pixels=10_000; .*max_pixels=90000 "):
        decode(path, Decoding(max_pixels=10000))
    assert Decoding(max_pixels=90000).max_pixels == 300 * 300, "what it advises is allowed"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("edge", [9_500, 20_000])  # above Pillow's own warning, and above its refusal
def test_bombs_beyond_every_limit_are_told_with_their_pixels(tmp_path: Path, edge: int) -> None:
    small = saved(tmp_path / "bomb.png", np.zeros((8, 8), np.uint8)).read_bytes()
    header = small[12:16] + struct.pack(">II", edge, edge) + small[24:29]  # of a PNG: type, size, mode
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    (tmp_path / "bomb.png").write_bytes(bomb)
    said = rf"{edge**2:_} pixels, more than data\.decoding\.max_pixels=67_108_864; .* no more than 89_478_485"
    with pytest.raises(Unreadable, match=said):
        decode(tmp_path / "bomb.png")


def test_a_file_of_another_kind_starts_no_other_decoder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(Unreadable, match="cannot identify"):
        decode(tmp_path / "a.png")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK", "YCbCr", "F", "I"]),
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    orientation=st.integers(1, 8),
    size=st.integers(8, 24),
)
def test_any_mode_and_size_fits(
    tmp_path: Path, mode: str, width: int, height: int, orientation: int, size: int
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.new(mode, (width, height)).save(tmp_path / "a.tif", exif=exif)
    pixels = decode(tmp_path / "a.tif")
    assert pixels.dtype == np.uint8
    assert pixels.shape == ((height, width, 3) if orientation < 5 else (width, height, 3))
    assert fit_square(pixels, size).shape == (size, size, 3)


@pytest.mark.filterwarnings("ignore")  # Pillow warns about what it then decodes or refuses
def test_damaged_files_end_as_an_image_or_one_error(tmp_path: Path) -> None:
    fuzz = runpy.run_path(str(FUZZ))
    rng = np.random.default_rng(1)
    outcomes = []
    for i, (name, content) in enumerate(list(fuzz["whole_files"]().items()) * 12):
        path = tmp_path / name
        path.write_bytes(fuzz["damaged"](content, rng)[1])
        outcomes.append(fuzz["outcome"](path, fuzz["RULES"][i // 24 % 4]))
    assert set(outcomes) == {"image", "InputError"}, set(outcomes)


def test_the_whole_files_of_the_fuzz_are_right(tmp_path: Path) -> None:
    fuzz = runpy.run_path(str(FUZZ))
    for name, content in fuzz["whole_files"]().items():
        (tmp_path / name).write_bytes(content)
        assert fuzz["outcome"](tmp_path / name, Decoding(page=0)) == "image", name
        assert decode(tmp_path / name, Decoding(page=0)).shape[:2] in ((23, 17), (17, 23))
