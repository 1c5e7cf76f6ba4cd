"""What is submitted to a cluster, without one; tests/slurm has the real thing."""

import os
from pathlib import Path

import pytest
from submitit import AutoExecutor
from tiny_study import CELLS

from evaluation.jobs.cluster import await_report, submit
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study, open_study, trials
from runtime.errors import InputError
from runtime.rundir import RunDir, write_json, write_text


@pytest.fixture
def ended(tmp_path: Path) -> Study:
    """A study whose trials are done and whose report is written, asked for by one who does not wait."""
    settings = StudySettings.model_validate(
        {"data": CELLS, "rare": ["blast"], "strategies": ["real"], "seeds": 2, "cluster": {"wait": False}}
    )
    study = open_study(settings, RunDir(tmp_path), print)
    for trial in trials(settings):
        write_json(tmp_path / trial.folder / "result.json", {})
    write_json(tmp_path / "results.json", {"told": True})
    write_json(tmp_path / "report.md", {})
    return study


def test_a_report_that_is_there_is_shown_and_not_submitted_again(
    ended: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # no sbatch
    report = submit(ended, print)
    assert report is None and await_report(ended, report) == {"told": True}


def test_only_what_sbatch_refused_is_said_to_be_refused(
    ended: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = tmp_path / "tools"
    for name, script in (("sbatch", "echo 'invalid partition' >&2; exit 1"), ("squeue", ""), ("srun", "")):
        write_text(tools / name, f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    (ended.run.path / "report.md").unlink()
    with pytest.raises(InputError, match=r"sbatch refused the jobs \(.*invalid partition"):
        submit(ended, print)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(AutoExecutor, "submit", full)
    with pytest.raises(OSError, match="No space left"):
        submit(ended, print)


@pytest.mark.parametrize("change", ["a trial is missing", "a trial is newer", "no report"])
def test_what_is_not_reported_is_submitted(
    change: str, ended: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    result = ended.run.path / trials(ended.settings)[1].folder / "result.json"
    if change == "a trial is newer":
        later = (ended.run.path / "results.json").stat().st_mtime + 9
        os.utime(result, (later, later))
    else:
        (result if change == "a trial is missing" else ended.run.path / "report.md").unlink()
    with pytest.raises(InputError, match="there is no sbatch here"):
        submit(ended, print)
