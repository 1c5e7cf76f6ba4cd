"""A report for a paper: LaTeX, its tables one by one, the method section and its BibTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.reports.across import Across
from evaluation.reports.latex import Table, as_float, escaped, label, tabular, undeclared
from evaluation.reports.literature import LITERATURE
from evaluation.reports.method_text import in_latex, in_words, method_text
from evaluation.reports.pages import render
from evaluation.reports.paper_tables import paper_tables
from evaluation.reports.references import bibtex, cited_keys
from runtime.rundir import write_text

Page = Mapping[str, Any]
# Figures in their order, with their share of the text's width and their caption.
FIGURES = {
    "counts": (0.8, "Training cells of each class, and synthetic ones added."),
    "samples": (0.8, "Cells of the test split beside the first accepted synthetic ones of seed 0."),
    "gains": (1.0, "Gains in mean recall of the rare classes, in points, with 95% intervals."),
    "recall": (1.0, "Mean recall of each class; rare classes first, in bold."),
    "cost": (0.9, "What one unit of a strategy takes, and what it gains over real."),
    "pairs": (1.0, "The synthetic cells (left of each pair) most like a training cell (right), with their "
              "distance; 1 is the threshold of a near-copy."),
}  # fmt: skip
CONFUSION = (0.6, "Confusion matrix, mean over seeds: {}.")


def write_paper(
    pages: Sequence[dict[str, Any]],
    results: Sequence[Mapping[str, Any]],
    prefixes: Sequence[str],
    across: Across | None,
    out: Path,
    title: str,
) -> None:
    """Write `report.tex`, `tables/*.tex`, `method.tex`, `method.md` and `references.bib`.

    Args:
        pages: What `evaluation.reports.study_page.study_page` returned of each study; `method`, in words, and
            `references`, a line a work, are added.
        results: Their results.
        prefixes: Of the names of their files.
        across: What compares them, if there are several.
        out: The report's directory.
        title: Of the report.
    """
    texts = [method_text(one) for one in results]
    cited = cited_keys("\n".join(texts))
    studies = []
    for page, one, prefix, text in zip(pages, results, prefixes, texts, strict=True):
        page["method"] = in_words(text).split("\n\n")
        page["references"] = [LITERATURE[key].line.replace("--", "–") for key in cited_keys(text)]
        write_text(out / f"{prefix}method.md", text + "\n")
        write_text(out / f"{prefix}method.tex", in_latex(text) + "\n")
        tables = paper_tables(page, one, prefix)
        _write_tables(tables, out)
        studies.append(
            {
                **page,
                "method": in_latex(text),
                "tables": [as_float(t) for t in tables],
                "plots": _plots(page, out),
            }
        )
    write_text(out / "references.bib", bibtex((key, LITERATURE[key]) for key in cited))
    if across is not None:
        _write_tables([across.table], out)
    shown = None if across is None else {"table": as_float(across.table), "figure": across.figure}
    bibliography = _bibliography(cited)
    everything = repr((title, studies, shown)) + bibliography
    render(
        "report.tex.j2",
        out / "report.tex",
        title=title,
        studies=studies,
        across=shown,
        bibliography=bibliography,
        undeclared=undeclared(everything),
    )


def _write_tables(tables: Sequence[Table], out: Path) -> None:
    for table in tables:
        write_text(out / "tables" / f"{table.name}.tex", tabular(table))


def _plots(page: Page, out: Path) -> list[dict[str, str]]:
    """The figures of a study, as files beside the document."""
    found = page["figures"]
    shown = [(found[name]["image"], *FIGURES[name]) for name in FIGURES if name in found]
    width, caption = CONFUSION
    shown += [(c["image"], width, caption.format(c["name"])) for c in found["confusion"]]
    return [
        {
            "file": f"{{{image.stem}}}.pdf",
            "width": str(width),
            "caption": f"{caption} Study {page['name']}.",
            "label": label(image.stem),
        }
        for image, width, caption in shown
    ]


def _bibliography(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    items = [rf"\bibitem{{{key}}} {escaped(LITERATURE[key].line).replace('----', '--')}" for key in keys]
    return "\n".join([r"\begin{thebibliography}{99}", *items, r"\end{thebibliography}"])
