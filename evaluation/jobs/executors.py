"""What is left of a study, run where its settings say: in this process, or by several at a time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from evaluation.jobs.pool import run_pool
from evaluation.jobs.running import FAILED, Perform, attempt, job_of, require_all, why
from evaluation.jobs.where import pool_size
from evaluation.studies.study import Study, Trial, pending, trials

LOOK = 2.0  # seconds between two looks at trials that other processes run


def run_trials(study: Study, perform: Perform) -> None:
    """Run what is left of a study.

    Args:
        study: The study, its directory entered. `workers` of its settings says how many at a time.
        perform: Runs a trial and writes its result.

    Raises:
        PartFailed: If a trial failed, after all others were run.
    """
    told, failed = set[Trial](), set[Trial]()
    while left := [(number, trial) for number, trial in pending(study) if trial not in failed]:
        _run(study, left, perform)
        for _, trial in left:
            folder = study.run.path / trial.folder
            if (folder / FAILED).exists():
                failed.add(trial)
            elif not (folder / "result.json").exists() and trial not in told:
                told.add(trial)
                study.say(f"waiting: {why(study.run.path, trial)}")
        if any(trial not in failed for _, trial in pending(study)):
            time.sleep(LOOK)
    require_all(study)


def _run(study: Study, left: Sequence[tuple[int, Trial]], perform: Perform) -> None:
    size = pool_size(study.settings.workers, len(left))
    if size > 1:
        study.say(f"{len(left)} trials left, {size} at a time")
        run_pool([job_of(study, trial) for _, trial in left], size, study.say)
        return
    whole = len(trials(study.settings))
    for number, trial in left:
        attempt(study, number, trial, perform)
        if (study.run.path / trial.folder / FAILED).exists():
            study.say(f"[{number}/{whole}] {why(study.run.path, trial)}")
