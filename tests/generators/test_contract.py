"""What holds for every generator, on tiny real networks."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cells.cellset import CellSet
from cells.preprocessing import Preprocessing
from cells.steps import Gamma
from cells.writing import write_set
from generators import GENERATORS, RESAMPLERS, Generator, build, load
from generators.augment import SYMMETRIES
from generators.diffusion import Diffusion
from generators.gan import Gan
from generators.resample import RepeatSettings
from generators.synthesize import remake, synthesize
from runtime.errors import InputError
from runtime.rundir import RunDir

ROOT = Path(__file__).parents[2]
Fit = Callable[..., Generator]
Request = Callable[..., tuple[torch.Tensor, torch.Tensor]]
every_kind = pytest.mark.parametrize("kind", list(GENERATORS))
every_trained_kind = pytest.mark.parametrize("kind", ["gan", "diffusion"])


@pytest.fixture(scope="module")
def fitted(
    settings_of: dict[str, Any], cells: CellSet, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Generator, Path]]:
    """One trained generator of each kind, and where it was trained; tests do not change them."""
    made = {}
    for kind, settings in settings_of.items():
        folder = tmp_path_factory.mktemp(kind)
        with RunDir(folder, {"kind": kind}) as run:
            made[kind] = (
                build(settings, cells.classes, cells.image_size, seed=3).fit(cells, run),
                folder,
            )
    return made


@every_kind
def test_samples_are_bytes_of_the_right_shape(kind: str, fitted: Any, request_of: Request) -> None:
    generator = fitted[kind][0]
    images = generator.sample(*request_of(7))
    assert images.shape == (7, 3, 8, 8)
    assert images.dtype == torch.uint8
    assert images.device.type == "cpu"
    assert images.float().std() > 1
    none = torch.zeros(0, dtype=torch.int64)
    assert generator.sample(none, none).shape == (0, 3, 8, 8)


@every_kind
def test_same_seed_same_image_other_seed_other_image(kind: str, fitted: Any, request_of: Request) -> None:
    generator = fitted[kind][0]
    labels, seeds = request_of(6)
    assert torch.equal(generator.sample(labels, seeds), generator.sample(labels, seeds))
    same_class = torch.zeros(12, dtype=torch.int64)
    images = generator.sample(same_class, torch.arange(12))
    assert len({image.numpy().tobytes() for image in images}) > 5


@every_kind
def test_image_does_not_depend_on_its_neighbors(kind: str, fitted: Any, request_of: Request) -> None:
    generator = fitted[kind][0]
    labels, seeds = request_of(7)
    together = generator.sample(labels, seeds)
    order = torch.tensor([5, 2, 6, 0, 1, 4, 3])
    shuffled = generator.sample(labels[order], seeds[order])
    alone = torch.cat([generator.sample(labels[i : i + 1], seeds[i : i + 1]) for i in range(7)])
    for other in (shuffled[order.argsort()], alone):
        assert ((together.int() - other.int()).abs() <= 1).float().mean() >= 0.999


@every_kind
def test_class_matters(kind: str, fitted: Any) -> None:
    generator = fitted[kind][0]
    seeds = torch.arange(4)
    first = generator.sample(torch.zeros(4, dtype=torch.int64), seeds)
    other = generator.sample(torch.ones(4, dtype=torch.int64), seeds)
    assert not torch.equal(first, other)


@every_kind
def test_load_gives_back_what_was_saved(kind: str, fitted: Any, request_of: Request, tmp_path: Path) -> None:
    generator, folder = fitted[kind]
    for source in (folder, folder / "model"):
        copy = load(source)
        assert copy.classes == generator.classes == ("pale", "dark", "rare")
        assert (copy.image_size, copy.seed, copy.settings) == (8, 3, generator.settings)
        assert copy.record == generator.record
        assert torch.equal(copy.sample(*request_of()), generator.sample(*request_of()))
    copy.save(tmp_path / "again")
    assert torch.equal(load(tmp_path / "again").sample(*request_of()), generator.sample(*request_of()))


@every_kind
def test_saved_folder_says_what_it_was_trained_on(kind: str, fitted: Any, cells: CellSet) -> None:
    folder = fitted[kind][1] / "model"
    config = json.loads((folder / "config.json").read_text())
    assert config["kind"] == kind
    assert config["classes"] == list(cells.classes)
    assert config["split_digest"] == cells.digest
    assert config["counts"] == cells.counts
    assert "torch" in config["versions"]
    assert (folder / "seen.txt").read_text().split() == sorted(cells.digests)


@every_kind
def test_finished_model_is_returned_at_once(
    kind: str, fitted: Any, cells: CellSet, request_of: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, folder = fitted[kind]

    def refuse(*_: Any) -> None:
        raise AssertionError("trained again")

    for trained in (Gan, Diffusion):
        monkeypatch.setattr(trained, "_trainer", refuse)
    fresh = build(generator.settings, cells.classes, cells.image_size, seed=3)
    again = fresh.fit(cells, RunDir(folder))
    assert torch.equal(again.sample(*request_of()), generator.sample(*request_of()))


@every_kind
def test_folder_of_another_fit_is_refused_and_kept(kind: str, fitted: Any, cells: CellSet) -> None:
    generator, folder = fitted[kind]
    before = (folder / "model" / "weights.safetensors").read_bytes()
    with pytest.raises(InputError, match="seed was 3, is 4"):
        build(generator.settings, cells.classes, 8, seed=4).fit(cells, RunDir(folder))
    fewer = cells.subset(np.arange(1, len(cells)))
    with pytest.raises(InputError, match="split_digest"):
        build(generator.settings, cells.classes, 8, seed=3).fit(fewer, RunDir(folder))
    assert (folder / "model" / "weights.safetensors").read_bytes() == before


@every_kind
def test_cells_that_do_not_fit_are_refused(
    kind: str, settings_of: dict[str, Any], make_cells: Callable[..., CellSet], run: RunDir
) -> None:
    def fit(cells: CellSet) -> None:
        build(settings_of[kind], ("pale", "dark", "rare"), 8).fit(cells, run)

    with pytest.raises(InputError, match="same order"):
        fit(make_cells(classes=("dark", "pale", "rare")))
    with pytest.raises(InputError, match="12 px"):
        fit(make_cells(size=12))
    with pytest.raises(InputError, match="class 'rare' has no training cell"):
        fit(make_cells().subset(make_cells().labels < 2))
    with pytest.raises(InputError, match="synthetic"):
        fit(make_cells(origin="synthetic"))
    assert not (run.path / "model").exists()


@every_kind
def test_labels_and_seeds_that_do_not_fit_are_refused(kind: str, fitted: Any) -> None:
    generator = fitted[kind][0]
    with pytest.raises(InputError, match="outside 0 to 2"):
        generator.sample(torch.tensor([3]), torch.tensor([0]))
    with pytest.raises(InputError, match="negative"):
        generator.sample(torch.tensor([0]), torch.tensor([-1]))
    with pytest.raises(InputError, match="one of each"):
        generator.sample(torch.tensor([0, 1]), torch.tensor([0]))


@every_kind
def test_damaged_or_missing_files_are_named(kind: str, fitted: Any, tmp_path: Path) -> None:
    fitted[kind][0].save(tmp_path)
    weights = tmp_path / "weights.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        load(tmp_path)
    weights.write_bytes(good)
    (tmp_path / "seen.txt").unlink()
    with pytest.raises(InputError, match=r"seen\.txt"):
        load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json"):
        load(tmp_path)


@every_trained_kind
def test_weights_of_other_settings_are_refused(kind: str, fitted: Any, tmp_path: Path) -> None:
    fitted[kind][0].save(tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["settings"]["channels"] = [16, 16]
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="does not fit the config"):
        load(tmp_path)


def test_unknown_kind_is_refused_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"kind": "difusion"}')
    with pytest.raises(InputError, match="Did you mean 'diffusion'"):
        load(tmp_path)


@every_trained_kind
def test_training_leaves_grids_log_and_events(kind: str, fitted: Any) -> None:
    folder = fitted[kind][1]
    assert [p.name for p in sorted((folder / "samples").iterdir())] == [
        "step-000003.png",
        "step-000005.png",
    ]
    lines = _logged(folder)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert all(np.isfinite(list(line.values())).all() for line in lines)
    assert any((folder / "events").iterdir())


def _logged(folder: Path) -> list[dict[str, Any]]:
    """Figures of the log; what the watch finds has lines of its own."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if "collapsed" not in line]


