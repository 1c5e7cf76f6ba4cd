"""Measure what synthetic cells are worth: strategies x seeds, a verdict and a report.

    uv run scripts/benchmark.py configs/quickstart.yaml
    uv run scripts/benchmark.py configs/pbc_longtail.yaml data.root=DIR out=results/pbc seeds=10

Where `preprocess` names several lists of steps, each is a study of its own in OUT/NAME, and the report in
OUT compares them. So are the studies of a `design` (dose, data_hunger, model_selection; docs/studies.md).
Killed at any moment, it goes on when the same command is run again. With dry_run=true it prints how many
synthetic cells each class would get and how long drawing them would take, and writes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from evaluation.studies.axis import run_studies
from evaluation.studies.designs import jobs, studies_of
from evaluation.studies.dry_run import plan_table, study_plan
from evaluation.studies.settings import StudySettings
from runtime.command import run_command, split_arguments, take_switch, words_parser
from runtime.config import load_config
from runtime.errors import InputError


def main(arguments: argparse.Namespace) -> None:
    """Run the study that a config describes."""
    paths, overrides = split_arguments(arguments.words)
    if len(paths) != 1:
        raise InputError("name one config, e.g. configs/quickstart.yaml; settings are written key=value.")
    dry_run, overrides = take_switch(overrides, "dry_run")
    settings = load_config(StudySettings, paths[0], overrides)
    out = settings.out or Path("results") / paths[0].stem
    if dry_run:
        _show_plan(settings, out)
    else:
        run_studies(settings, out)


def _show_plan(settings: StudySettings, out: Path) -> None:
    for folder, study in studies_of(settings, out).items():
        plan, sentences = study_plan(study, folder)
        name = "" if folder == out else f"{folder.name}: "
        Console().print(plan_table(plan, f"{name}Training cells, and synthetic ones to add"))
        print("\n".join(sentences))
    print(f"{len(jobs(settings, out))} trials in all.")


if __name__ == "__main__":
    run_command(
        main,
        words_parser(
            __doc__, "CONFIG [out=DIR] [dry_run=true] [key=value ...]", "the study, and changes to it"
        ),
    )
