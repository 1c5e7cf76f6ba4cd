"""Results to a report: one self-contained HTML page, Markdown, LaTeX, CSV, figures, a method section.

Everything comes from `results.json` and the pictures beside it: the cells are not needed again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.reports.across import across
from evaluation.reports.long_tables import contrasts_csv, summary_csv, trials_csv
from evaluation.reports.pages import render
from evaluation.reports.paper import write_paper
from evaluation.reports.pictures import Pictures
from evaluation.reports.screening_page import SCREENING
from evaluation.reports.study_page import Study, study_page
from evaluation.studies.comparison import compare, comparison_table
from runtime.errors import InputError
from runtime.rundir import read_json, write_text

LEAD = "Would synthetic cells of the rare classes have made the classifier better?"
WITHOUT_MODELS = "How well are the rare classes told with each strategy? No strategy had generated cells."


def read_study(folder: Path) -> Study:
    """Read a finished study.

    Raises:
        InputError: If the folder holds none, or one that has not come to its end.
    """
    if not (folder / "results.json").is_file():
        hint = "it has not come to its end: run the same benchmark command again"
        begun = (folder / "split.json").exists() or any(folder.glob("*/split.json"))  # its studies
        what = hint if begun else "give the out= of a benchmark"
        if (folder / "design.json").exists():
            parts = sorted(file.parent.name for file in folder.glob("*/results.json"))
            what = f"it is a design, and stands alone; to merge its studies name them ({', '.join(parts)})"
        if (folder / SCREENING).exists():
            what = "it is a screening, without a test cell scored: run a study without screen=true"
        raise InputError(f"{folder}: holds no results.json; {what}.")
    return folder.resolve().name, folder, read_json(folder / "results.json")


def studies_in(folder: Path) -> list[Path]:
    """The studies of a folder: itself, or those that it compares, one for each preprocessing."""
    file = folder / "comparison.json"
    return [folder / name for name in read_json(file)["names"]] if file.is_file() else [folder]


def write_report(studies: Sequence[Study], out: Path) -> None:
    """Write the report.

    `report.html`, `report.md` and `report.tex`; figures as PNG, SVG and PDF under `figures/`; under `tables/`
    each table as `.tex` and all figures in long format, `summary.csv`, `trials.csv` and `contrasts.csv`; and
    the method section as `method.md` and `method.tex`, with `references.bib`.

    Args:
        studies: One or several; several are opened by a table of their verdicts, and such that differ
            in their preprocessing alone by one that compares it.
        out: The directory to write to.
    """
    prefixes = [f"{i}-" if len(studies) > 1 else "" for i in range(len(studies))]
    contexts = [study_page(study, out, prefix) for study, prefix in zip(studies, prefixes, strict=True)]
    title = f"Study {contexts[0]['name']}" if len(contexts) == 1 else f"{len(contexts)} studies"
    named = [(name, results) for name, _, results in studies]
    together = across(named, Pictures(out, out / "figures"))
    write_paper(contexts, [results for _, results in named], prefixes, together, out, title)
    found, lead = compare(named), LEAD if any(context["models"] for context in contexts) else WITHOUT_MODELS
    axis = None if found is None else comparison_table(found)
    for name in ("report.html", "report.md"):
        render(f"{name}.j2", out / name, title=title, lead=lead, studies=contexts, across=together, axis=axis)
    for name, content in (
        ("summary", summary_csv(named)),
        ("trials", trials_csv(named)),
        ("contrasts", contrasts_csv(named)),
    ):
        write_text(out / "tables" / f"{name}.csv", content)
