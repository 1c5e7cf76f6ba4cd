"""Preprocessing as an axis of the benchmark: a study for each list of steps, compared seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evaluation.benchmark import run_study, say_aloud
from evaluation.reports.report import read_study, write_report
from evaluation.studies.comparison import compare
from evaluation.studies.designs import check_each, run_design, run_each, studies_of
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import study_config
from runtime.rundir import RunDir, write_json


def run_studies(settings: StudySettings, out: Path, say: Callable[[str], None] = say_aloud) -> dict[str, Any]:
    """Run a study, those of a design, or where `preprocess` names several lists of steps one for each.

    The latter all have the same cells on the same sides, the same seeds and the same settings but for
    the steps.

    Args:
        settings: The study.
        out: Its directory; of several studies, each has ``out/<name>``, and goes on there.
        say: Takes each line of progress.

    Returns:
        What `results.json` holds; of several, what `comparison.json` or `design.json` holds.

    Raises:
        InputError: See `evaluation.studies.designs.check_each` and `evaluation.benchmark.run_study`.
    """
    if settings.design is not None:
        return run_design(settings, out, say)
    if not isinstance(settings.preprocess, Mapping):
        return run_study(settings, out, say)
    parts = studies_of(settings, out)
    check_each(parts)
    with RunDir(out, study_config(settings)):
        run_each(parts, say)
        studies = [read_study(out / name) for name in settings.preprocess]
        found = compare([(name, results) for name, _, results in studies])
        assert found is not None, "studies of one config can be compared"
        write_json(out / "comparison.json", found)
        write_report(studies, out)
    say(f"joined report: {out / 'report.html'}")
    return found
