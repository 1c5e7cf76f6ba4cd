"""Automatic augmentation and the stain policy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from cells.images import XRAY_AUGMENTATIONS, augmentation_of, stain_augmentation
from cells.policies import AUTOMATIC, automatic, restained
from runtime.errors import InputError


def cells(count: int = 24, size: int = 16) -> Tensor:
    """Violet discs on a white slide."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    disc = torch.from_numpy(np.hypot(x, y) < size / 4)
    image = torch.where(disc, torch.tensor([110, 60, 150]).view(3, 1, 1), 255).to(torch.uint8)
    return image.expand(count, -1, -1, -1).contiguous()


@pytest.mark.parametrize("name", AUTOMATIC)
def test_automatic_policies_are_a_function_of_their_seed_and_draw_for_each_image(name: str) -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    once, again = automatic(name, cells(), 4, "microscopy"), automatic(name, cells(), 4, "microscopy")
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(once, again) and once.dtype == torch.uint8 and once.shape == (24, 3, 16, 16)
    assert not torch.equal(once, automatic(name, cells(), 5, "microscopy"))
    assert len({image.numpy().tobytes() for image in once}) > 8


@pytest.mark.parametrize("name", AUTOMATIC)
def test_they_do_not_turn_xrays_nor_color_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = AUTOMATIC[name]._apply_image_or_video_transform

    def noted(self: object, image: Tensor, transform_id: str, *args: object, **more: object) -> Tensor:
        calls.append(transform_id)
        made: Tensor = real(self, image, transform_id, *args, **more)
        return made

    monkeypatch.setattr(AUTOMATIC[name], "_apply_image_or_video_transform", noted)
    automatic(name, cells(200), 0, "microscopy")
    assert {"Rotate", "Color", "Brightness"} <= set(calls)
    calls.clear()
    gray = cells(200).float().mean(dim=1, keepdim=True).byte().expand(-1, 3, -1, -1)
    made = XRAY_AUGMENTATIONS[name](gray, 0)
    assert calls and not {"Rotate", "Color"} & set(calls)
    assert (made - made[:, :1]).abs().max() < 2 / 255


def test_an_xray_has_no_stain() -> None:
    with pytest.raises(InputError, match=r"augmentation=stain is not for X-rays; use one of none, mild"):
        augmentation_of("stain", "xray")


def hues(images: Tensor) -> Tensor:
    """Angle of the tint of the center around the gray axis, in radians."""
    size = images.shape[-1]
    density = -images[:, :, size // 2, size // 2].clamp(min=1e-3).log()  # (b, 3)
    red, green, blue = (density - density.mean(dim=1, keepdim=True)).T
    return torch.atan2(3**0.5 * (green - blue), 2 * red - green - blue)


def test_the_stain_varies_in_strength_hue_and_saturation_within_limits() -> None:
    batch = cells(400)
    plain, made = batch.float() / 255, restained(batch, 0)
    turned = hues(made) - hues(plain)
    assert 0.15 < turned.max() <= 0.2 + 1e-4 and -0.2 - 1e-4 <= turned.min() < -0.15
    strength = made[:, :, 8, 8].log().mean(dim=1) / plain[:, :, 8, 8].log().mean(dim=1)
    assert 0.6 < strength.min() < 0.85 and 1.15 < strength.max() < 1.4
    assert strength.std() > 0.08
    white = made[:, :, 0, 0]  # there is no stain: only the light varies
    assert white.min() > 0.95 and (white - white[:, :1]).abs().max() < 1e-6


def test_the_stain_policy_turns_cells_and_repeats() -> None:
    batch = cells(16)
    batch[:, :, :8, :4] = 90  # a mark, so that a turn shows
    once = stain_augmentation(batch, 3)
    assert torch.equal(once, stain_augmentation(batch, 3)) and not torch.equal(once, restained(batch, 3))
    assert 0 <= once.min() <= once.max() <= 1
