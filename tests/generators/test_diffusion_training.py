"""The switches of the diffusion model's training: class balancing, transforms, a snapshot as the guide."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cells.cellset import CellSet
from generators.diffusion import Diffusion, DiffusionSettings
from generators.edm import (
    balancing_error,
    denoise,
    denoising_loss,
    noise_time,
    preconditioning,
    weighted_error,
)
from generators.protocol import as_tensor
from runtime.config import validate
from runtime.errors import InputError
from runtime.rundir import RunDir
from runtime.seeds import Draws

DATA = 0.5
ALL_ON = {
    "transforms": 0.5,
    "class_balancing": 0.3,
    "guide": "snapshot",
    "guidance": 2.0,
    "snapshot_at": 0.5,
}


def _told_apart(scaled: Tensor, c_noise: Tensor, class_labels: Tensor) -> SimpleNamespace:
    """A network that shifts its input by the class."""
    return SimpleNamespace(sample=0.7 * scaled + 0.1 * class_labels[:, None, None, None])


def _ddpm_time(sigma: float) -> float:
    """The share of DDPM's 1000 steps after which noise and signal stand as σ to 1."""
    kept = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
    return (int(((1 - kept) / kept).sqrt().sub(sigma).abs().argmin()) + 1) / 1000


@pytest.mark.parametrize("level", [0.1, 0.8, 5.0, 60.0])
def test_class_balancing_is_the_papers_written_of_predicted_noise(level: float) -> None:
    """τ t ‖ε - ε'‖² and a quarter of it once more, as a share of the data term ‖ε - noise‖²."""
    torch.manual_seed(0)
    clean, eps = torch.randn(2, 3, 4, 4) * DATA, torch.randn(2, 3, 4, 4)
    sigma, own, rival = torch.full((2,), level), torch.tensor([0, 2]), torch.tensor([1, 0])
    plain = denoising_loss(_told_apart, clean, sigma, eps, own, DATA)  # type: ignore[arg-type]
    both = denoising_loss(_told_apart, clean, sigma, eps, own, DATA, rival, 0.2)  # type: ignore[arg-type]
    noisy = clean + level * eps
    said, other = (
        (noisy - denoise(_told_apart, noisy, sigma, labels, DATA)) / level  # type: ignore[arg-type]
        for labels in (own, rival)
    )
    pull = 0.2 * _ddpm_time(level) * 1.25 * ((said - other) ** 2).mean()
    expected = float(pull / ((said - eps) ** 2).mean())
    assert float((both - plain) / plain) == pytest.approx(expected, rel=0.02)


def test_time_is_that_of_ddpm() -> None:
    for level in (0.05, 0.5, 3.0, 50.0):
        assert float(noise_time(torch.tensor(level))) == pytest.approx(
            _ddpm_time(level), abs=0.004
        )  # continuous
    assert float(noise_time(torch.tensor(152.0))) == pytest.approx(1, abs=0.001)


def test_commitment_pulls_the_rival_a_quarter_as_much() -> None:
    own, other = (torch.randn(2, 3, 4, 4, requires_grad=True) for _ in range(2))
    sigma = torch.tensor([0.5, 2.0])
    balancing_error(own, other, sigma, DATA).sum().backward()
    assert own.grad is not None and other.grad is not None
    assert torch.allclose(other.grad, -own.grad / 4)
    shrink = (own - 0.1 * own.grad) - (other - 0.1 * other.grad)
    assert shrink.norm() < (own - other).norm()


def test_weight_zero_is_the_plain_loss() -> None:
    clean, eps = torch.randn(3, 3, 4, 4) * DATA, torch.randn(3, 3, 4, 4)
    sigma, labels, rivals = torch.tensor([0.1, 1.0, 9.0]), torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    off = denoising_loss(_told_apart, clean, sigma, eps, labels, DATA, rivals, 0.0)  # type: ignore[arg-type]
    noisy = clean + sigma[:, None, None, None] * eps
    error = (denoise(_told_apart, noisy, sigma, labels, DATA) - clean) ** 2  # type: ignore[arg-type]
    c_out = preconditioning(sigma, DATA)[1]
    assert off == pytest.approx(float((error / c_out[:, None, None, None] ** 2).mean()), rel=1e-5)
    assert torch.equal(weighted_error(clean, clean, sigma, DATA), torch.zeros(3))


@pytest.fixture
def settings(settings_of: dict[str, Any]) -> DiffusionSettings:
    """Every switch on."""
    return validate(DiffusionSettings, {**settings_of["diffusion"].model_dump(), **ALL_ON}, "here")


