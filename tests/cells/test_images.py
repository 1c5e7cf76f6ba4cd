from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from cells import packing
from cells.images import (
    AUGMENTATIONS,
    Decoding,
    augmentation_of,
    decode,
    find_images,
    fit_square,
    mild_augmentation,
    pack,
    pack_readable,
    strong_augmentation,
    to_bytes,
    to_pixels,
    to_tensor,
)
from runtime.errors import InputError


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def smooth(count: int, size: int = 28) -> torch.Tensor:
    """Images in the mid range, so that no gain clips."""
    return to_bytes(noise(count, size, size, 3) // 4 + 96)


def write(folder: Path, count: int, size: int = 12) -> list[Path]:
    paths = [folder / f"{i}.png" for i in range(count)]
    for path, image in zip(paths, noise(count, size, size, 3), strict=True):
        Image.fromarray(image).save(path)
    return paths


# ------------------------------------------------------------------------------------ decoding


def test_png_decodes_to_its_pixels(tmp_path: Path) -> None:
    image = noise(9, 7, 3)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert np.array_equal(decode(tmp_path / "a.png"), image)


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    grey = noise(6, 5)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert np.array_equal(decode(tmp_path / "grey.png"), np.repeat(grey[..., None], 3, 2))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    assert np.array_equal(decode(tmp_path / "deep.png")[..., 0], grey)
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[0, 0] = (10, 20, 30, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    laid = decode(tmp_path / "clear.png")
    assert laid[0, 0].tolist() == [10, 20, 30]
    assert laid[1, 1].tolist() == [255, 255, 255]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def overwrite(path: Path) -> None:
    path.write_text("not an image")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "webp"])
@pytest.mark.parametrize("damage", [empty, truncate, overwrite])
def test_a_damaged_image_is_named(tmp_path: Path, damage: Callable[[Path], None], suffix: str) -> None:
    path = tmp_path / f"cell.{suffix}"
    Image.fromarray(noise(40, 40, 3)).save(path)
    damage(path)
    with pytest.raises(InputError, match=rf"cell\.{suffix}.*remove it"):
        decode(path)
    with pytest.raises(InputError, match=rf"cell\.{suffix}"):
        pack([path], 8)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.png"):
        decode(tmp_path / "gone.png")
    with pytest.raises(InputError, match=r"gone\.png"):
        pack([tmp_path / "gone.png"], 8)


def test_fit_square_cuts_the_center() -> None:
    image = np.zeros((20, 30, 3), np.uint8)
    image[6:14, 11:19] = 200
    assert (fit_square(image, 8, crop=8) == 200).all()
    assert fit_square(image, 20).shape == (20, 20, 3)
    assert np.array_equal(fit_square(image, 20), image[:, 5:25])
    with pytest.raises(InputError, match="crop = 21"):
        fit_square(image, 8, crop=21)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the small image can show: grey, not stripes
    small = fit_square(stripes, 16)
    assert abs(small.astype(int) - 127).max() < 20


def test_find_images_passes_over_what_is_none(tmp_path: Path) -> None:
    write(tmp_path, 2)
    (tmp_path / ".DS_1.jpg").touch()
    (tmp_path / "notes.txt").touch()
    assert [path.name for path in find_images(tmp_path)] == ["0.png", "1.png"]


# ------------------------------------------------------------------------------------- packing


def test_pack_keeps_order_and_is_read_only(tmp_path: Path) -> None:
    paths = write(tmp_path, 20)
    packed = pack(paths, 12)
    assert packed.shape == (20, 12, 12, 3)
    assert all(np.array_equal(packed[i], decode(path)) for i, path in enumerate(paths))
    with pytest.raises(ValueError, match="read-only"):
        packed[0] = 0


def test_pack_decodes_once_and_notices_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, cache = write(tmp_path, 3), tmp_path / "cache"
    decoded: list[Path] = []

    def noted(path: Path, decoding: Decoding) -> NDArray[np.uint8]:
        decoded.append(path)
        return decode(path, decoding)

    monkeypatch.setattr(packing, "decode", noted)
    first = pack(paths, 8, cache=cache)
    assert np.array_equal(pack(paths, 8, cache=cache), first)
    assert len(decoded) == 3
    pack(paths, 8, crop=10, cache=cache)
    assert len(decoded) == 6
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(paths[1])
    changed = pack(paths, 8, cache=cache)
    assert changed[1].max() == 0
    assert np.array_equal(changed[[0, 2]], first[[0, 2]])


def test_a_torn_pack_is_made_again(tmp_path: Path) -> None:
    paths, cache = write(tmp_path, 3), tmp_path / "cache"
    first = pack(paths, 8, cache=cache)
    stored = next(cache.glob("pack-*.npy"))
    truncate(stored)
    assert np.array_equal(pack(paths, 8, cache=cache), first)
    assert np.array_equal(np.load(stored), first)


def test_a_large_pack_is_mapped_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, cache = write(tmp_path, 3), tmp_path / "cache"
    first = pack(paths, 8, cache=cache)
    monkeypatch.setattr(packing, "LARGE", 1)
    mapped = pack(paths, 8, cache=cache)
    assert isinstance(mapped.base, np.memmap)
    assert not mapped.flags.writeable
    assert np.array_equal(mapped, first)


