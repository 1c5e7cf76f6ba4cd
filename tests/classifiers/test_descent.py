"""The training loop: one budget, phases, and what each of them sees and changes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from cells.cellset import CellSet
from cells.images import to_bytes
from classifiers.batches import batches
from classifiers.descent import stages
from classifiers.heads import CosineHead
from classifiers.networks import build_network
from classifiers.phases import REAL_HEAD, RETRAINED, Phase
from classifiers.schedules import decayed, one_cycle
from classifiers.training import Classifier, ClassifierSettings
from evaluation.studies.strategies import STRATEGIES, USES, strategy_of
from runtime.errors import InputError

CLASSES = ("bright", "dark", "striped")
SMALL = {"network": "fast", "width": 4, "steps": 30, "batch": 16}
PLAIN = [
    name
    for name, strategy in STRATEGIES.items()
    if strategy.generator is None and "weights" not in strategy.training  # those would be downloaded
]
COUNTED = "logit_adjustment+"  # real_priors stands beside what goes by class counts
USED = [f"repeat+{COUNTED * (name == 'real_priors')}{name}" for name, use in USES.items() if use.training]


def toy(counts: tuple[int, ...], seed: int = 0, origin: str = "real") -> CellSet:
    draws = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), counts)
    pixels = draws.normal(128, 20, (len(labels), 12, 12, 3))
    pixels[labels == 0] += 60
    pixels[labels == 1] -= 60
    pixels[labels == 2] += 80 * (-1.0) ** (np.arange(12) // 2)[:, None, None]
    return CellSet.from_arrays(pixels.clip(0, 255).astype(np.uint8), labels, CLASSES, origin=origin)


BOTH = toy((60, 20, 6)) + toy((0, 20, 20), seed=7, origin="synthetic")
UNSEEN = toy((20, 20, 20), seed=1)


def settings(**changes: object) -> ClassifierSettings:
    return ClassifierSettings.model_validate({**SMALL, **changes})


@pytest.fixture
def counted() -> Iterator[list[int]]:
    """Grows by one entry with every optimizer step of anything."""
    steps: list[int] = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append(1))
    yield steps
    hook.remove()


@pytest.mark.parametrize("name", PLAIN + USED)
def test_every_strategy_learns_in_the_same_number_of_steps(name: str, counted: list[int]) -> None:
    cells = BOTH if name in USED else toy((60, 20, 6))
    recipe = settings().model_copy(update=dict(strategy_of(name).training))
    net = Classifier(CLASSES, recipe).fit(cells, seed=0)
    assert len(counted) == 30
    assert np.isfinite(net.probabilities(UNSEEN)).all()
    assert (net.predict(UNSEEN) == UNSEEN.labels).mean() > 0.6, "chance is a third"


def test_without_phases_it_is_the_plain_loop_bit_by_bit() -> None:
    cells = toy((20, 10, 6))
    net = Classifier(CLASSES, settings(steps=6)).fit(cells, seed=3)
    plain = build_network("fast", 3, 4, seed=3).train()
    optimizer = torch.optim.AdamW(decayed(plain, 0.05), lr=1e-2, fused=True)
    labels = torch.from_numpy(cells.labels.copy())
    stream = batches(
        to_bytes(cells.pixels), labels, "uniform", "mild", modality="microscopy", batch=16, steps=6, seed=3
    )
    for step, (images, targets, _) in enumerate(stream):
        for group in optimizer.param_groups:
            group["lr"] = one_cycle(step, 6, 1e-2)
        loss = F.cross_entropy(plain(images), targets)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, net.network.state_dict()[name]), name


def test_a_head_phase_leaves_the_body_as_it_is_and_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    before: dict[str, torch.Tensor] = {}
    heads: list[torch.Tensor] = []

    def look(net: Classifier, step: int, loss: float, val: CellSet | None) -> dict[str, float]:
        if step == 24:  # of 30: the head begins anew after it
            before.update({k: v.clone() for k, v in net.network.body.state_dict().items()})
            heads.append(net.network.head.weight.detach().clone())
        return {}

    monkeypatch.setattr(Classifier, "_look", look)
    net = Classifier(CLASSES, settings(phases=RETRAINED)).fit(BOTH, seed=0)
    after = net.network.body.state_dict()
    assert before and all(torch.equal(before[name], after[name]) for name in before)
    assert not torch.equal(heads[0], net.network.head.weight)
    assert all(p.requires_grad for p in net.network.parameters())


def test_phases_see_the_cells_that_they_name_and_count_those() -> None:
    plan = (Phase(share=0.4), Phase(share=0.3, cells="synthetic"), Phase(share=0.3, cells="real"))
    levels = np.where(BOTH.is_synthetic, 200, 100).astype(np.uint8)
    cells = CellSet.from_arrays(
        np.broadcast_to(levels[:, None, None, None], BOTH.pixels.shape).copy(), BOTH.labels, CLASSES
    )
    object.__setattr__(cells, "origins", BOTH.origins)
    made = stages(cells, settings(phases=plan, augmentation="none"), seed=0)
    seen = [
        {round(float(v) * 255) for batch in stage.stream for v in batch.images.unique()} for stage in made
    ]
    assert seen == [{100, 200}, {200}, {100}]
    assert [stage.counts.tolist() for stage in made] == [[60, 40, 26], [0, 20, 20], [60, 20, 6]]
    real = stages(cells, settings(phases=plan, priors="real"), seed=0)
    assert [stage.counts.tolist() for stage in real] == [[60, 20, 6]] * 3


def test_synthetic_cells_count_as_much_as_they_are_said_to() -> None:
    (stage,) = stages(BOTH, settings(synthetic_weight=0.25, augmentation="none"), seed=0)
    origin = {image.tobytes(): made for image, made in zip(BOTH.pixels, BOTH.is_synthetic, strict=True)}
    for images, _, parts in stage.stream:
        assert parts is not None
        pixels = images.mul(255).round().byte().permute(0, 2, 3, 1).numpy()
        expected = [0.25 if origin[np.ascontiguousarray(image).tobytes()] else 1.0 for image in pixels]
        assert parts.tolist() == expected
    (plain,) = stages(toy((9, 9, 9)), settings(synthetic_weight=0.25), seed=0)
    assert next(plain.stream).parts is None, "where there is no synthetic cell, nothing changes"


@pytest.mark.parametrize(
    ("cells", "changes", "words"),
    [
        (toy((9, 9, 9)), {"phases": (*REAL_HEAD[:1], Phase(share=0.2, cells="synthetic"))}, "0 synthetic"),
        (toy((0, 9, 9), origin="synthetic"), {"priors": "real"}, "no real training cell"),
        (toy((9, 9, 9)), {"keep": "best"}, "give some, or use keep=last"),
    ],
    ids=["no synthetic cells", "no real cells", "no validation cells"],
)
def test_what_cannot_be_is_refused(cells: CellSet, changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Classifier(CLASSES, settings(**changes)).fit(cells, seed=0)


def test_post_hoc_takes_the_log_shares_off_and_is_saved(tmp_path: Path) -> None:
    cells = toy((60, 20, 6))
    plain = Classifier(CLASSES, settings()).fit(cells, seed=0)
    adjusted = Classifier(CLASSES, settings(post_hoc=2.0)).fit(cells, seed=0)
    shifted = plain.probabilities(UNSEEN).astype(np.float64) / (np.array([60, 20, 6]) / 86) ** 2
    expected = shifted / shifted.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(adjusted.probabilities(UNSEEN), expected, atol=1e-4)
    adjusted.save(tmp_path)
    again = Classifier.load(tmp_path)
    np.testing.assert_array_equal(again.probabilities(UNSEEN), adjusted.probabilities(UNSEEN))


def test_keep_best_keeps_the_best_look_and_makes_all_steps(counted: list[int]) -> None:
    cells, val = toy((60, 20, 6)), toy((8, 8, 8), seed=5)
    # Mislabeled: the more is learned, the worse is the figure, so that the last look is not the best.
    val = CellSet.from_arrays(val.pixels, (val.labels + 1) % 3, CLASSES)
    last = Classifier(CLASSES, settings()).fit(cells, seed=0, val=val)
    best = Classifier(CLASSES, settings(keep="best")).fit(cells, seed=0, val=val)
    assert len(counted) == 60
    assert best.history == last.history
    figures = {row["step"]: row["val_balanced_accuracy"] for row in best.history}
    kept = best.origin["kept_step"]
    assert figures[kept] == max(figures.values()) > figures[30]
    right = [(best.predict(val.of_class(name)) == k).mean() for k, name in enumerate(CLASSES)]
    assert float(np.mean(right)) == pytest.approx(figures[kept], abs=1e-5)
    assert "kept_step" not in last.origin


def test_ldam_learns_cosines_and_comes_back_from_disk(tmp_path: Path) -> None:
    net = Classifier(CLASSES, settings(loss="ldam")).fit(toy((20, 10, 6)), seed=0)
    assert isinstance(net.network.head, CosineHead)
    images = torch.rand(5, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert net.network(images).abs().max() <= 30 * (1 + 1e-6)
    net.save(tmp_path)
    again = Classifier.load(tmp_path)
    np.testing.assert_array_equal(again.probabilities(UNSEEN), net.probabilities(UNSEEN))
