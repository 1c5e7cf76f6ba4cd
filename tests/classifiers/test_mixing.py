"""Mixed images and the parts of their labels."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from classifiers.batches import Batch
from classifiers.losses import cross_entropy
from classifiers.mixing import MIXINGS, mixed, remix_shares

COUNTS = torch.tensor([90, 9, 3])
TARGETS = torch.tensor([0, 1, 2] * 4)


def plain(steps: int = 3) -> list[Batch]:
    """Each image is all of one color: one tells which images are in a mixed one."""
    levels = torch.arange(12).float() / 12
    images = levels[:, None, None, None].expand(12, 3, 8, 8)
    return [Batch(images.clone(), TARGETS.clone()) for _ in range(steps)]


def run(mixing: str, seed: int = 0) -> list[Batch]:
    return list(mixed(iter(plain()), mixing, COUNTS, seed))


@pytest.mark.parametrize("mixing", [name for name in MIXINGS if name != "none"])
def test_it_is_a_function_of_seed_and_step(mixing: str) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    once, again, other = run(mixing), run(mixing), run(mixing, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b in zip(once, again, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.targets, b.targets)
        assert a.parts is not None and b.parts is not None and torch.equal(a.parts, b.parts)
    assert not torch.equal(once[0].images, other[0].images)
    assert not torch.equal(once[0].images, once[1].images)


def test_none_leaves_a_batch_as_it_is() -> None:
    assert all(batch.parts is None and len(batch.targets) == 12 for batch in run("none"))


@pytest.mark.parametrize("mixing", ["mixup", "cutmix"])
def test_the_parts_of_a_label_are_the_parts_of_the_image(mixing: str) -> None:
    for batch in run(mixing):
        assert batch.parts is not None
        own, partner = batch.parts[:12], batch.parts[12:]
        torch.testing.assert_close(own + partner, torch.ones(12))
        # Place i holds color i / 12 and class i mod 3; which pairs were mixed is asked of the colors.
        means = batch.images.mean(dim=(1, 2, 3))
        found = [
            (a, b)
            for row in range(12)
            for a in range(12)
            for b in range(12)
            if abs(float(own[row]) * a / 12 + float(partner[row]) * b / 12 - float(means[row])) < 1e-5
            and (a % 3, b % 3) == (int(batch.targets[row]), int(batch.targets[12 + row]))
        ]
        assert len(found) >= 12


def test_mixing_pairs_all_classes_even_where_they_come_in_turn() -> None:
    pairs = {
        (int(a), int(b))
        for seed in range(8)
        for batch in run("mixup", seed)
        for a, b in zip(batch.targets[:12], batch.targets[12:], strict=True)
    }
    assert pairs == {(a, b) for a in range(3) for b in range(3)}


def test_the_loss_of_a_mixed_batch_is_that_of_soft_labels() -> None:
    batch = run("mixup")[0]
    assert batch.parts is not None
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    hot = F.one_hot(batch.targets, 3) * batch.parts[:, None]
    expected = F.cross_entropy(logits, hot[:12] + hot[12:])
    torch.testing.assert_close(
        cross_entropy(COUNTS)(logits.repeat(2, 1), batch.targets, batch.parts), expected
    )


def test_parts_of_synthetic_cells_stay_theirs() -> None:
    weighted = [batch._replace(parts=torch.where(TARGETS == 2, 0.0, 1.0)) for batch in plain()]
    for batch in mixed(iter(weighted), "mixup", COUNTS, 0):
        assert batch.parts is not None
        assert (batch.parts[batch.targets == 2] == 0).all() and batch.parts.sum() > 0


def test_remix_gives_the_label_to_the_much_rarer_class() -> None:
    own = torch.tensor([0.3, 0.7, 0.3, 0.7, 0.4])
    counts, partners = torch.tensor([90, 90, 3, 3, 9]), torch.tensor([9, 9, 90, 90, 10])
    shares: Tensor = remix_shares(own, counts, partners)
    # common and in the minority of the pixels; common, majority; rare, minority; rare, majority; alike
    torch.testing.assert_close(shares.float(), torch.tensor([0.0, 0.7, 0.3, 1.0, 0.4]))