def test_a_large_pack_without_an_unreadable_file_is_mapped_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path, 12)
    truncate(paths[4])
    monkeypatch.setattr(packing, "LARGE", 1)
    packed = pack_readable(paths, 12)
    assert list(packed.unreadable) == [4] and packed.kept.tolist() == [0, 1, 2, 3, *range(5, 12)]
    assert isinstance(packed.pixels.base, np.memmap)
    expected = noise(12, 12, 12, 3)[packed.kept]
    assert np.array_equal(packed.pixels, expected)
    assert np.array_equal(pack_readable(paths, 12).pixels, expected), "from the cache"


def test_an_unwritable_cache_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="RARECELL_CACHE"):
        pack(write(tmp_path, 2), 8, cache=tmp_path / "file" / "cache")


def test_too_large_a_crop_names_the_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"0\.png: crop = 50"):
        pack(write(tmp_path, 1), 8, crop=50)


# ------------------------------------------------------------------------------------- tensors


def test_tensors_round_trip() -> None:
    pixels = noise(5, 8, 8, 3)
    pixels.setflags(write=False)
    tensor = to_tensor(pixels)
    assert tensor.shape == (5, 3, 8, 8)
    assert tensor.dtype == torch.float32
    assert tensor[2, 1, 3, 4].item() == pytest.approx(pixels[2, 3, 4, 1] / 255)
    assert np.array_equal(to_pixels(tensor), pixels)
    assert np.array_equal(to_pixels(to_bytes(pixels)), pixels)
    assert to_pixels(torch.tensor([-1.0, 0.5, 2.0]).reshape(1, 3, 1, 1)).tolist() == [[[[0, 128, 255]]]]


# -------------------------------------------------------------------------------- augmentation


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentation_is_a_function_of_its_seed(name: str) -> None:
    batch = smooth(16)
    before = batch.clone()
    one, again, other = (AUGMENTATIONS[name](batch, seed) for seed in (3, 3, 2**63 - 1))
    assert torch.equal(one, again)
    assert torch.equal(one, other) == (name == "none")
    assert torch.equal(batch, before), "the batch itself was changed"
    assert one.shape == batch.shape
    assert one.dtype == torch.float32
    assert 0 <= one.min() <= one.max() <= 1


def test_mild_draws_each_symmetry_and_gain_for_each_image() -> None:
    batch = smooth(1, size=12).expand(400, -1, -1, -1)
    result = mild_augmentation(batch, 0)
    plain = batch[0].float() / 255
    views = [turned for k in range(4) for turned in (plain.rot90(k, (1, 2)), plain.flip(2).rot90(k, (1, 2)))]
    seen, gains = [], []
    for image in result:
        ratios = [image / view for view in views]  # the right view leaves one gain a channel
        spread = [float(ratio.flatten(1).std(dim=1).max()) for ratio in ratios]
        best = int(np.argmin(spread))
        assert spread[best] < 1e-5
        seen.append(best)
        gains.append(ratios[best].flatten(1).mean(dim=1))
    shares = np.bincount(seen, minlength=8) / 400
    assert shares.min() > 0.07 and shares.max() < 0.19, shares
    gain = torch.stack(gains)  # (b, 3)
    assert 0.9 * 0.95 <= gain.min() < 0.9 and 1.1 < gain.max() <= 1.1 * 1.05
    tint = gain / gain.mean(dim=1, keepdim=True)
    assert 0.02 < tint.std() < 0.04, "channels vary on their own by about 5 %"


def test_strong_does_not_depend_on_neighbors() -> None:
    batch = smooth(12)
    assert torch.equal(strong_augmentation(batch, 9)[:5], strong_augmentation(batch[:5], 9))


def test_strong_treats_images_differently_and_keeps_them_recognizable() -> None:
    ramp = torch.linspace(60, 190, 28).to(torch.uint8).expand(64, 3, 28, 28).contiguous()
    result = strong_augmentation(ramp, 1)
    assert len({image.numpy().tobytes() for image in result}) > 56
    assert abs(float(result.mean()) - float(ramp.float().mean()) / 255) < 0.06
    assert result.flatten(1).std(dim=1).median() > 0.08


def test_real_cells_pack_and_augment(shared: Path) -> None:
    folder = shared / "data" / "pbc-original-sample" / "basophil"
    packed = pack(find_images(folder), 28, crop=200)
    assert packed.shape == (40, 28, 28, 3)
    assert 100 < packed.mean() < 230
    assert strong_augmentation(to_bytes(packed), 0).isfinite().all()


@pytest.mark.parametrize("name", ["mild", "strong"])
def test_xrays_keep_their_up_and_left_and_have_no_color(name: str) -> None:
    ramp = np.arange(32, dtype=np.uint8)[:, None] * 3 + np.arange(32, dtype=np.uint8)[None] * 4
    batch = to_bytes(np.broadcast_to(ramp[None, :, :, None], (64, 32, 32, 3)).copy())
    made = augmentation_of(name, "xray")(batch, 0)
    assert made.dtype == torch.float32 and made.min() >= 0 and made.max() <= 1
    down, right = made[:, 0, 16:].mean(dim=(1, 2)), made[:, 0, :, 16:].mean(dim=(1, 2))
    assert (down > made[:, 0, :16].mean(dim=(1, 2))).all()
    assert (right > made[:, 0, :, :16].mean(dim=(1, 2))).all()
    assert (made - made[:, :1]).abs().max() < 1e-6
    assert not torch.equal(made[0], made[1])  # light differs from image to image
    turned = augmentation_of(name, "microscopy")(batch, 0)
    assert not (turned[:, 0, 16:].mean(dim=(1, 2)) > turned[:, 0, :16].mean(dim=(1, 2))).all()
