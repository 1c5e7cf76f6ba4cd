"""A training that starts from a saved model."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cells.cellset import CellSet
from generators import GENERATORS, build, load
from generators.adapting import early, held_still, matched
from generators.resample import RepeatSettings
from runtime.errors import InputError
from runtime.rundir import RunDir

every_trained_kind = pytest.mark.parametrize("kind", ["gan", "diffusion"])
Make = Callable[..., CellSet]
TABLE = {"gan": "embedding.weight", "diffusion": "class_embedding.weight"}


@pytest.fixture(scope="module")
def saved(
    settings_of: dict[str, Any], cells: CellSet, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A trained model of each kind; its classes are pale, dark, rare."""
    found = {}
    for kind in GENERATORS:
        folder = tmp_path_factory.mktemp(f"start-{kind}")
        build(settings_of[kind], cells.classes, 8, seed=3).fit(cells, RunDir(folder))
        found[kind] = folder
    return found


@pytest.fixture(scope="module")
def fewer() -> CellSet:
    """Other cells: a class that the model knows, and a new one."""
    pixels = np.random.default_rng(8).integers(0, 256, (9, 8, 8, 3)).astype(np.uint8)
    return CellSet.from_arrays(pixels, [0] * 6 + [1] * 3, ("blast", "dark"), splits="train")


def adapt(settings: Any, start: Path, cells: CellSet, run: Path, **changes: Any) -> Any:
    changed = type(settings)(**{**settings.model_dump(), "start_from": start, **changes})
    return build(changed, cells.classes, cells.image_size, seed=4).fit(cells, RunDir(run))


def begun(settings: Any, start: Path, cells: CellSet, **changes: Any) -> dict[str, torch.Tensor]:
    """The weights that a training begins with."""
    changed = type(settings)(**{**settings.model_dump(), "start_from": start, **changes})
    made: Any = build(changed, cells.classes, cells.image_size, seed=4)
    made.record = made._recorded(cells, None)
    name = "maker" if settings.kind == "gan" else "network"
    state = made._trainer(cells).modules[name].state_dict()
    return {key: value.clone() for key, value in state.items()}


@every_trained_kind
def test_known_classes_keep_their_row_and_new_ones_begin_at_the_mean(
    kind: str, saved: Any, settings_of: Any, fewer: CellSet
) -> None:
    old = load(saved[kind]).network.state_dict()  # type: ignore[attr-defined]
    table, count = old[TABLE[kind]], 3
    new = begun(settings_of[kind], saved[kind], fewer)
    assert torch.equal(new[TABLE[kind]][1], table[1]), "dark is dark, at another place"
    assert torch.allclose(new[TABLE[kind]][0], table[:count].mean(dim=0))
    assert torch.equal(new[TABLE[kind]][2:], table[count:]), "the row for any class stays"
    assert all(torch.equal(value, old[key]) for key, value in new.items() if key != TABLE[kind])
    named = begun(settings_of[kind], saved[kind], fewer, class_map={"blast": "rare"})
    assert torch.equal(named[TABLE[kind]][0], table[2])


@every_trained_kind
def test_adapted_model_knows_where_it_came_from(
    kind: str, saved: Any, settings_of: Any, fewer: CellSet, cells: CellSet, tmp_path: Path
) -> None:
    made = adapt(settings_of[kind], saved[kind], fewer, tmp_path / "run", freeze=0.5)
    read = load(tmp_path / "run")
    assert read.record == made.record and read.record is not None and read.record.start is not None
    assert read.record.start["class_map"] == {"blast": None, "dark": "dark"}
    assert read.record.start["left_out"] == ["pale", "rare"]
    assert read.record.start["split_digest"] == cells.digest
    assert set(read.record.seen) == {*cells.digests, *fewer.digests}, "what the start has seen is seen"
    text = (tmp_path / "run/model/config.json").read_text()
    assert str(saved[kind]) not in text, "a published config does not tell where files lay"
    assert json.loads(text)["split_digest"] == fewer.digest
    labels, seeds = torch.tensor([0, 1, 0]), torch.arange(3)
    assert torch.equal(read.sample(labels, seeds), made.sample(labels, seeds))


@every_trained_kind
def test_frozen_layers_stay_and_all_others_learn(
    kind: str, saved: Any, settings_of: Any, fewer: CellSet, tmp_path: Path
) -> None:
    made = adapt(settings_of[kind], saved[kind], fewer, tmp_path, freeze=0.5)
    frozen = made.record.start["frozen"]
    before: Any = load(saved[kind])
    old, new = (
        (before._critic, made._critic)
        if kind == "gan"
        else (before.network.state_dict(), made.network.state_dict())
    )
    still = {key for key in new if any(key.startswith(f"{name}.") for name in frozen)}
    assert still and len(still) < len(new) - 1
    assert all(torch.equal(new[key], old[key]) for key in still)
    # The bias of the critic's last layer cancels in a relativistic loss: it may stay.
    free = set(new) - still - {TABLE[kind], "feature.bias"}
    assert all(not torch.equal(new[key], old[key]) for key in free), "the rest has learned"
    assert all(name in ("begin", "stages.0", "change.0") for name in frozen) or kind == "diffusion"


