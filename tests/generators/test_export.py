"""A saved diffusion model opens with diffusers, and the documentation's snippet draws rarecell's images."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EDMDPMSolverMultistepScheduler, UNet2DModel
from PIL import Image

from cells.cellset import CellSet
from generators import load
from generators.diffusion import Diffusion
from runtime.errors import InputError
from runtime.rundir import RunDir

PAGE = Path(__file__).parents[2] / "docs" / "generators.md"
CLASSES = ("basophil", "dark", "rare")
Train = Callable[..., Diffusion]


@pytest.fixture
def train(settings_of: dict[str, Any], make_cells: Callable[..., CellSet], tmp_path: Path) -> Train:
    """A tiny model, trained into runs/diffusion."""

    def made(**changes: Any) -> Diffusion:
        settings = settings_of["diffusion"].model_copy(update=changes)
        run = RunDir(tmp_path / "runs" / "diffusion")
        return Diffusion(settings, CLASSES, 8).fit(make_cells(classes=CLASSES), run)

    return made


def _folder(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "diffusion" / "model"


def _snippet() -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return str(code)


@pytest.mark.parametrize("changes", [{}, {"patch": 2}, {"guidance": 3.0, "transforms": 0.5}])
def test_the_snippet_of_the_page_draws_our_images(
    changes: dict[str, Any], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = train(**changes)
    monkeypatch.chdir(tmp_path)
    code = _snippet()
    assert len([line for line in code.splitlines() if line]) < 25
    assert not re.search(r"rarecell|generators|runtime|cells\.", code)
    exec(compile(code, str(PAGE), "exec"), {})
    theirs = np.asarray(Image.open("basophil.png")).astype(int)
    ours = model.sample(torch.tensor([0]), torch.tensor([0]))[0].permute(1, 2, 0).numpy()
    other = model.sample(torch.tensor([0]), torch.tensor([1]))[0].permute(1, 2, 0).numpy()
    assert np.abs(theirs - ours).max() <= 1
    assert np.abs(theirs - other).max() > 20  # so the test would notice


def test_unet_and_scheduler_are_diffusers_own_and_take_no_room(train: Train, tmp_path: Path) -> None:
    model = train(transforms=0.5)
    folder = _folder(tmp_path)
    unet, info = UNet2DModel.from_pretrained(folder, subfolder="unet", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, value in model.network.state_dict().items():
        assert torch.equal(value, unet.state_dict()[name]), name
    scheduler = EDMDPMSolverMultistepScheduler.from_pretrained(folder, subfolder="scheduler")
    assert (scheduler.config.sigma_min, scheduler.config.sigma_max) == (0.02, 40.0)
    weights = folder / "weights.safetensors"
    assert weights.samefile(folder / "unet" / "diffusion_pytorch_model.safetensors")
    model.save(folder)  # again, over itself
    assert weights.samefile(folder / "unet" / "diffusion_pytorch_model.safetensors")


def test_a_disk_without_links_gets_a_copy(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    train()
    weights = _folder(tmp_path) / "weights.safetensors"
    copy = _folder(tmp_path) / "unet" / "diffusion_pytorch_model.safetensors"
    assert not weights.samefile(copy)
    assert weights.read_bytes() == copy.read_bytes()


def test_the_snapshot_is_kept_and_verified(train: Train, tmp_path: Path) -> None:
    model = train(guide="snapshot", guidance=3.0)
    folder = _folder(tmp_path)
    read = load(folder)
    labels, seeds = torch.tensor([0, 1, 2]), torch.tensor([4, 5, 6])
    assert torch.equal(read.sample(labels, seeds), model.sample(labels, seeds))
    opened = UNet2DModel.from_pretrained(folder, subfolder="snapshot")
    assert model.snapshot is not None
    assert torch.equal(opened.conv_out.weight, model.snapshot.conv_out.weight)
    weights = folder / "snapshot" / "diffusion_pytorch_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match=r"snapshot.*damaged"):
        load(folder)
    weights.unlink()
    with pytest.raises(InputError, match=r"snapshot.*no such file"):
        load(folder)


def test_both_samplers_draw_the_same_cells(train: Train) -> None:
    model = train()
    labels, seeds = torch.tensor([0, 1]), torch.tensor([1, 2])
    drawn = {}
    for sampler, steps in (("dpm++", 24), ("heun", 12)):
        model.settings = model.settings.model_copy(update={"sampling_steps": steps, "sampler": sampler})
        drawn[sampler] = model.sample(labels, seeds).int()
    assert (drawn["heun"] - drawn["dpm++"]).abs().float().mean() < 5
    assert (drawn["heun"][0] - drawn["heun"][1]).abs().float().mean() > 20
