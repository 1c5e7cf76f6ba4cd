"""Trials as jobs of a SLURM cluster, through submitit; the report is a last job of its own.

What is done is what lies in the study's directory, which all nodes share. So a job that is requeued, killed
or submitted twice does no harm: it goes on with its trial, or finds it done or at work.
"""

from __future__ import annotations

import getpass
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from submitit import AutoExecutor
from submitit.core.utils import DelayedSubmission, FailedJobError, FailedSubmissionError

from evaluation.jobs.running import Job, job_of, require_all
from evaluation.jobs.where import SlurmSettings, jobs_folder
from evaluation.reports.screening_page import SCREENING
from evaluation.studies.study import Study, finished, pending, trials
from runtime.errors import InputError, NotYet, PartFailed
from runtime.rundir import read_json, write_json
from runtime.termination import Terminated, terminate_on_sigterm

LARGEST_ARRAY = 1000  # below SLURM's own default of 1001
Work = Callable[[Path, str | None], object]


@dataclass
class SlurmJob:
    """What submitit runs on a node, and puts into the queue again when its time is up.

    Attributes:
        work: Does a trial, or with None in its place what follows the last one.
        out: The study's directory, absolute.
        trial: The trial's folder in it.
    """

    work: Work
    out: Path
    trial: str | None

    def __call__(self) -> None:
        """Do the work. The signal that submitit answers by requeueing first has the training saved."""
        told: list[tuple[int, FrameType | None]] = []
        requeue = signal.getsignal(signal.SIGUSR2)

        def save_first(number: int, frame: FrameType | None) -> None:
            told.append((number, frame))
            signal.raise_signal(signal.SIGTERM)

        signal.signal(signal.SIGUSR2, save_first)
        try:
            with terminate_on_sigterm():
                self.work(self.out, self.trial)
        except Terminated:
            if not told or not callable(requeue):  # scontrol requeue and scancel put it where it belongs
                raise
            requeue(*told[0])

    def checkpoint(self) -> DelayedSubmission:
        """What is to be run when the job comes up again: the same, which finds what was saved."""
        return DelayedSubmission(self)


def submit(study: Study, work: Work) -> str | None:
    """Submit what is left of a study, but for what is in the queue already, and its report.

    Args:
        study: The study, its directory entered.
        work: As in `SlurmJob`; a function of a module, so that the nodes find it.

    Returns:
        The number of the job that writes the report; None where it is written already.

    Raises:
        InputError: If there is no SLURM here, or it refuses the jobs.
    """
    settings = study.settings.cluster
    assert settings is not None
    if _reported(study):
        return None
    if shutil.which("sbatch") is None:
        raise InputError("cluster.kind=slurm: there is no sbatch here; run this on a node that submits jobs.")
    record = jobs_folder(study.run.path) / "submitted.json"
    before = read_json(record) if record.exists() else {"trials": {}, "report": None}
    queued = in_queue()
    known = {trial: number for trial, number in before["trials"].items() if number in queued}
    left = [job_of(study, trial) for _, trial in pending(study)]
    new = [job for job in left if job.trial not in known]
    if not new and known and before["report"] in queued:
        return str(before["report"])
    if before["report"] in queued:
        subprocess.run(["scancel", before["report"]], check=False)
    for job in new:
        (job.folder / "failed.json").unlink(missing_ok=True)
    numbers = known | _submit_in_order(settings, study.run.path, new, work)
    write_json(record, {"trials": numbers, "report": None})
    report = _submit(settings, study.run.path, [None], work, sorted(set(numbers.values())))[0]
    write_json(record, {"trials": numbers, "report": report})
    study.say(f"submitted {len(new)} trials, {len(known)} were in the queue; job {report} writes the report")
    return report


def _results(study: Study) -> Path:
    return study.run.path / (SCREENING if study.settings.screen else "results.json")


def _reported(study: Study) -> bool:
    """Whether all trials are done, and the report was written after them."""
    files = [study.run.path / trial.folder / "result.json" for trial in trials(study.settings)]
    report = study.run.path / "report.md"  # written after the results, and last but for tables
    if not all(file.exists() for file in [*files, _results(study), report]):
        return False
    times = [file.stat().st_mtime_ns for file in files]
    return max(times) <= _results(study).stat().st_mtime_ns <= report.stat().st_mtime_ns


