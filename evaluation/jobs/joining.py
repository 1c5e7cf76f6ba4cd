"""What a process needs that did not begin a study and runs one of its trials."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study, open_study
from runtime.config import load_config
from runtime.rundir import RunDir


def joined_study(out: Path, workers: int, say: Callable[[str], None]) -> Study:
    """The study that lives in a directory, for a process that runs one of its trials.

    Args:
        out: The study's directory, begun by the process that leads it.
        workers: How many run at a time, for the estimate of the time left.
        say: Takes each line of progress.
    """
    settings = load_config(StudySettings, out / "config.yaml")
    return open_study(settings.model_copy(update={"workers": workers}), RunDir(out), say)


@contextmanager
def logged(file: Path) -> Iterator[None]:
    """Within, all that this process prints goes to the end of a file, also from libraries in C."""
    file.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [(number, os.dup(number)) for number in (1, 2)]
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        for number, _ in kept:
            os.dup2(log, number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in kept:
            os.dup2(before, number)
            os.close(before)
        os.close(log)
