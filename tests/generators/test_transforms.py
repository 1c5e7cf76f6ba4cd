"""Labelled augmentation: what is done is told, and told of nothing the network is a plain one."""

import pytest
import torch
from torch import Tensor, nn

from generators.transforms import LABELS, DescribedEmbedding, described, transformed
from runtime.seeds import Draws


class _Fixed(Draws):
    """Draws of which the test says what was chosen and how much."""

    def __init__(self, chosen: list[int], normal: list[float], turn: float = 0.5) -> None:
        self._chosen, self._normal, self._turn = chosen, normal, turn

    def uniform(self, *shape: int) -> Tensor:
        if not shape:
            return torch.tensor([self._turn])
        return 1 - torch.tensor([self._chosen], dtype=torch.float32)

    def normal(self, *shape: int) -> Tensor:
        return torch.tensor([self._normal])


def _spot(row: int, column: int, size: int = 16) -> Tensor:
    image = torch.zeros(1, 3, size, size)
    image[:, :, row, column] = 1
    return image


def _place(image: Tensor) -> tuple[int, int]:
    return divmod(int(image[0, 0].argmax()), image.shape[-1])


def _draws(number: int, batch: int = 8, part: slice = slice(None)) -> Draws:
    return Draws("test", number, batch=batch, part=part)


def test_a_shift_moves_by_its_share_of_the_edge() -> None:
    moved, done = transformed(
        _spot(4, 4), _Fixed([1, 0, 0, 0, 0, 0], [1.0, 2.0, 9, 9, 9, 9]), 0.5, "dihedral"
    )
    assert _place(moved) == (4 + 4, 4 + 2)  # rows by 2 · 1/8 of 16, columns by 1/8 of 16
    assert done.tolist() == [[1, 2, 0, 0, 0, 0, 0, 0]]


def test_a_scale_enlarges_about_the_middle() -> None:
    disc = torch.zeros(1, 3, 32, 32)
    disc[:, :, 12:20, 12:20] = 1
    moved, done = transformed(disc, _Fixed([0, 1, 0, 0, 0, 0], [9, 9, 5.0, 9, 9, 9]), 0.5, "none")
    assert moved.mean() == pytest.approx(4 * disc.mean().item(), rel=0.05)  # 2^(0.2 · 5) = 2 a side
    assert done.tolist() == [[0, 0, 5, 0, 0, 0, 0, 0]]


def test_a_turn_turns_and_xrays_are_not_turned() -> None:
    quarter = _Fixed([0, 0, 0, 0, 0, 1], [9.0] * 6, turn=0.75)  # half of the largest angle
    moved, done = transformed(_spot(2, 7), quarter, 0.5, "dihedral")
    assert _place(moved) in {(7, 13), (8, 2), (7, 2), (8, 13)}
    assert done[0, 6:].tolist() == pytest.approx([-1, 1], abs=1e-6)
    for symmetry in ("none", "flips"):
        still, done = transformed(_spot(2, 7), quarter, 0.5, symmetry)  # type: ignore[arg-type]
        assert torch.equal(still, _spot(2, 7))
        assert not done.any()


def test_colors_change_as_told_and_gray_stays_gray() -> None:
    image = torch.tensor([0.4, 0.2, 0.0])[None, :, None, None].expand(1, 3, 8, 8).contiguous()
    bright, done = transformed(image, _Fixed([0, 0, 1, 0, 0, 0], [9, 9, 9, 2.0, 9, 9]), 0.5, "none")
    assert torch.allclose(bright, image + 0.2) and done[0, 3] == 2
    flat, done = transformed(image, _Fixed([0, 0, 0, 1, 0, 0], [9, 9, 9, 9, 5.0, 9]), 0.5, "none")
    assert torch.allclose(flat, image * 2) and done[0, 4] == 5
    vivid, done = transformed(image, _Fixed([0, 0, 0, 0, 1, 0], [9, 9, 9, 9, 9, 2.5]), 0.5, "none")
    assert torch.allclose(vivid[0, :, 0, 0], torch.tensor([0.6, 0.2, -0.2])) and done[0, 5] == 2.5
    gray = torch.rand(8, 1, 8, 8).expand(8, 3, 8, 8)
    changed, _ = transformed(gray, _draws(1), 0.9, "none")
    assert not torch.equal(changed, gray)
    assert (changed - changed[:, :1]).abs().max() < 1e-5


def test_what_nothing_was_done_to_is_untouched_and_told_so() -> None:
    images = torch.rand(64, 3, 8, 8) * 2 - 1
    changed, done = transformed(images, _draws(2, 64), 0.2, "dihedral")
    same = (changed == images).flatten(1).all(1)
    assert torch.equal(same, (done == 0).all(1))
    assert 5 < int(same.sum()) < 40  # 0.8^6 of 64 are 17
    assert done.shape == (64, LABELS)


def test_an_image_does_not_depend_on_how_the_batch_is_divided() -> None:
    images = torch.rand(8, 3, 8, 8)
    whole, done = transformed(images, _draws(3), 0.7, "dihedral")
    part, told = transformed(images[2:5], _draws(3, part=slice(2, 5)), 0.7, "dihedral")
    assert torch.equal(part, whole[2:5]) and torch.equal(told, done[2:5])


def test_told_of_nothing_the_embedding_is_the_plain_one() -> None:
    plain = nn.Embedding(4, 6)
    made = DescribedEmbedding(plain)
    nn.init.normal_(made.description.weight)
    labels = torch.tensor([3, 0, 2])
    nothing, something = torch.zeros(3, LABELS), torch.ones(3, LABELS)
    assert torch.equal(made(labels), plain(labels))
    assert torch.equal(made(described(labels, nothing)), plain(labels))
    expected = plain(labels) + made.description.weight.sum(1)
    assert torch.allclose(made(described(labels, something)), expected, atol=1e-6)
    assert torch.equal(made.state_dict()["weight"], plain.weight)
