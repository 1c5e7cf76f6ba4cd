"""The status of a study, from what lies in its directory."""

import io
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluation.jobs.status import Status, status_of, status_table, studies_in
from runtime.errors import InputError

CONFIG = """
data: {kind: phantom, image_size: 16, counts: {lobed: 24, blast: 5}, val_per_class: 4, test_per_class: 6}
strategies: [real, balanced, gan]
seeds: 2
"""


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def result(out: Path, strategy: str, seed: int, **seconds: float) -> dict[str, Any]:
    record = {"strategy": strategy, "generator_seed": seed, "seconds": {"classifier": 360.0, **seconds}}
    put(out / strategy / f"seed-{seed}" / "fold-0" / "result.json", record)
    return record


def look(out: Path) -> Status:
    ((folder, settings),) = studies_in(out).items()
    return status_of(folder, settings)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two trials done, one running here, one whose process died, one failed, one not begun."""
    out = tmp_path / "study"
    out.mkdir()
    (out / "config.yaml").write_text(CONFIG)
    result(out, "real", 0)
    result(out, "gan", 0, generator=3600.0, synthesis=360.0)
    put(out / "generators/gan/seed-0/seconds.json", {"seconds": 3600.0})
    put(out / "synthetic/gan/seed-0/funnel.json", {"seconds": {"generator": 3600.0, "synthesis": 360.0}})
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for strategy, pid in (("balanced", os.getpid()), ("real", dead.pid)):
        folder = out / strategy / "seed-1" / "fold-0"
        put(folder / "running.json", {"host": socket.gethostname(), "pid": pid, "since": time.time() - 600})
        put(out / ".leases" / "trials" / f"{strategy}_seed-1_fold-0.lease", "")
    put(out / "gan/seed-1/fold-0/failed.json", {"error": "MemoryError: no [room]", "log": "log.txt"})
    return out


def test_each_trial_is_counted_where_it_stands(study: Path) -> None:
    found = look(study)
    assert [t.strategy for t in found.done] == ["real", "gan"]
    assert [(t.strategy, t.classifier_seed) for t, _ in found.running] == [("balanced", 1)]
    assert [(t.strategy, t.classifier_seed) for t, _ in found.failed] == [("gan", 1)]
    assert {(t.strategy, t.classifier_seed) for t in found.left} == {("balanced", 0), ("real", 1)}
    assert found.hours == pytest.approx({"generators": 1.1, "classifiers": 0.2, "evaluation": 0.0})
    assert found.per_point is None and found.gain is None


def test_what_mixes_generators_is_not_counted_a_second_time(study: Path) -> None:
    before = look(study).hours
    mixed = {"seconds": {"generator": 3600.0, "synthesis": 360.0}}
    put(study / "synthetic/gan+mixed_seeds/seed-0/funnel.json", mixed)
    assert look(study).hours == before


def test_a_running_trial_of_another_machine_counts_while_its_lease_is_renewed(study: Path) -> None:
    folder, lease = study / "real/seed-1/fold-0", study / ".leases/trials/real_seed-1_fold-0.lease"
    put(folder / "running.json", {"host": "another-machine", "pid": 1, "since": time.time()})
    assert len(look(study).running) == 2
    os.utime(lease, (time.time() - 3600, time.time() - 3600))
    assert len(look(study).running) == 1


@pytest.mark.parametrize(("mean", "price"), [(0.022, 0.5), (-0.01, None)])
def test_a_point_costs_the_hours_of_its_own_generator(study: Path, mean: float, price: float | None) -> None:
    trials = [{"strategy": "gan", "generator_seed": 0, "seconds": {"generator": 3600.0, "synthesis": 360.0}}]
    other = [{"strategy": "real", "generator_seed": None, "seconds": {"classifier": 9999.0}}]
    put(
        study / "results.json",
        {"conclusion": {"synthetic": "gan", "mean": mean}, "trials": [*trials, *trials, *other]},
    )
    found = look(study)
    assert found.gain == pytest.approx(100 * mean)
    assert found.per_point == (None if price is None else pytest.approx(price))


def test_the_table_says_it_in_words(study: Path) -> None:
    told = io.StringIO()
    console = Console(width=120, file=told)
    console.print(status_table(study, look(study)))
    text = told.getvalue()
    for words in ("2 of 6 trials done", "balanced seed 1 on", "10 min", "gan seed 1: MemoryError: no [room]",
                  "log: log.txt", "1.3 h", "known when the report is written"):  # fmt: skip
        assert words in text, words


def test_a_directory_without_a_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no study has begun here"):
        studies_in(tmp_path)


def test_all_studies_of_a_design_are_shown_begun_or_not(study: Path) -> None:
    (study / "config.yaml").write_text(CONFIG + "preprocess: {plain: [], gamma: [{kind: gamma}]}\n")
    found = {out.name: status_of(out, settings) for out, settings in studies_in(study).items()}
    assert {name: len(status.left) for name, status in found.items()} == {"plain": 6, "gamma": 6}