@every_trained_kind
def test_interrupted_adaptation_resumes_to_the_same_weights(
    kind: str, saved: Any, settings_of: Any, fewer: CellSet, tmp_path: Path
) -> None:
    settings = settings_of[kind].model_copy(update={"start_from": saved[kind], "freeze": 0.4})
    whole: Any = build(settings, fewer.classes, 8, 4).fit(fewer, RunDir(tmp_path / "whole"))

    def interrupt(step: int, _: Any) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(settings, fewer.classes, 8, 4).fit(fewer, RunDir(tmp_path / "run"), interrupt)
    moved = tmp_path / "elsewhere"
    shutil.copytree(saved[kind], moved)
    again = settings.model_copy(update={"start_from": moved})
    resumed: Any = build(again, fewer.classes, 8, 4).fit(fewer, RunDir(tmp_path / "run"))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_gan_without_its_critic_draws_and_starts_but_does_not_freeze(
    saved: Any,
    settings_of: Any,
    fewer: CellSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    slim = tmp_path / "slim"
    shutil.copytree(saved["gan"] / "model", slim)
    (slim / "critic.safetensors").unlink()
    assert load(slim).sample(torch.tensor([1]), torch.tensor([1])).shape == (1, 3, 8, 8)
    adapt(settings_of["gan"], slim, fewer, tmp_path / "run")
    assert "a critic is trained anew" in capsys.readouterr().err
    with pytest.raises(InputError, match="no early layers to freeze"):
        adapt(settings_of["gan"], slim, fewer, tmp_path / "frozen", freeze=0.5)
    good = (saved["gan"] / "model" / "critic.safetensors").read_bytes()
    (slim / "critic.safetensors").write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match=r"critic\.safetensors: does not match"):
        adapt(settings_of["gan"], slim, fewer, tmp_path / "damaged")


@every_trained_kind
def test_a_start_that_does_not_fit_is_refused(
    kind: str, saved: Any, settings_of: Any, fewer: CellSet, make_cells: Make, tmp_path: Path
) -> None:
    settings, other = settings_of[kind], {"gan": "diffusion", "diffusion": "gan"}[kind]
    cases: list[tuple[str, Path, CellSet, dict[str, Any]]] = [
        (f"holds a generator of kind '{other}'", saved[other], fewer, {}),
        ("draws 8 px, the cells have 12 px", saved[kind], make_cells(size=12), {}),
        ("other layers", saved[kind], fewer, {"channels": (8, 24)}),
        ("modality microscopy, these are xray", saved[kind], fewer.with_modality("xray"), {}),
        ("no class 'blats'. Did you mean 'blast'", saved[kind], fewer, {"class_map": {"blats": "dark"}}),
        ("start model has no class 'darc'", saved[kind], fewer, {"class_map": {"blast": "darc"}}),
        ("no such file", tmp_path / "nowhere", fewer, {}),
    ]
    for words, start, cells, changes in cases:
        with pytest.raises(InputError) as caught:
            adapt(settings, start, cells, tmp_path / "run", **changes)
        assert words in str(caught.value).replace("?", "") and "\n" not in str(caught.value)
        assert not (tmp_path / "run" / "model").exists()
    for key, value in (("freeze", 0.5), ("class_map", {"blast": "dark"})):
        with pytest.raises(InputError, match=f"generator.{key} is set and start_from is not"):
            adapt(settings, None, fewer, tmp_path / "run", **{key: value})  # type: ignore[arg-type]


def test_early_layers_are_a_share_of_all() -> None:
    layers = ("a", "b", "c", "d")
    assert [early(layers, share) for share in (0, 0.5, 0.9)] == [(), ("a", "b"), layers]
    assert matched(("a", "b"), ("b", "c"), {"a": "c"}) == {"a": "c", "b": "b"}
    assert build(RepeatSettings(), ("a",), 8).settings == RepeatSettings()


def test_holding_a_network_still_does_not_unfreeze_it() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    network[0].requires_grad_(False)
    with pytest.raises(KeyError), held_still(network):
        assert not any(p.requires_grad for p in network.parameters())
        raise KeyError
    assert [p.requires_grad for p in network.parameters()] == [False, False, True, True]
