"""Trials one by one: what fails stops nothing else, is written down, and is tried again."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
import yaml
from tiny_study import CELLS, ENCODER, FAST, GAN, UNFILTERED

from evaluation import benchmark
from evaluation.benchmark import run_study
from evaluation.jobs import pool
from evaluation.jobs.running import LOG, Job, attempt, lease_of, note_failure
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study, Trial, open_study, study_config, trials
from runtime.errors import PartFailed
from runtime.lease import holding
from runtime.rundir import RunDir, read_json

Hold = Callable[[Path], Popen[str]]


def plain(**changes: Any) -> StudySettings:
    """A study of two strategies without a generator, two seeds."""
    whole = {"data": CELLS, "rare": ["blast"], "strategies": ["real", "balanced"], "seeds": 2}
    return StudySettings.model_validate({**whole, "classifier": FAST, "encoder": ENCODER, **changes})


def test_a_failed_trial_stops_no_other_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_trial, said = benchmark.run_trial, list[str]()

    def broken(study: Study, trial: Trial) -> dict[str, Any]:
        if trial.strategy == "balanced" and trial.classifier_seed == 0:
            raise RuntimeError("first line\nthe cable is loose")
        return run_trial(study, trial)

    monkeypatch.setattr(benchmark, "run_trial", broken)
    with pytest.raises(
        PartFailed, match=r"1 of 4 trials have no result.*balanced seed 0 failed: RuntimeError: the c"
    ):
        run_study(plain(), tmp_path / "o", said.append)
    failed = read_json(tmp_path / "o" / "balanced" / "seed-0" / "fold-0" / "failed.json")
    assert failed["error"] == "RuntimeError: the cable is loose"
    assert "in broken" in Path(failed["log"]).read_text() and Path(failed["log"]).name == LOG
    assert not (tmp_path / "o" / "results.json").exists()
    monkeypatch.setattr(benchmark, "run_trial", run_trial)
    assert len(run_study(plain(), tmp_path / "o", said.append)["trials"]) == 4
    assert not list((tmp_path / "o").rglob("failed.json"))
    assert sum(line.startswith("[") and "balanced accuracy" in line for line in said) == 4


def test_a_trial_that_another_process_runs_is_left_to_it(tmp_path: Path, hold_elsewhere: Hold) -> None:
    settings = plain()
    study = open_study(settings, RunDir(tmp_path / "o", study_config(settings)), print)
    trial = trials(settings)[0]
    with hold_elsewhere(lease_of(tmp_path / "o", trial)) as other:
        assert not attempt(study, 1, trial, lambda *_: pytest.fail("run twice"))
        other.kill()
    with holding(lease_of(tmp_path / "o", trial)):
        pass


def test_only_what_failed_is_said_to_have_failed(tmp_path: Path) -> None:
    job, said = Job(tmp_path, "real/seed-0/fold-0"), list[str]()
    for failed in (False, True):
        if failed:
            note_failure(job.folder, "the cable is loose")
        worker = pool._Worker(None, job)  # type: ignore[arg-type]  # no process is asked
        pool._hear(worker, {"done": False}, pool._Left([]), said.append)
        assert worker.job is None and len(said) == failed, "else another process is at it"


def small_study(**changes: Any) -> StudySettings:
    """With a generator that all seeds share."""
    gan = GAN
    return plain(
        **{
            "strategies": ["real", "repeat", "gan"],
            "generators": {"gan": gan},
            "shared_generators": True,
            "balance": {"to": 0.5},
            "curation": UNFILTERED,
            "floor_repeats": 2,
            "ablation": False,
            **changes,
        }
    )


def figures(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The trials but for times."""
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in results["trials"]]


def test_a_pool_gives_the_bits_of_one_process_and_trains_a_shared_generator_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as this process: the bits depend on it
    said = list[str]()
    one = run_study(small_study(), tmp_path / "one", list[str]().append)
    two = run_study(small_study(workers=2), tmp_path / "two", said.append)
    assert figures(one) == figures(two)
    assert one["fidelity"][0]["near_copies"] == two["fidelity"][0]["near_copies"]
    assert one["config"] == two["config"], "where it ran is not what it is"
    assert said.count("6 trials left, 2 at a time") == 1
    assert sum("training the gan generator" in line for line in said) == 1
    assert sum(line.startswith("[") for line in said) == 6
    for file in ("probabilities.npy", "result.json"):
        assert len(list((tmp_path / "two").rglob(f"fold-0/{file}"))) == 6
    assert not list((tmp_path / "two" / ".leases").rglob("*.lease"))


SCRIPT = Path(__file__).parents[3] / "scripts" / "benchmark.py"


def wait_for(look: Callable[[], Any], process: Popen[str]) -> Any:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + 300
    while not (found := look()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_a_killed_worker_and_a_killed_parent_lose_no_more_than_the_trial_at_work(tmp_path: Path) -> None:
    gan = {"steps": 60, "checkpoint_every": 1, "batch": 4, "channels": [8, 16], "latent": 8}
    settings = small_study(strategies=["real", "gan"], seeds=1, generators={"gan": gan})
    config, out = tmp_path / "c.yaml", tmp_path / "killed"
    config.write_text(yaml.safe_dump(study_config(settings)))
    running, checkpoints = out / "gan/seed-0/fold-0/running.json", out / "generators/gan/seed-0/checkpoints"
    command = [sys.executable, str(SCRIPT), str(config), f"out={out}", "workers=2"]
    with Popen(command, stdout=PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as parent:
        wait_for(lambda: any(checkpoints.glob("step-*")), parent)
        first = read_json(running)["pid"]
        os.kill(first, signal.SIGKILL)
        second = wait_for(lambda: running.exists() and {read_json(running)["pid"]} - {first}, parent).pop()
        parent.kill()
        said = parent.stdout.read() if parent.stdout is not None else ""
    assert "gan/seed-0/fold-0: its process was killed by signal 9; trying it once more" in said
    deadline = time.monotonic() + 60
    while lives(second):
        assert time.monotonic() < deadline, "an orphan stops by itself"
        time.sleep(0.05)
    assert not (out / "gan/seed-0/fold-0/result.json").exists(), "it was to be killed before its end"
    assert (out / "real/seed-0/fold-0/result.json").exists()
    again = list[str]()
    ended = run_study(settings, out, again.append)
    assert [line.split(":")[0] for line in again if line.startswith("[")] == ["[2/2] gan seed 0"]
    assert figures(ended) == figures(run_study(settings, tmp_path / "whole", print))
