import pytest
import torch

from generators.augment import (
    SYMMETRIES,
    contrast,
    cutout,
    differentiable,
    dihedral,
    flips,
    light,
    posed,
    symmetry_of,
    translation,
)
from runtime.errors import InputError
from runtime.seeds import Draws


def _draws(batch: int, seed: int = 0) -> Draws:
    return Draws(seed, batch=batch)


def _rand(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def _variants(image: torch.Tensor) -> list[torch.Tensor]:
    turned = [torch.rot90(image, turns, (-2, -1)) for turns in range(4)]
    return turned + [each.flip(-1) for each in turned]


def _kinds(images: torch.Tensor, reference: torch.Tensor) -> list[int]:
    """Which of the eight variants each image is."""
    variants = _variants(reference)
    return [next(i for i, variant in enumerate(variants) if torch.equal(image, variant)) for image in images]


@pytest.mark.parametrize(("symmetry", "expected"), [(dihedral, 8), (flips, 4)])
def test_symmetries_are_drawn_evenly_from_the_whole_group(symmetry, expected: int) -> None:
    image = _rand(3, 6, 6)
    kinds = _kinds(symmetry(image.expand(4000, -1, -1, -1), _draws(4000, 1)), image)
    shares = torch.bincount(torch.tensor(kinds), minlength=8) / 4000
    assert (shares > 0).sum() == expected
    assert torch.allclose(shares[shares > 0], torch.tensor(1 / expected), atol=0.03)


@pytest.mark.parametrize(("symmetry", "expected"), [("dihedral", 8), ("flips", 4), ("none", 1)])
def test_poses_are_drawn_evenly_by_the_seed_alone(symmetry, expected: int) -> None:
    image, seeds = _rand(3, 6, 6), torch.arange(2000)
    made = posed(image.expand(2000, -1, -1, -1), seeds, symmetry)
    shares = torch.bincount(torch.tensor(_kinds(made, image)), minlength=8) / 2000
    assert (shares > 0).sum() == expected
    assert torch.allclose(shares[shares > 0], torch.tensor(1 / expected), atol=0.03)
    assert torch.equal(posed(image[None], seeds[7:8], symmetry)[0], made[7])


def test_none_changes_nothing() -> None:
    images = torch.rand(5, 3, 6, 6)
    assert torch.equal(SYMMETRIES["none"](images, _draws(len(images))), images)


def test_same_draws_same_images() -> None:
    images = torch.rand(5, 3, 8, 8)
    one = differentiable(images, _draws(len(images), 3), 0.5, "dihedral")
    assert torch.equal(one, differentiable(images, _draws(len(images), 3), 0.5, "dihedral"))
    assert not torch.equal(one, differentiable(images, _draws(len(images), 4), 0.5, "dihedral"))


def test_light_and_contrast_stay_within_their_range() -> None:
    images = _rand(200, 3, 8, 8) - 0.5
    shift = (light(images, _draws(len(images), 1)) - images).mean(dim=(1, 2, 3))
    assert 0.19 < shift.abs().max() <= 0.2
    changed = contrast(images, _draws(len(images), 2))
    assert torch.allclose(changed.mean(dim=(1, 2, 3)), images.mean(dim=(1, 2, 3)), atol=1e-5)
    ratio = changed.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    assert 0.79 < ratio.min() < 0.85
    assert 1.15 < ratio.max() < 1.21


def test_translation_moves_whole_pixels_by_an_eighth_at_most() -> None:
    images = torch.zeros(300, 1, 16, 16)
    images[:, :, 8, 8] = 1
    moved = translation(images, _draws(len(images))).nonzero()
    offsets = moved[:, 2:] - 8
    assert len(moved) == 300
    assert offsets.min() == -2
    assert offsets.max() == 2
    assert len(offsets.unique(dim=0)) == 25


def test_cutout_covers_a_square() -> None:
    images = torch.ones(300, 3, 18, 18)
    hidden = (cutout(images, _draws(len(images))) == 0).flatten(1).sum(dim=1) / 3
    assert hidden.max() == 36  # a third of 18, squared
    assert hidden.float().mean() > 20


def test_transforms_are_applied_as_often_as_asked_and_pass_gradients() -> None:
    images = _rand(2000, 3, 8, 8)
    changed = differentiable(images, _draws(len(images), 1), 0.3, "none")
    same = (changed == images).flatten(1).all(dim=1).float().mean()
    # A shift by nothing leaves one translated image in nine as it was.
    assert same == pytest.approx(0.7**3 * (0.7 + 0.3 / 9), abs=0.03)
    images.requires_grad_(True)
    differentiable(images, _draws(len(images), 1), 0.3, "none").sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_probability_that_would_leak_is_refused() -> None:
    with pytest.raises(AssertionError):
        differentiable(torch.rand(2, 3, 8, 8), _draws(2), 0.8, "none")


def test_the_symmetry_follows_the_modality() -> None:
    assert symmetry_of("auto", "microscopy") == "dihedral"
    assert symmetry_of("auto", "xray") == symmetry_of("none", "xray") == "none"
    assert symmetry_of("flips", "microscopy") == "flips"
    for asked in ("dihedral", "flips"):
        with pytest.raises(InputError, match="X-rays have an up and a left"):
            symmetry_of(asked, "xray")


def test_an_image_is_changed_alike_in_whatever_part_of_the_batch() -> None:
    images = _rand(7, 3, 8, 8)
    whole = differentiable(images, Draws(1, "x", batch=7), 0.5, "dihedral")
    parts = [
        differentiable(images[part], Draws(1, "x", batch=7, part=part), 0.5, "dihedral")
        for part in (slice(0, 2), slice(2, 7))
    ]
    assert torch.equal(torch.cat(parts), whole)
