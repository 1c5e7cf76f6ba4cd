"""Trials as jobs of their own, whatever process runs them.

A trial is an `attempt`: under a lease, so that nobody else runs it; with a log; and a failure is written down
and stops no other trial.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import strategy_of
from evaluation.studies.study import Study, Trial, pending, trials
from evaluation.studies.synthetic_cells import kind_of
from generators.protocol import MODEL
from runtime.command import NO_ROOM
from runtime.errors import InputError, PartFailed
from runtime.lease import EXPIRES, FOLDER, Taken, holding
from runtime.rundir import read_json, write_json

LOG, FAILED, RUNNING = "log.txt", "failed.json", "running.json"
NAMED = 5  # failed trials in one sentence
Perform = Callable[[Study, int, Trial], object]


@dataclass(frozen=True)
class Job:
    """A trial of a study, as another process is told of it.

    Attributes:
        out: The study's directory.
        trial: The trial's folder in it.
        needs: Names the generator whose cells it takes; None if it takes none.
        ready: Whether that generator is trained already.
    """

    out: Path
    trial: str
    needs: tuple[str, str, int] | None = None
    ready: bool = False

    @property
    def folder(self) -> Path:
        """Where its result belongs."""
        return self.out / self.trial


def job_of(study: Study, trial: Trial) -> Job:
    """The job of a trial."""
    source, seed, out = strategy_of(trial.strategy).source, trial.generator_seed, study.run.path
    if source is None or seed is None:
        return Job(out, trial.folder.as_posix())
    kind = kind_of(source)
    ready = (out / "generators" / kind / f"seed-{seed}" / MODEL / "config.json").exists()
    return Job(out, trial.folder.as_posix(), (str(out), kind, seed), ready)


def numbered(settings: StudySettings, folder: str) -> tuple[int, Trial]:
    """The trial of a folder, and its number from 1."""
    return next(
        (number, trial)
        for number, trial in enumerate(trials(settings), start=1)
        if trial.folder.as_posix() == folder
    )


def attempt(study: Study, number: int, trial: Trial, perform: Perform) -> bool:
    """Run one trial, unless it is done or another process is at it.

    Args:
        study: The study.
        number: Of the trial, from 1.
        trial: The trial.
        perform: Runs it and writes its result.

    Returns:
        Whether it has a result now. If not, ``failed.json`` in its folder says why, and ``log.txt`` at
        length; or another process is at it.

    Raises:
        OSError: If the disk is full, as all other trials would fail, too.
    """
    folder = study.run.path / trial.folder
    try:
        with holding(lease_of(study.run.path, trial)):
            if not (folder / "result.json").exists():
                _perform(folder, lambda: perform(study, number, trial))
    except Taken:
        return False
    return (folder / "result.json").exists()


def lease_of(out: Path, trial: Trial) -> Path:
    """The file of the lease on a trial of a study in `out`."""
    return out / FOLDER / "trials" / f"{trial.folder.as_posix().replace('/', '_')}.lease"


def _perform(folder: Path, work: Callable[[], object]) -> None:
    (folder / FAILED).unlink(missing_ok=True)
    write_json(folder / RUNNING, {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()})
    try:
        work()
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        note_failure(folder, error)
    finally:
        (folder / RUNNING).unlink(missing_ok=True)


def note_failure(folder: Path, error: Exception | str) -> None:
    """Write down why a trial failed: the last line of its error, for people.

    Args:
        folder: Of the trial.
        error: It, or words.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    kind = "" if isinstance(error, InputError | str) else f"{type(error).__name__}: "
    write_json(
        folder / FAILED, {"error": f"{kind}{lines[-1]}", "log": str(folder / LOG), "time": time.time()}
    )


def require_all(study: Study) -> None:
    """Refuse to go on to a report while trials have no result.

    Raises:
        PartFailed: Naming them, each with its error and its log.
    """
    left = [trial for _, trial in pending(study)]
    if left:
        whole = len(trials(study.settings))
        raise PartFailed(
            f"{len(left)} of {whole} trials have no result, so there is no report yet; the others are kept. "
            f"{'; '.join(why(study.run.path, trial) for trial in left[:NAMED])}"
            f"{f'; and {len(left) - NAMED} more' if len(left) > NAMED else ''}. "
            "Run the same command again to try them again."
        )


def at_work(out: Path, trial: Trial) -> dict[str, Any] | None:
    """Who runs a trial, as far as can be seen from here.

    Args:
        out: The study's directory.
        trial: The trial.

    Returns:
        Its `host`, `pid` and begin (`since`); None where that process of this machine does not live, or
        one of another machine does not renew its lease.
    """
    try:
        record = dict(read_json(out / trial.folder / RUNNING))
        age = time.time() - lease_of(out, trial).stat().st_mtime
    except (InputError, FileNotFoundError):
        return None
    if record["host"] != socket.gethostname():
        return record if age < 2 * EXPIRES else None
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # of another user
        pass
    return record


def why(out: Path, trial: Trial) -> str:
    """Why a trial has no result, in words."""
    name, folder = f"{trial.strategy} seed {trial.classifier_seed}", out / trial.folder
    if (folder / FAILED).exists():
        failure = read_json(folder / FAILED)
        return f"{name} failed: {failure['error'].rstrip('.')} (log: {failure['log']})"
    if (record := at_work(out, trial)) is not None:
        return f"{name} is run by process {record['pid']} on {record['host']}"
    return f"{name} was not run to its end"
