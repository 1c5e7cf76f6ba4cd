import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from cells.sources import Credit
from generators import GanSettings, load
from generators.card import write_model_card
from generators.class_watch import SAMPLES, ClassWatch, separation, small, spread
from generators.gan import Gan
from generators.networks import ImageMaker
from generators.protocol import as_tensor
from runtime.rundir import RunDir


@pytest.fixture(scope="module")
def training() -> tuple[Tensor, Tensor]:
    return as_tensor(phantoms(dict.fromkeys(CLASSES, 2 * SAMPLES), 32, seed=4))


@pytest.fixture(scope="module")
def healthy(training: tuple[Tensor, Tensor]) -> Tensor:
    """Samples as good as they get: other phantoms."""
    images, _ = as_tensor(phantoms(dict.fromkeys(CLASSES, SAMPLES), 32, seed=5))
    return small(images).unflatten(0, (len(CLASSES), SAMPLES))


@pytest.fixture
def watch(training: tuple[Tensor, Tensor]) -> ClassWatch:
    return ClassWatch(*training, CLASSES, steps=100)


def _moving(watch: ClassWatch) -> None:
    for loss in (0.6, 0.8):
        watch.note(torch.tensor(loss))


def test_nothing_is_wrong_with_real_cells(watch: ClassWatch, healthy: Tensor) -> None:
    assert watch.judge(healthy) == {}
    _moving(watch)
    assert watch.judge(healthy.flip(1)) == {}


def test_class_that_ignores_the_latent_is_collapsed(watch: ClassWatch, healthy: Tensor) -> None:
    drawn = healthy.clone()
    drawn[2] = drawn[2, :1] + 0.01 * torch.randn(drawn[2].shape)
    found = watch.judge(drawn)
    assert list(found) == [CLASSES[2]]
    assert float(found[CLASSES[2]]["collapsed"]) < 0.1


def test_class_that_stands_still_is_frozen_unless_all_training_does(
    watch: ClassWatch, healthy: Tensor
) -> None:
    watch.judge(healthy)
    _moving(watch)
    moved = healthy + 0.05 * torch.randn(healthy.shape)
    moved[4] = healthy[4]
    found = watch.judge(moved)
    assert list(found) == [CLASSES[4]] and list(found[CLASSES[4]]) == ["frozen"]
    assert watch.judge(moved) == {}  # no loss was noted since


def test_class_drawn_as_another_is_told_by_name(watch: ClassWatch, healthy: Tensor) -> None:
    drawn = healthy.clone()
    drawn[CLASSES.index("blast")] = drawn[CLASSES.index("round")] + 0.01
    found = watch.judge(drawn)
    assert found == {"blast": {"like": "round"}, "round": {"like": "blast"}}


def test_class_with_the_mean_of_another_is_told_by_name(watch: ClassWatch, healthy: Tensor) -> None:
    """The same distribution, but not image by image."""
    images, _ = as_tensor(phantoms({"round": SAMPLES}, 32, seed=6))
    drawn = healthy.clone()
    drawn[CLASSES.index("blast")] = small(images)
    assert watch.judge(drawn)["blast"] == {"like": "round"}


def test_measures_in_small() -> None:
    assert spread(torch.zeros(1, 3, 8, 8)) == 0
    two = torch.stack([torch.zeros(3, 8, 8), torch.full((3, 8, 8), 0.5)])
    assert spread(two) == pytest.approx(0.5)
    one = torch.randn(2000, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    apart, variance = separation(one[:1000], one[1000:])
    assert abs(apart) < 0.01 * variance
    assert separation(one[:1000], one[1000:] + 0.5)[0] == pytest.approx(192 * 0.25, rel=0.05)


class _Blind(ImageMaker):
    """Ignores the latent for class 1."""

    def style(self, latent: Tensor, labels: Tensor, noise: Tensor | None = None) -> Tensor:
        return super().style(latent * (labels != 1)[:, None], labels, noise)


def test_planted_collapse_is_logged_said_once_and_on_the_card(
    cells: CellSet, run: RunDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("generators.gan.ImageMaker", _Blind)
    settings = GanSettings(
        channels=(8, 16), latent=8, steps=60, batch=8, learning_rate=3e-3, grid_every=20, augmentation="none"
    )
    model = Gan(settings, cells.classes, 8, seed=1).fit(cells, run)
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    found = [line["collapsed"]["dark"]["collapsed"] for line in lines if "collapsed" in line]
    assert found == [0, 0, 0]
    said = [line for line in capsys.readouterr().err.splitlines() if "'dark': collapsed" in line]
    assert len(said) == 1 and "0.0 times" in said[0]
    assert model.record is not None
    assert load(run.path).record == model.record
    write_model_card(model, Credit("CC0-1.0", "nobody"), run.path / "model")
    assert "- dark: collapsed: its samples differ" in (run.path / "model" / "README.md").read_text()


def test_card_is_silent_where_all_is_well(
    cells: CellSet, run: RunDir, make_cells: Callable[..., CellSet], tmp_path: Path
) -> None:
    settings = GanSettings(channels=(8, 16), latent=4, steps=1, batch=4)
    model = Gan(settings, cells.classes, 8).fit(cells, run)
    assert model.record is not None
    for findings, expected in (({}, False), ({"rare": ["frozen"]}, True)):
        object.__setattr__(model.record, "findings", findings)
        write_model_card(model, Credit("CC0-1.0", "nobody"), tmp_path)
        assert ("went wrong" in (tmp_path / "README.md").read_text()) == expected
