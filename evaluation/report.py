"""Results to a report: one self-contained HTML page, Markdown, CSV, and figures as PNG, SVG and PDF.

Everything comes from `results.json` and the pictures beside it: the cells are not needed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.comparison import compare, comparison_table
from evaluation.long_tables import contrasts_csv, summary_csv, trials_csv
from evaluation.pages import render
from evaluation.study_page import Study, study_page
from runtime.errors import InputError
from runtime.rundir import read_json, write_text


def read_study(folder: Path) -> Study:
    """Read a finished study.

    Raises:
        InputError: If the folder holds none, or one that has not come to its end.
    """
    if not (folder / "results.json").is_file():
        hint = "it has not come to its end: run the same benchmark command again"
        what = hint if (folder / "split.json").exists() else "give the out= of a benchmark"
        raise InputError(f"{folder}: holds no results.json; {what}.")
    return folder.resolve().name, folder, read_json(folder / "results.json")


def write_report(studies: Sequence[Study], out: Path) -> None:
    """Write the report.

    `report.html` and `report.md`; the figures of the latter, also as SVG and PDF, under `figures/`; and
    under `tables/` the figures in long format: `summary.csv`, `trials.csv`, `contrasts.csv`.

    Args:
        studies: One or several; several are opened by a table of their verdicts, and such that differ
            in their preprocessing alone by one that compares it.
        out: The directory to write to.
    """
    contexts = [
        study_page(study, out, f"{i}-" if len(studies) > 1 else "") for i, study in enumerate(studies)
    ]
    title = f"Study {contexts[0]['name']}" if len(contexts) == 1 else f"{len(contexts)} studies"
    named = [(name, results) for name, _, results in studies]
    found = compare(named)
    axis = None if found is None else comparison_table(found)
    for name in ("report.html", "report.md"):
        render(f"{name}.j2", out / name, title=title, studies=contexts, axis=axis)
    for name, content in (
        ("summary", summary_csv(named)),
        ("trials", trials_csv(named)),
        ("contrasts", contrasts_csv(named)),
    ):
        write_text(out / "tables" / f"{name}.csv", content)