def _submit_in_order(settings: SlurmSettings, out: Path, jobs: Sequence[Job], work: Work) -> dict[str, str]:
    """Arrays of those that make cells or need none, and after them of those that need cells made by them."""
    first: dict[Any, Job] = {}
    for job in jobs:
        if job.needs is not None and not job.ready:
            first.setdefault(job.needs, job)
    makers = set(first.values())
    later = [job for job in jobs if job.needs in first and job not in makers]
    now = [job for job in jobs if job in makers] + [j for j in jobs if j.needs not in first]
    numbers: dict[str, str] = {}
    for group in (now, later):
        after = sorted({numbers[job.trial] for job in makers}) if group is later else []
        for start in range(0, len(group), LARGEST_ARRAY):
            part = group[start : start + LARGEST_ARRAY]
            ids = _submit(settings, out, [job.trial for job in part], work, after)
            numbers |= dict(zip([job.trial for job in part], ids, strict=True))
    return numbers


def _submit(
    settings: SlurmSettings, out: Path, parts: Sequence[str | None], work: Work, after: Sequence[str]
) -> list[str]:
    """Submit an array of jobs, and return their numbers.

    Args:
        settings: What each gets.
        out: The study's directory.
        parts: Trials, or None for the report.
        work: As in `SlurmJob`.
        after: Numbers of jobs that must have ended, however they did.
    """
    folder = jobs_folder(out)
    executor = AutoExecutor(folder=folder, cluster="slurm", slurm_max_num_timeout=settings.requeues)
    executor.update_parameters(**_parameters(settings, out, after))
    try:
        with executor.batch():
            jobs = [executor.submit(SlurmJob(work, out.resolve(), part)) for part in parts]
    except (FailedJobError, FailedSubmissionError) as error:  # with what sbatch said
        last = (str(error).strip().splitlines() or ["no reason given"])[-1]
        raise InputError(
            f"cluster: sbatch refused the jobs ({last}); correct the keys of cluster."
        ) from error
    return [str(job.job_id) for job in jobs]


def _parameters(settings: SlurmSettings, out: Path, after: Sequence[str]) -> dict[str, Any]:
    given: dict[str, Any] = {
        "name": f"rarecell-{out.resolve().name}",
        "timeout_min": settings.minutes,
        "cpus_per_task": settings.cpus,
        "mem_gb": settings.memory,
        "gpus_per_node": settings.gpus or None,
        "slurm_partition": settings.partition,
        "slurm_account": settings.account,
        "slurm_qos": settings.qos,
        "slurm_array_parallelism": settings.at_once,
        "slurm_signal_delay_s": settings.signal_seconds,
        "slurm_setup": [f"export OMP_NUM_THREADS={settings.cpus}", *settings.setup],
        "slurm_dependency": "afterany:" + ":".join(after) if after else None,
        "slurm_additional_parameters": {"requeue": True, **settings.extra},
    }
    return {key: value for key, value in given.items() if value is not None}


def in_queue() -> set[str]:
    """Numbers of this user's jobs that have not ended, those of an array each by itself.

    Raises:
        InputError: If SLURM does not answer.
    """
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={getpass.getuser()}"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        raise InputError(f"cluster: squeue does not answer ({found.stderr.strip()}); try again.")
    return set(found.stdout.split())


def await_report(study: Study, report: str | None) -> dict[str, Any]:
    """Wait until the report is there.

    Args:
        study: The study, submitted; its directory let go, for the last job enters it.
        report: Number of the job that writes it; None where it is there.

    Returns:
        What `results.json` holds; of a screening, what `screening.json` holds.

    Raises:
        NotYet: If the settings say not to wait.
        PartFailed: If a trial or the report failed.
    """
    settings, out = study.settings.cluster, study.run.path
    assert settings is not None
    if report is None:
        return dict(read_json(_results(study)))
    if not settings.wait:
        raise NotYet(
            f"{out}: submitted; see how far it is with `uv run scripts/status.py {out}`, and run the same "
            "command again for the report."
        )
    done = -1
    while report in in_queue():
        if len(finished(study)) != done:
            done = len(finished(study))
            study.say(f"{done} of {len(trials(study.settings))} trials done")
        time.sleep(settings.every)
    require_all(study)
    if not _results(study).exists():
        log = jobs_folder(out) / f"{report}_0_log.err"
        raise PartFailed(f"{out}: all trials are done, but the job of the report failed (log: {log}).")
    return dict(read_json(_results(study)))
