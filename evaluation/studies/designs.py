"""Study designs: one config, several studies, each of trials that are jobs of their own.

A design varies one thing of the settings. It gives names and settings of studies; each runs in ``out/<name>``
as any other, and goes on there. What they show together is ``design.json``, with a page and a figure.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from evaluation.benchmark import run_study, say_aloud
from evaluation.reports.design_page import write_design_page
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Trial, open_study, study_config, trials
from runtime.errors import InputError, NotYet, PartFailed
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


def run_each(
    studies: Mapping[Path, StudySettings], say: Callable[[str], None] = say_aloud
) -> dict[Path, dict[str, Any]]:
    """Run several studies, or what is left of them; one that fails in part stops no other.

    Args:
        studies: Settings by directory.
        say: Takes each line of progress.

    Returns:
        The results of each.

    Raises:
        PartFailed: If parts of some failed, after all others were run.
        NotYet: If a cluster is still at some of them.
    """
    results: dict[Path, dict[str, Any]] = {}
    left: list[PartFailed | NotYet] = []
    for number, (folder, study) in enumerate(studies.items(), start=1):
        say(f"study {number} of {len(studies)}: {folder.name}")
        try:
            results[folder] = run_study(study, folder, say)
        except (PartFailed, NotYet) as error:
            say(str(error))
            left.append(error)
    if left:
        worst = next((type(error) for error in left if isinstance(error, PartFailed)), NotYet)
        words = " ".join(str(error) for error in left)
        raise worst(f"{len(left)} of {len(studies)} studies have not come to their end. {words}")
    return results


def check_each(studies: Mapping[Path, StudySettings]) -> None:
    """Refuse before the first training what would end a later study, or make the studies differ.

    Args:
        studies: Settings by directory; those that have come to their end are not looked at again, and a
            single one that is left refuses by itself.

    Raises:
        InputError: What `open_study` refuses, or if the rare classes are not named and not the same in all.
    """
    left = {folder: study for folder, study in studies.items() if not (folder / "results.json").exists()}
    rare: dict[str, tuple[str, ...]] = {}
    for folder, study in left.items() if len(left) > 1 else ():
        try:
            rare[folder.name] = open_study(study, RunDir(folder, study_config(study)), say_aloud).rare
        except InputError as error:
            raise InputError(f"study {folder.name}: {error}") from None
    for (first, classes), (name, others) in pairwise(rare.items()):
        if set(classes) != set(others):
            raise InputError(
                f"rare: by their counts these are {', '.join(classes)} in {first} and {', '.join(others)} in "
                f"{name}; name them, e.g. rare=[{classes[0]}], so that all studies have the same."
            )


def run_design(settings: StudySettings, out: Path, say: Callable[[str], None] = say_aloud) -> dict[str, Any]:
    """Run the studies of a design, or what is left of them, and write what they show together.

    Args:
        settings: With a `design`.
        out: Its directory.
        say: Takes each line of progress.

    Returns:
        What `design.json` holds.

    Raises:
        InputError: See `studies_of`, `check_each` and `evaluation.benchmark.run_study`.
    """
    assert settings.design is not None
    studies = studies_of(settings, out)
    check_each(studies)
    with RunDir(out, study_config(settings)):
        results = {folder.name: found for folder, found in run_each(studies, say).items()}
        found = {**settings.design.found(results), "studies": list(results)}
        write_json(out / DESIGN, found)
        write_design_page(found, _pages(found, results, out, out), study_config(settings), out)
    say(f"report of the design: {out / 'report.html'}")
    return found


def rewrite_page(folder: Path, out: Path) -> None:
    """Write the page of a finished design again.

    Args:
        folder: The directory of the design.
        out: Where to write.

    Raises:
        InputError: If a file of it is missing.
    """
    found = read_json(folder / DESIGN)
    results = {name: read_json(folder / name / "results.json") for name in found["studies"]}
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    write_design_page(found, _pages(found, results, folder, out), config, out)


def _pages(
    found: Mapping[str, Any], results: Mapping[str, dict[str, Any]], folder: Path, out: Path
) -> dict[str, tuple[str, dict[str, Any]]]:
    """The results of each study with the way from the page of the design to its report."""
    return {
        name: (Path(os.path.relpath(folder / name / "report.html", out)).as_posix(), results[name])
        for name in found["studies"]
    }