@every_trained_kind
def test_interrupted_training_resumes_to_the_same_weights(
    kind: str, fitted: Any, cells: CellSet, run: RunDir
) -> None:
    """Stopped at step 3 by an exception, so a step after the last checkpoint is done twice."""
    generator = fitted[kind][0]

    def interrupt(step: int, _: Generator) -> dict[str, float]:
        assert step == 3
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(generator.settings, cells.classes, 8, seed=3).fit(cells, run, interrupt)
    assert not (run.path / "model").exists()
    resumed = build(generator.settings, cells.classes, 8, seed=3).fit(cells, run)
    assert [line["step"] for line in _logged(run.path)] == [1, 2, 3, 3, 4, 5]
    _assert_same_weights(resumed, generator)


@every_trained_kind
def test_checkpoint_of_another_config_is_refused(
    kind: str, settings_of: dict[str, Any], cells: CellSet, run: RunDir
) -> None:
    def stop(step: int, _: Generator) -> dict[str, float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(settings_of[kind], cells.classes, 8).fit(cells, run, stop)
    other = settings_of[kind].model_copy(update={"learning_rate": 0.5})
    with pytest.raises(InputError, match="learning_rate"):
        build(other, cells.classes, 8).fit(cells, run)


@every_trained_kind
def test_monitor_sees_the_generator_and_is_logged(
    kind: str, settings_of: dict[str, Any], cells: CellSet, run: RunDir
) -> None:
    seen = []

    def monitor(step: int, generator: Generator) -> dict[str, float]:
        seen.append((step, generator.sample(torch.tensor([1]), torch.tensor([1])).shape))
        return {"brightness": 0.5}

    build(settings_of[kind], cells.classes, 8).fit(cells, run, monitor)
    assert seen == [(3, (1, 3, 8, 8)), (5, (1, 3, 8, 8))]
    assert '"monitor/brightness": 0.5' in (run.path / "log.jsonl").read_text()


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from cells.reading import read_set
from generators import build, load
from runtime.rundir import RunDir
source = load(Path({model!r}))
cells = read_set(Path({cells!r}))
run = RunDir(Path({run!r}))
slow = lambda step, generator: time.sleep(60) or {{}}
build(source.settings, source.classes, 8, source.seed).fit(cells, run, slow)
"""


@every_trained_kind
def test_killed_training_resumes_to_the_same_weights(
    kind: str, fitted: Any, cells: CellSet, tmp_path: Path
) -> None:
    """SIGKILL gives the process no chance to tidy up."""
    generator, folder = fitted[kind]
    write_set(cells, tmp_path / "cells")
    names = {"root": ROOT, "model": folder, "cells": tmp_path / "cells", "run": tmp_path / "run"}
    code = KILLED.format(**{name: str(path) for name, path in names.items()})
    # As many threads as here: sums of another order differ in the last bit.
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **threads})
    deadline = time.monotonic() + 240
    while not (tmp_path / "run/samples/step-000003.png").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run/model").exists()
    resumed = build(generator.settings, cells.classes, 8, seed=3).fit(cells, RunDir(tmp_path / "run"))
    _assert_same_weights(resumed, generator)


def _assert_same_weights(one: Any, other: Any) -> None:
    ours, theirs = one.network.state_dict(), other.network.state_dict()
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


@every_kind
def test_any_synthetic_cell_can_be_made_again(kind: str, fitted: Any) -> None:
    generator = fitted[kind][0]
    made = synthesize(generator, {"rare": 4, "pale": 3}, 11, "tiny", "abc", batch=5)
    assert made.counts == {"pale": 3, "dark": 0, "rare": 4}
    assert set(made.origins) == {"synthetic"}
    for row in range(len(made)):
        again = remake(generator, made.provenance[row], made.classes[made.labels[row]])
        assert np.mean(np.abs(again.astype(int) - made.pixels[row]) <= 1) >= 0.999


@every_kind
def test_size_must_be_divisible_by_four(kind: str, settings_of: dict[str, Any]) -> None:
    if kind in RESAMPLERS:
        assert build(settings_of[kind], ("a", "b"), 9).image_size == 9
        return
    for size in (30, 4):
        with pytest.raises(InputError, match="divisible by 4"):
            build(settings_of[kind], ("a", "b"), size)


@pytest.mark.parametrize("kind", ["gan", "diffusion"])
def test_xrays_are_not_turned_and_their_synthetic_cells_say_so(
    kind: str, settings_of: Any, cells: CellSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(images: torch.Tensor, draws: torch.Generator) -> torch.Tensor:
        raise AssertionError("an X-ray was flipped")

    for name in ("dihedral", "flips"):
        monkeypatch.setitem(SYMMETRIES, name, forbidden)
    settings, xrays = settings_of[kind], cells.with_modality("xray")
    made = build(settings, cells.classes, cells.image_size).fit(xrays, RunDir(tmp_path / "run"))
    read = load(tmp_path / "run" / "model")
    assert made.record == read.record and read.record.modality == "xray"
    drawn = synthesize(read, {"rare": 2}, 0, kind, xrays.digest)
    assert drawn.modality == "xray"
    with pytest.raises(InputError, match="X-rays have an up and a left"):
        asked = settings.model_copy(update={"augmentation": "dihedral"})
        build(asked, cells.classes, cells.image_size).fit(xrays, RunDir(tmp_path / "asked"))
    with pytest.raises(AssertionError, match="was flipped"):  # so the test would notice
        build(settings, cells.classes, cells.image_size).fit(cells, RunDir(tmp_path / "cells"))


def test_seen_cells_are_listed_as_they_were_before_preprocessing_too(cells: CellSet, run: RunDir) -> None:
    done = Preprocessing.fit((Gamma(),), cells).cells(cells)
    build(RepeatSettings(), cells.classes, cells.image_size).fit(done, run)
    seen = (run.path / "model" / "seen.txt").read_text().split()
    assert seen == sorted({*cells.digests, *done.digests})
