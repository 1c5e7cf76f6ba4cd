"""Write the report of finished studies again, or of several together.

uv run scripts/report.py results/quickstart out=results/quickstart-report
uv run scripts/report.py results/a results/b out=results/both

Where DIR is that of a study design, its page is written again; of several preprocessings, their comparison.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluation.reports.report import read_study, studies_in, write_report
from evaluation.studies.designs import DESIGN, rewrite_page
from runtime.command import run_command, split_arguments, take_required, words_parser
from runtime.errors import InputError, suggest


def main(arguments: argparse.Namespace) -> None:
    """Read the studies, write report.html and report.md."""
    folders, overrides = split_arguments(arguments.words)
    out, rest = take_required(overrides, "out", "results/report")
    if rest:
        raise InputError(f"unknown key '{rest[0].partition('=')[0]}'.{suggest(rest[0], ['out'])}")
    if not folders:
        raise InputError("name one or more directories of finished studies.")
    if len(folders) == 1 and (folders[0] / DESIGN).is_file():
        rewrite_page(folders[0], Path(out))
    else:
        write_report([read_study(one) for folder in folders for one in studies_in(folder)], Path(out))
    print(f"report: {Path(out) / 'report.html'}")


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "DIR [DIR ...] out=DIR", "finished studies, and where to write"))
