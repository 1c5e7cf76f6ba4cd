"""Study designs: one config, several studies, each of trials that are jobs of their own.

A design varies one thing of the settings. It gives names and settings of studies; each runs in ``out/<name>``
as any other, and goes on there. What they show together is ``design.json``, with a page and a figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from evaluation.benchmark import run_study, say_aloud
from evaluation.design_page import write_design_page
from evaluation.settings import StudySettings
from evaluation.study import Trial, study_config, trials
from runtime.rundir import RunDir, read_json, write_json

DESIGN = "design.json"


class Job(NamedTuple):
    """One trial, described by data: it needs nothing but these."""

    settings: StudySettings
    out: Path
    trial: Trial


def studies_of(settings: StudySettings, out: Path) -> dict[Path, StudySettings]:
    """The studies that a config describes, each by its directory; of a plain one, itself.

    Args:
        settings: The config.
        out: The directory of the whole.

    Raises:
        InputError: If the design does not go with the other settings.
    """
    if settings.design is not None:
        return {out / name: study for name, study in settings.design.studies(settings).items()}
    if isinstance(settings.preprocess, Mapping):
        return {
            out / name: settings.model_copy(update={"preprocess": steps})
            for name, steps in settings.preprocess.items()
        }
    return {out: settings}


def jobs(settings: StudySettings, out: Path) -> list[Job]:
    """All trials of all studies of a config, in the order in which one process would run them."""
    return [
        Job(study, folder, trial)
        for folder, study in studies_of(settings, out).items()
        for trial in trials(study)
    ]


def run_design(settings: StudySettings, out: Path, say: Callable[[str], None] = say_aloud) -> dict[str, Any]:
    """Run the studies of a design, or what is left of them, and write what they show together.

    Args:
        settings: With a `design`.
        out: Its directory.
        say: Takes each line of progress.

    Returns:
        What `design.json` holds.

    Raises:
        InputError: See `studies_of` and `evaluation.benchmark.run_study`.
    """
    assert settings.design is not None
    studies = studies_of(settings, out)
    with RunDir(out, study_config(settings)):
        results = {}
        for number, (folder, study) in enumerate(studies.items(), start=1):
            say(f"study {number} of {len(studies)}: {folder.name}")
            results[folder.name] = run_study(study, folder, say)
        found = {**settings.design.found(results), "studies": list(results)}
        write_json(out / DESIGN, found)
        write_design_page(found, results, study_config(settings), out)
    say(f"report of the design: {out / 'report.html'}")
    return found


def rewrite_page(folder: Path, out: Path) -> None:
    """Write the page of a finished design again.

    Args:
        folder: The directory of the design.
        out: Where to write. The links to its studies hold where this is `folder`.

    Raises:
        InputError: If a file of it is missing.
    """
    found = read_json(folder / DESIGN)
    results = {name: read_json(folder / name / "results.json") for name in found["studies"]}
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    write_design_page(found, results, config, out)
