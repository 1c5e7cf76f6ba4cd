import threading

import pytest
import torch

from classifiers import batches as module
from classifiers.batches import SAMPLERS, balanced, batches, uniform

LABELS = torch.tensor([0] * 90 + [1] * 9 + [3] * 3)  # class 2 has no cell


def test_uniform_visits_every_cell_once_an_epoch() -> None:
    sample = uniform(LABELS, seed=3, batch=34)
    epoch = torch.cat([sample(step) for step in range(3)])
    assert torch.equal(epoch.sort().values, torch.arange(102))
    following = torch.cat([sample(step) for step in range(3, 6)])
    assert torch.equal(following.sort().values, torch.arange(102))
    assert not torch.equal(epoch, following)


def test_uniform_runs_on_across_epochs_when_the_batch_does_not_fit() -> None:
    sample = uniform(LABELS, seed=3, batch=40)
    places = torch.cat([sample(step) for step in range(51)])  # 20 epochs
    assert (places.bincount() == 20).all()


def test_uniform_fills_a_batch_larger_than_the_set() -> None:
    picked = uniform(torch.tensor([0, 1, 0]), seed=0, batch=10)(0)
    assert len(picked) == 10
    assert picked.bincount(minlength=3).min() >= 3


def test_balanced_gives_each_class_that_has_cells_the_same_share() -> None:
    sample = balanced(LABELS, seed=5, batch=32)
    classes = LABELS[torch.cat([sample(step) for step in range(9)])].bincount(minlength=4)
    assert classes.tolist() == [96, 96, 0, 96]


def test_balanced_draws_all_cells_of_a_class_alike() -> None:
    sample = balanced(LABELS, seed=5, batch=300)
    drawn = torch.cat([sample(step) for step in range(27)]).bincount(minlength=102)
    assert drawn[:90].sum() == 2700 and drawn[:90].min() > 10  # 30 expected
    assert abs(drawn[99:] - 900).max() < 120  # 900 expected, 24.5 the standard deviation


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_samples_are_a_function_of_seed_and_step(name: str) -> None:
    def make(seed: int) -> module.Sampler:
        return SAMPLERS[name](LABELS, seed, 16)

    before = make(1)
    first = [before(step) for step in range(20)]
    assert torch.equal(make(1)(17), first[17])  # whatever was drawn before
    assert not torch.equal(make(2)(17), first[17])
    assert not torch.equal(first[17], first[18])


def run(augmentation: str, seed: int = 0, modality: str = "microscopy") -> list[module.Batch]:
    draws = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (102, 3, 16, 16), dtype=torch.uint8, generator=draws)
    stream = batches(pixels, LABELS, "uniform", augmentation, modality=modality, batch=8, steps=6, seed=seed)
    return list(stream)


@pytest.mark.parametrize("augmentation", ["none", "mild", "strong"])
def test_batches_repeat_with_the_seed(augmentation: str) -> None:
    once, again, other = run(augmentation), run(augmentation), run(augmentation, seed=1)
    assert len(once) == 6
    for (images, targets, _), (same, same_targets, _) in zip(once, again, strict=True):
        assert images.shape == (8, 3, 16, 16) and images.dtype == torch.float32
        assert torch.equal(images, same) and torch.equal(targets, same_targets)
    assert not torch.equal(once[0][0], other[0][0])


def test_batches_prepared_ahead_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = run("mild")
    monkeypatch.setattr(module, "PREPARED_AHEAD", ("mild",))
    for (images, targets, _), (same, same_targets, _) in zip(ahead, run("mild"), strict=True):
        assert torch.equal(images, same) and torch.equal(targets, same_targets)


def test_the_background_thread_ends_when_training_stops_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PREPARED_AHEAD", ("mild",))
    pixels = torch.zeros(102, 3, 8, 8, dtype=torch.uint8)
    before = threading.active_count()
    stream = batches(pixels, LABELS, "uniform", "mild", modality="microscopy", batch=8, steps=1000, seed=0)
    next(stream)
    assert threading.active_count() == before + 1
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


@pytest.mark.parametrize("augmentation", ["mild", "strong"])
def test_xrays_are_never_flipped_or_turned(augmentation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("cells.images._turned", lambda images, draws: calls.append(1) or images)
    run(augmentation)
    assert calls
    calls.clear()
    run(augmentation, modality="xray")
    assert not calls
