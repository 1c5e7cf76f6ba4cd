"""Write the report of finished studies again, or of several together.

python scripts/report.py results/quickstart out=results/quickstart-report
python scripts/report.py results/a results/b out=results/both
"""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluation.report import read_study, write_report
from runtime.command import run_command, split_arguments, take_required
from runtime.errors import InputError, suggest


def main(arguments: argparse.Namespace) -> None:
    """Read the studies, write report.html and report.md."""
    folders, overrides = split_arguments(arguments.words)
    out, rest = take_required(overrides, "out", "results/report")
    if rest:
        raise InputError(f"unknown key '{rest[0].partition('=')[0]}'.{suggest(rest[0], ['out'])}")
    if not folders:
        raise InputError("name one or more directories of finished studies.")
    write_report([read_study(folder) for folder in folders], Path(out))
    print(f"report: {Path(out) / 'report.html'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words", nargs="+", metavar="DIR [DIR ...] out=DIR", help="finished studies, and where to write"
    )
    run_command(main, parser)
