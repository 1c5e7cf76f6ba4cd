"""What a screening shows, as a page: a sentence, a table and a figure, all of validation cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from evaluation.gains.gain import METRICS
from evaluation.gains.statistics import CHOSEN_BY
from evaluation.reports.design_page import cell, difference, spread
from evaluation.reports.figures import MADE, RIVAL, RULE, one_panel
from evaluation.reports.pages import render
from evaluation.reports.pictures import Pictures

Row = Mapping[str, Any]
SCREENING = "screening.json"
ABOUT = (
    "All figures are of validation cells, in percent, below them the 95% t interval over seeds. Behind "
    "the first: the paired difference in rare recall. The intervals are not widened for the number of "
    "strategies, so the first one looks a little better than it is: run the best ones as a study, whose "
    "test cells nobody has seen."
)


def write_screening_page(found: Mapping[str, Any], config: Mapping[str, Any], out: Path) -> None:
    """Write ``report.html``, ``report.md`` and the figure as SVG, PDF and PNG.

    Args:
        found: What `screening.json` holds.
        config: Of the study, plain values.
        out: The directory to write to.
    """
    figure = Pictures(out, out / "figures").plot("screening", _figure(found))
    table = {
        "title": "Strategies, the best first",
        "note": "In bold: with synthetic cells.",
        "head": [
            "Strategy",
            "Seeds",
            *(words[0].upper() + words[1:] for words in METRICS.values()),
            "Behind the first",
        ],
        "rows": [_cells(row) for row in found["strategies"]],
    }
    for name in ("report.html", "report.md"):
        render(
            f"design.{name.partition('.')[2]}.j2",
            out / name,
            title="Screening",
            lead="Which strategies are worth a study?",
            sentences=[found["conclusion"]["sentence"]],
            notices=found["notices"],
            about=ABOUT,
            tables=[table],
            figure=figure,
            studies=[],
            config=yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100),
        )


def _cells(row: Row) -> list[dict[str, Any]]:
    figures = [spread(row["validation"][metric]) for metric in METRICS]
    return [
        cell(row["strategy"], mark=row["synthetic"]),
        cell(str(row["n"])),
        *figures,
        difference(row["behind"]),
    ]


def _figure(found: Mapping[str, Any]) -> Figure:
    rows = found["strategies"]
    figure, axes = one_panel(7.6, 0.34 * len(rows) + 1.0)
    for place, row in enumerate(rows):
        recall, color = row["validation"][CHOSEN_BY], MADE if row["synthetic"] else RIVAL
        if recall["low"] is not None:
            axes.plot([100 * recall["low"], 100 * recall["high"]], [place, place], color=color, lw=2.2)
        axes.plot(100 * recall["mean"], place, "o", color=color, ms=6)
    axes.set_yticks(range(len(rows)), [row["strategy"] for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("rare recall on validation cells, % (brick: with synthetic cells)")
    return figure
