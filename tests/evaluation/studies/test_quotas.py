"""How many cells a strategy adds, and that the doses of one generator are nested."""

from pathlib import Path
from typing import Any

import pytest

from cells.reading import read_set
from evaluation.benchmark import run_study
from evaluation.studies.quotas import largest, quota_of
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import strategy_of
from evaluation.studies.study import open_study
from evaluation.studies.synthetic_cells import accepted
from runtime.errors import InputError
from runtime.rundir import RunDir

FAST = {"network": "fast", "width": 4, "steps": 3, "batch": 8}
TINY: dict[str, Any] = {
    "data": {
        "kind": "phantom",
        "image_size": 16,
        "counts": {"lobed": 12, "blast": 4},
        "val_per_class": 4,
        "test_per_class": 6,
    },
    "rare": ["blast"],
    "seeds": 1,
    "classifier": FAST,
    "encoder": {"kind": "domain", "classifier": FAST},
    "floor_repeats": 2,
}
REAL = {"blast": 5, "lobed": 24, "round": 20}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("real", {}),
        ("gan", {"blast": 7}),
        ("gan+x3", {"blast": 15}),
        ("gan+x0.01", {"blast": 1}),
        ("gan+fill", {"blast": 19}),
        ("gan+only", REAL),
        ("gan+only+x2", {"blast": 10, "lobed": 48, "round": 40}),
        ("gan+only+fill", dict.fromkeys(REAL, 24)),
    ],
)
def test_what_a_strategy_adds(name: str, wanted: dict[str, int]) -> None:
    assert quota_of(strategy_of(name), {"blast": 7}, REAL, ["blast"]) == wanted


def test_a_generator_gives_the_most_that_any_asks() -> None:
    assert largest([{"a": 3}, {"a": 1, "b": 2}, {}], ["a", "b", "c"]) == {"a": 3, "b": 2}
    assert largest([], ["a"]) == {}


def test_doses_are_nested_and_share_one_generator(tmp_path: Path) -> None:
    names = ["real", "repeat+x0.5", "repeat+x3", "repeat+only"]
    settings = StudySettings.model_validate({**TINY, "strategies": names})
    results = run_study(settings, tmp_path / "out", lambda _: None)
    counts = {t["strategy"]: t["train_counts"] for t in results["trials"]}
    assert counts == {
        "real": {"blast": 4, "lobed": 12},
        "repeat+x0.5": {"blast": 6, "lobed": 12},
        "repeat+x3": {"blast": 16, "lobed": 12},
        "repeat+only": {"blast": 4, "lobed": 12},
    }
    assert [p.name for p in (tmp_path / "out/generators").rglob("seed-*")] == ["seed-0"]
    made = read_set(tmp_path / "out/synthetic/repeat/seed-0")
    assert made.counts == {"blast": 12, "lobed": 12}
    study = open_study(settings, RunDir(tmp_path / "out"), print)
    assert accepted(study, "repeat", 0)["cells"].digest == made.digest
    assert study.shortfall == results["cells"]["added"] == made.counts


def test_a_dose_needs_no_balance_and_the_balance_still_counts(tmp_path: Path) -> None:
    flat = {**TINY, "balance": {"to": 0.1}}
    settings = StudySettings.model_validate({**flat, "strategies": ["real", "repeat+x1"]})
    assert open_study(settings, RunDir(tmp_path / "a"), print).shortfall == {"blast": 4}
    settings = StudySettings.model_validate({**TINY, "strategies": ["real", "balanced"]})
    assert open_study(settings, RunDir(tmp_path / "a"), print).shortfall == {}, "none of these adds cells"
    settings = StudySettings.model_validate({**flat, "strategies": ["real", "repeat+x1", "repeat"]})
    with pytest.raises(InputError, match="no class is to get synthetic cells"):
        open_study(settings, RunDir(tmp_path / "b"), print)
