import json
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from cells.cellset import CellSet
from generators import GanSettings
from generators.adaptive import EVERY, Transforms
from generators.gan import Gan
from generators.protocol import Generator
from runtime.rundir import RunDir

TINY = {"channels": (8, 16), "latent": 4, "batch": 4, "warmup": 1, "log_every": 1, "grid_columns": 2}
ADAPTIVE = GanSettings(
    **TINY,
    steps=13,
    checkpoint_every=6,
    grid_every=0,
    transforms="adaptive",
    transforms_target=0.01,
    transforms_climb=50,
)


def _after(transforms: Transforms, lead: float, steps: int) -> float:
    for step in range(steps):
        transforms.note(lead * 16, 16, step)
    return transforms.now


def test_probability_climbs_while_the_critic_leads_and_stops_at_the_cap() -> None:
    transforms = Transforms(0.0, target=0.6, cap=0.5, climb=1600)
    assert _after(transforms, 0.75, EVERY - 1) == 0
    transforms.note(12, 16, EVERY - 1)
    assert transforms.now == pytest.approx(EVERY * 16 / 1600)
    assert _after(transforms, 0.75, 400) == 0.5


def test_probability_falls_again_down_to_zero() -> None:
    transforms = Transforms(0.4, target=0.6, cap=0.5, climb=1600)
    assert _after(transforms, 0.5, EVERY) == pytest.approx(0.36)
    assert _after(transforms, 0.5, 400) == 0


def test_fixed_probability_stays() -> None:
    assert _after(Transforms(0.3), 1.0, 100) == pytest.approx(0.3)


def test_sums_of_a_divided_batch_decide_alike() -> None:
    whole, divided = (Transforms(0.2, target=0.5, cap=0.7, climb=100) for _ in range(2))
    assert _after(whole, 0.5, EVERY) == 0.2  # at the target
    for step in range(EVERY):
        divided.note(8 + 1e-6, 16, step)
    assert divided.now == 0.2


def test_training_climbs_and_logs_it(cells: CellSet, run: RunDir) -> None:
    Gan(ADAPTIVE, cells.classes, 8, seed=3).fit(cells, run)
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    logged = [line["transforms"] for line in lines if "transforms" in line]
    assert len(logged) == 13 and all(-1 <= line["lead"] <= 1 for line in lines if "lead" in line)
    assert logged[:3] == [0, 0, 0] and max(logged) > 0


def test_interrupted_adaptive_training_resumes_to_the_same_probability_and_weights(
    cells: CellSet, tmp_path: Path
) -> None:
    straight = RunDir(tmp_path / "straight")
    whole = Gan(ADAPTIVE, cells.classes, 8, seed=3).fit(cells, straight)

    def stop(step: int, _: Generator) -> dict[str, float]:
        raise KeyboardInterrupt

    broken = RunDir(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):  # at the last step; the newest checkpoint is that of step 12
        Gan(ADAPTIVE, cells.classes, 8, seed=3).fit(cells, broken, stop)
    resumed = Gan(ADAPTIVE, cells.classes, 8, seed=3).fit(cells, broken)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert _logged_end(straight) == _logged_end(broken)


def _logged_end(run: RunDir) -> tuple[float, float, float]:
    """Step, probability and lead of the last step."""
    lines = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    step, probability, lead = [
        (line["step"], line["transforms"], line["lead"]) for line in lines if "transforms" in line
    ][-1]
    assert step == 13 and probability > 0
    return step, probability, lead


def test_micro_batches_climb_alike(cells: CellSet, tmp_path: Path) -> None:
    parts = ADAPTIVE.model_copy(update={"micro_batch": 1, "twins": 0.5})
    whole = ADAPTIVE.model_copy(update={"twins": 0.5})
    made = []
    for name, settings in (("whole", whole), ("parts", parts)):
        run = RunDir(tmp_path / name)
        made.append(Gan(settings, cells.classes, 8, seed=3).fit(cells, run))
    for name, value in made[0].network.state_dict().items():
        assert torch.allclose(value, made[1].network.state_dict()[name], atol=1e-3), name


@pytest.mark.parametrize("values", [{"transforms": "adaptiv"}, {"transforms_cap": 0.8}, {"twins": -1.0}])
def test_settings_that_cannot_work_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        GanSettings.model_validate(values)
