"""Which moment of a training is kept."""

import json
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from cells.cellset import CellSet
from generators import Generator, build, load
from generators.choosing import Watch
from runtime.errors import InputError
from runtime.rundir import RunDir

KID = {1: 0.5, 2: 0.2, 3: 0.4, 4: 0.2, 5: 0.3}
every_trained_kind = pytest.mark.parametrize("kind", ["gan", "diffusion"])


def drawn(generator: Generator) -> torch.Tensor:
    return generator.sample(torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7]))


def watching(
    seen: dict[int, torch.Tensor], choose: Literal["best", "last"] = "best", agreement: float = 0.5
) -> Watch:
    def look(step: int, generator: Generator) -> dict[str, float]:
        seen[step] = drawn(generator)
        return {"kid": KID[step], "label_agreement": agreement if step == 4 else 0.5}

    return Watch(look, 1, (("kid", "low"), ("label_agreement", "high")), choose, {"encoder": "none"})


def fit(settings: Any, cells: CellSet, run: Path, watch: Watch) -> Any:
    return build(settings, cells.classes, 8, seed=3).fit(cells, RunDir(run), watch)


@every_trained_kind
def test_best_is_the_model_and_last_lies_beside_it(
    kind: str, settings_of: Any, cells: CellSet, tmp_path: Path
) -> None:
    seen: dict[int, torch.Tensor] = {}
    made = fit(settings_of[kind], cells, tmp_path, watching(seen))
    assert not torch.equal(seen[2], seen[5]), "or the test could not fail"
    assert torch.equal(drawn(made), seen[2]) and torch.equal(drawn(load(tmp_path)), seen[2])
    assert torch.equal(drawn(load(tmp_path / "last")), seen[5])
    chosen = json.loads((tmp_path / "model/config.json").read_text())["chosen"]
    assert chosen["choose"] == "best" and chosen["step"] == 2
    assert chosen["figures"] == {"kid": 0.2, "label_agreement": 0.5}
    assert chosen["last"]["step"] == 5 and chosen["fingerprint"] == {"encoder": "none"}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["monitor/kid"] for line in lines if "monitor/kid" in line] == list(KID.values())
    assert [line["step"] for line in lines if "best_so_far" in line] == [1, 2]
    assert load(tmp_path).record == made.record


def test_the_other_figure_decides_where_the_first_is_equal(
    settings_of: Any, cells: CellSet, tmp_path: Path
) -> None:
    seen: dict[int, torch.Tensor] = {}
    made = fit(settings_of["gan"], cells, tmp_path, watching(seen, agreement=0.6))
    assert made.record.chosen["step"] == 4 and torch.equal(drawn(made), seen[4])


@every_trained_kind
def test_last_may_be_chosen_and_best_is_kept_too(
    kind: str, settings_of: Any, cells: CellSet, tmp_path: Path
) -> None:
    seen: dict[int, torch.Tensor] = {}
    made = fit(settings_of[kind], cells, tmp_path, watching(seen, "last"))
    assert torch.equal(drawn(made), seen[5]) and torch.equal(drawn(load(tmp_path)), seen[5])
    assert torch.equal(drawn(load(tmp_path / "best")), seen[2])
    assert made.record.chosen["step"] == 5 and made.record.chosen["choose"] == "last"


@every_trained_kind
def test_a_resumed_training_remembers_its_best(
    kind: str, settings_of: Any, cells: CellSet, tmp_path: Path
) -> None:
    """Stopped in step 5, after the checkpoint of step 4: the best was step 2 and is not seen again."""
    seen: dict[int, torch.Tensor] = {}
    watch = watching(seen)

    def stop(step: int, generator: Generator) -> Any:
        if step == 5:
            raise KeyboardInterrupt
        return watch.look(step, generator)

    stopping = Watch(stop, 1, watch.decide_by, "best", watch.fingerprint)
    with pytest.raises(KeyboardInterrupt):
        fit(settings_of[kind], cells, tmp_path / "run", stopping)
    again: dict[int, torch.Tensor] = {}
    resumed = fit(settings_of[kind], cells, tmp_path / "run", watching(again))
    assert list(again) == [5] and resumed.record.chosen["step"] == 2
    assert torch.equal(drawn(resumed), seen[2])
    whole = fit(settings_of[kind], cells, tmp_path / "whole", watching({}))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    if kind == "gan":
        assert all(torch.equal(value, resumed._critic[name]) for name, value in whole._critic.items())


def test_another_watch_is_another_training(settings_of: Any, cells: CellSet, tmp_path: Path) -> None:
    fit(settings_of["gan"], cells, tmp_path, watching({}))
    with pytest.raises(InputError, match=r"watch\.choose was 'best', is 'last'"):
        fit(settings_of["gan"], cells, tmp_path, watching({}, "last"))
    with pytest.raises(InputError, match="trained with another config"):
        build(settings_of["gan"], cells.classes, 8, seed=3).fit(cells, RunDir(tmp_path))


@pytest.mark.parametrize("figures", [{}, {"kid": float("nan"), "label_agreement": 1.0}])
def test_a_figure_that_decides_must_be_there(
    figures: dict[str, float], settings_of: Any, cells: CellSet, tmp_path: Path
) -> None:
    watch = Watch(lambda *_: figures, 1, (("kid", "low"),))
    with pytest.raises(InputError, match="no figure 'kid'"):
        fit(settings_of["gan"], cells, tmp_path, watch)


def test_without_a_watch_the_last_step_is_recorded(settings_of: Any, cells: CellSet, run: RunDir) -> None:
    made = build(settings_of["gan"], cells.classes, 8).fit(cells, run)
    assert made.record is not None and made.record.chosen == {"choose": "last", "step": 5, "figures": {}}
    assert not (run.path / "last").exists() and not (run.path / "best").exists()
