"""Measure what synthetic cells are worth: strategies x seeds, a verdict and a report.

    python scripts/benchmark.py configs/quickstart.yaml
    python scripts/benchmark.py configs/pbc_longtail.yaml data.root=DIR out=results/pbc seeds=10

Where `preprocess` names several lists of steps, each is a study of its own in OUT/NAME, and the report in
OUT compares them. Killed at any moment, it goes on when the same command is run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluation.axis import run_studies
from evaluation.settings import StudySettings
from runtime.command import run_command, split_arguments, words_parser
from runtime.config import load_config
from runtime.errors import InputError


def main(arguments: argparse.Namespace) -> None:
    """Run the study that a config describes."""
    paths, overrides = split_arguments(arguments.words)
    if len(paths) != 1:
        raise InputError("name one config, e.g. configs/quickstart.yaml; settings are written key=value.")
    settings = load_config(StudySettings, paths[0], overrides)
    run_studies(settings, settings.out or Path("results") / paths[0].stem)


if __name__ == "__main__":
    run_command(
        main, words_parser(__doc__, "CONFIG [out=DIR] [key=value ...]", "the study, and changes to it")
    )
