"""How far studies are: done, running, failed and left, hours so far, and hours per point gained.

    uv run scripts/status.py results/quickstart
    uv run scripts/status.py results/a results/b

It only reads, and may be asked at any time, from any machine that sees the folder.
"""

from __future__ import annotations

import argparse

from rich.console import Console

from evaluation.jobs.status import status_of, status_table, studies_in
from runtime.command import run_command, split_arguments, words_parser
from runtime.errors import InputError


def main(arguments: argparse.Namespace) -> None:
    """Print the status of each study."""
    folders, rest = split_arguments(arguments.words)
    if rest or not folders:
        raise InputError("name one or more directories of studies, and nothing else.")
    for folder in folders:
        for out, settings in studies_in(folder).items():
            Console().print(status_table(out, status_of(out, settings)))


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "DIR [DIR ...]", "directories of studies"))
