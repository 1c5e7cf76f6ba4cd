"""The tables of a study's report as they stand in a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.reports.latex import Cell, Table
from evaluation.reports.tables import percent

MOST_LEVEL = 6  # headings up to which columns are not turned
Page = Mapping[str, Any]  # what `evaluation.reports.study_page.study_page` returned
Results = Mapping[str, Any]


def paper_tables(page: Page, results: Results, prefix: str) -> list[Table]:
    """Tables of a study, from its page: what has no rows is left out.

    Args:
        page: What the templates name.
        results: What `results.json` holds.
        prefix: Of the names of the files.
    """
    makers = (_cells, _scores, _contrasts, _recall, _tuned, _fidelity, _morphology, _curation, _cost)
    found = [table for maker in makers for table in maker(page, results)]
    named = [Table(f"{prefix}{t.name}", t.caption, t.header, t.rows, t.left, t.turned) for t in found]
    return [table for table in named if table.rows]


def _cells(page: Page, results: Results) -> list[Table]:
    cells = results["cells"]
    rows = [
        [
            f"{name}{' (rare)' if name in cells['rare'] else ''}",
            *(f"{cells[side].get(name, 0):,}" for side in ("train", "val", "test")),
            f"{cells['added'][name]:,}" if name in cells["added"] else "–",
        ]
        for name in cells["classes"]
    ]
    caption = (
        f"Cells of each class, and the most additional cells that any strategy trains on ({page['name']})."
    )
    return [Table("cells", caption, ["Class", "Training", "Validation", "Test", "Added, at most"], rows)]


def _scores(page: Page, results: Results) -> list[Table]:
    rows = [
        [s["name"], *((column["mean"], column["interval"]) for column in s["columns"])]
        for s in page["strategies"]
    ]
    caption = (
        f"Figures of each strategy on {page['unseen']} in percent: mean over seeds, below it the 95% "
        f"interval. Rare classes: {page['rare']}."
    )
    return [Table("strategies", caption, ["Strategy", *page["metrics"]], rows)]


def _contrasts(page: Page, results: Results) -> list[Table]:
    rows = [
        [s["name"], s["difference"], s["interval"], s["p"], s["verdict"]]
        for s in page["strategies"]
        if s["verdict"] != "reference"
    ]
    caption = (
        "Secondary contrasts: difference from real in mean recall of the rare classes in points, paired by "
        "seed, with its 95% interval and the p-value of the sign-flip test after Holm."
    )
    header = ["Strategy", "Difference", "95% interval", "p (Holm)", "Verdict"]
    return [Table("contrasts", caption, header, rows)]


def _recall(page: Page, results: Results) -> list[Table]:
    summary, cells = results["summary"], results["cells"]
    first = next(iter(summary.values()))
    order = [*cells["rare"], *(c for c in cells["classes"] if c not in cells["rare"])]
    classes = [c for c in order if f"recall/{c}" in first]
    rows: list[list[Cell]] = [
        [name, *(percent(figures[f"recall/{c}"]["mean"]) for c in classes)]
        for name, figures in summary.items()
    ]
    caption = f"Recall of each class on {page['unseen']} in percent, mean over seeds; the rare classes first."
    return [Table("recall", caption, ["Strategy", *classes], rows, turned=len(classes) > MOST_LEVEL)]


def _tuned(page: Page, results: Results) -> list[Table]:
    found = page["tuned"]
    if found is None:
        return []
    caption = (
        "Trials of each strategy that chose each value of the tuned settings, by mean rare recall on "
        "validation cells."
    )
    return [Table("tuned", caption, found["header"], found["rows"])]


def _fidelity(page: Page, results: Results) -> list[Table]:
    return [
        Table(
            f"fidelity-{number}" if len(page["fidelity"]) > 1 else "fidelity",
            f"Fidelity. {table['title']}; floor: halves of the real reference against each other, below "
            f"each figure 95% of repeats. Fingerprint: {table['fingerprint']}.",
            ["Measure", "Better", "Floor", *table["generators"]],
            [
                [
                    row["metric"],
                    row["better"],
                    (row["floor"]["value"], row["floor"]["interval"]),
                    *((v["value"], v["interval"]) for v in row["columns"]),
                ]
                for row in table["rows"]
            ],
            left=2,
        )
        for number, table in enumerate(page["fidelity"], start=1)
    ]


def _morphology(page: Page, results: Results) -> list[Table]:
    found = page["morphology"]
    if not found or found["missing"]:
        return []
    caption = (
        "Morphology: distance between synthetic and real cells in standard deviations of the real ones; in "
        "brackets, between halves of the real ones."
    )
    return [Table("morphology", caption, found["header"], found["distances"], left=2)]


def _curation(page: Page, results: Results) -> list[Table]:
    rows: Sequence[Sequence[Cell]] = [
        [r["generator"], r["filter"], r["before"], r["after"], r["rejected"], r["real"]]
        for r in page["funnel"]
    ]
    header = ["Generator", "Filter", "In", "Out", "Rejected", "Real cells rejected"]
    caption = "What curation rejected, and what the same filter rejects of held-out real cells."
    return [Table("curation", caption, header, rows, left=2)]


def _cost(page: Page, results: Results) -> list[Table]:
    rows = [[c["strategy"], c["hours"], c["extra"], c["gain"], c["per_point"]] for c in page["costs"]]
    caption = f"What one unit of each strategy takes, and what it gains over real. {page['machine']}"
    header = ["Strategy", "Hours", "of which the generator", "Points over real", "Hours per point"]
    return [Table("cost", caption, header, rows)]