def test_loss_does_not_depend_on_how_the_batch_is_divided(settings: Any, cells: CellSet) -> None:
    model = Diffusion(settings, cells.classes, 8)
    trainer = model._trainer(cells)
    network = trainer.modules["network"]
    torch.nn.init.normal_(network.class_embedding.weight)
    torch.nn.init.normal_(network.class_embedding.description.weight)
    torch.nn.init.normal_(network.conv_out.weight)
    images, labels = as_tensor(cells)

    def loss(part: slice) -> float:
        draws = Draws(0, "noise", 1, batch=8, part=part)
        found = model._loss(network, images[:8][part], labels[:8][part], draws, "dihedral")
        return float(found.detach())

    parts = (3 * loss(slice(0, 3)) + 5 * loss(slice(3, 8))) / 8
    assert loss(slice(0, 8)) == pytest.approx(parts, rel=1e-4)


def test_training_learns_what_the_labels_of_transforms_mean(
    settings: Any, cells: CellSet, run: RunDir
) -> None:
    model = Diffusion(settings, cells.classes, 8)
    trainer = model._trainer(cells)
    for number in range(3):
        trainer.step(number)
    told = trainer.modules["network"].class_embedding.description.weight
    assert bool(told.abs().sum() > 0)
    assert set(model.network.state_dict()) < set(trainer.modules["network"].state_dict())


@pytest.mark.parametrize("stop_at", [3, 5])
def test_interrupted_training_with_every_switch_resumes_exactly(
    settings: Any, cells: CellSet, tmp_path: Path, stop_at: int
) -> None:
    """Checkpoints are at steps 2 and 4, the snapshot is kept after step 3."""
    at_three = {}

    def keep(step: int, generator: Any) -> dict[str, float]:
        if step == 3:
            at_three.update({k: v.clone() for k, v in generator.network.state_dict().items()})
        return {}

    def interrupt(step: int, _: Any) -> dict[str, float]:
        if step == stop_at:
            raise KeyboardInterrupt
        return {}

    whole = Diffusion(settings, cells.classes, 8, 3).fit(cells, RunDir(tmp_path / "whole"), keep)
    with pytest.raises(KeyboardInterrupt):
        Diffusion(settings, cells.classes, 8, 3).fit(cells, RunDir(tmp_path / "run"), interrupt)
    resumed = Diffusion(settings, cells.classes, 8, 3).fit(cells, RunDir(tmp_path / "run"))
    assert whole.snapshot is not None and resumed.snapshot is not None
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
        assert torch.equal(whole.snapshot.state_dict()[name], at_three[name]), name
        assert torch.equal(resumed.snapshot.state_dict()[name], at_three[name]), name
    assert not torch.equal(whole.network.conv_out.weight, whole.snapshot.conv_out.weight)


def test_guided_output_leads_away_from_the_snapshot(settings: Any, cells: CellSet) -> None:
    model = Diffusion(settings, cells.classes, 8)
    assert model.snapshot is not None
    torch.nn.init.normal_(model.network.conv_out.weight)
    torch.nn.init.normal_(model.snapshot.conv_out.weight)
    x, labels, c_noise = torch.randn(2, 3, 8, 8), torch.tensor([0, 1]), torch.tensor(0.1)
    with torch.no_grad():
        good = model.network(x, c_noise, class_labels=labels).sample
        bad = model.snapshot(x, c_noise, class_labels=labels).sample
        output = model._guided(labels)
        assert torch.equal(output(x, c_noise, torch.tensor(10.0)), good)  # outside of the interval
        assert torch.allclose(output(x, c_noise, torch.tensor(1.0)), bad + 2 * (good - bad), atol=1e-6)


def test_until_the_snapshot_is_kept_it_guides_nowhere(settings: Any, cells: CellSet, run: RunDir) -> None:
    late = settings.model_copy(update={"snapshot_at": 0.9})
    labels, seeds = torch.tensor([0, 1]), torch.tensor([4, 5])
    differs = {}

    def look(step: int, model: Any) -> dict[str, float]:
        guided = model.sample(labels, seeds)
        model.settings = late.model_copy(update={"guidance": 1.0})
        differs[step] = int((guided.int() - model.sample(labels, seeds).int()).abs().max())
        model.settings = late
        return {}

    Diffusion(late, cells.classes, 8).fit(cells, run, look)
    assert differs[3] == 0


def test_guidance_needs_something_to_lead_away_from() -> None:
    with pytest.raises(InputError, match="guide: snapshot"):
        validate(DiffusionSettings, {"class_dropout": 0.0}, "here")
    assert validate(DiffusionSettings, {"class_dropout": 0.0, "guide": "snapshot"}, "here").guidance > 1
