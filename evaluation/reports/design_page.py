"""What a study design shows, as a page: sentences, a table, a figure, and its studies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from matplotlib.figure import Figure

from evaluation.gains.gain import METRICS
from evaluation.gains.statistics import points
from evaluation.reports.design_figures import dose_figure, hunger_figure, selection_figure
from evaluation.reports.latex import Table as LatexTable
from evaluation.reports.latex import tabular
from evaluation.reports.long_tables import design_csv
from evaluation.reports.pages import render
from evaluation.reports.pictures import Pictures
from evaluation.reports.study_page import copiers
from evaluation.reports.tables import percent, percent_interval, points_interval, scoped
from runtime.rundir import write_text

Found = Mapping[str, Any]
Table = dict[str, Any]  # title, note, head, rows of cells; a cell is text, small (lines below it), mark
Page = dict[str, Any]
BROKEN = "the study is broken"
ABOUT = {
    "dose": """
        Mean recall of the rare classes in percent, below it the 95% interval over seeds. Differences
        are on test, in points, paired by seed. A dose is a number of synthetic cells per real cell of
        the rare classes; fill makes these as large as the largest class. Each seed has one generator
        (or all seeds share one), and the cells of a smaller dose are among those of a larger one. Where
        it stops paying describes: its intervals are not widened for their number.""",
    "data_hunger": """
        Mean recall of the rare classes. Fewer real cells are among the more. What a synthetic set is
        worth: the number of real cells at which the curve of {real} (best in validation of what has no
        generated cells) comes to the same recall. The curve is interpolated over the logarithm of the
        number; the interval holds each number at which the 95% t interval of the paired difference
        holds zero. {units}""",
    "model_selection": """
        Stratified group k-fold with {folds} folds and {repeats} repeat(s); below each mean the 95%
        interval by Nadeau and Bengio, whose variance allows for the training cells that folds share. p:
        the best against this one, by the same test, adjusted by Holm over all others.""",
}
UNITS = {
    "seed": "All seeds have the same real cells: the answer is for these.",
    "draw": "Each unit has real cells drawn anew.",
}


def write_design_page(
    found: Found, studies: Mapping[str, tuple[str, Mapping[str, Any]]], config: Mapping[str, Any], out: Path
) -> None:
    """Write ``report.html``, ``report.md``, the figure as SVG, PDF and PNG, and its tables as LaTeX and CSV.

    Args:
        found: What `design.json` holds.
        studies: Of each study, by name, the relative path of its report and its results.
        config: Of the whole, plain values.
        out: The directory to write to.
    """
    page, draw = PAGES[found["kind"]](found)
    figure = Pictures(out, out / "figures").plot("design", draw).with_suffix(".svg")
    write_text(out / "tables" / "design.csv", design_csv(found))
    for number, table in enumerate(page["tables"], start=1):
        write_text(out / "tables" / f"design-{number}.tex", tabular(_for_paper(table)))
    _, first = next(iter(studies.values()))
    if found["kind"] == "dose":
        page["sentences"].insert(0, first["conclusion"]["sentence"])
    if found["kind"] == "data_hunger" and len(studies) == len(found["counts"]):  # not with several draws
        said = [_shifted_sentence(found, each["conclusion"]) for _, each in studies.values()]
        page["sentences"] = [a + b for a, b in zip(page["sentences"], said, strict=True)]
    rows = [
        {
            "name": name,
            "verdict": scoped(each["conclusion"]),
            "page": page_of_study,
            "gain": _in_points(each["conclusion"]),
            "shifted": _in_points(each["conclusion"].get("same_accuracy")),
        }
        for name, (page_of_study, each) in studies.items()
    ]
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=100)
    for name in ("report.html", "report.md"):
        render(
            f"design.{name.partition('.')[2]}.j2",
            out / name,
            **page,
            figure=figure,
            notices=notices_of({name: each for name, (_, each) in studies.items()}),
            studies=rows,
            config=text,
        )


def _shifted_sentence(found: Found, conclusion: Mapping[str, Any]) -> str:
    """What is left of a gain at the same accuracy, where the study compared the same two strategies."""
    shifted = conclusion.get("same_accuracy")
    if shifted is None or (conclusion["synthetic"], conclusion["rival"]) != (found["chosen"], found["real"]):
        return ""
    return f" With the latter shifted to the same accuracy: {_in_points(shifted)}."


def _in_points(contrast: Mapping[str, Any] | None) -> str:
    """A difference with its interval; empty where there is none."""
    if contrast is None or "mean" not in contrast:
        return ""
    return f"{points(contrast['mean'])} ({points_interval(contrast['low'], contrast['high'])})"


def notices_of(studies: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What must be said beside the figures of a design: which studies are broken, which generators copy, and
    the notices of all studies, each once.

    Args:
        studies: Results by name.
    """
    broken = [name for name, each in studies.items() if each["conclusion"]["verdict"] == BROKEN]
    said = (
        [f"Broken, by the rule of the verdict: {', '.join(broken)}. Read nothing from it."] if broken else []
    )
    said += [f"{name}: {note}" for name, each in studies.items() for note in copiers(dict(each))]
    said += [note for each in studies.values() for note in each["notices"]]
    return list(dict.fromkeys(said))


def _for_paper(table: Table) -> LatexTable:
    """A table of the page for LaTeX; what is marked on the page is bold."""
    rows = [
        [(f"**{c['text']}**" if c["mark"] else c["text"], "; ".join(c["small"])) for c in row]
        for row in table["rows"]
    ]
    return LatexTable("design", f"{table['title']}. {table['note']}", table["head"], rows)


def _about(found: Found) -> str:
    words = " ".join(ABOUT[found["kind"]].split())
    return words.format(**{**found, "units": UNITS[found.get("unit", "seed")]})


def cell(text: str, *small: str, mark: bool = False) -> dict[str, Any]:
    """A cell of a table: its text, small lines below it, and whether it is in bold."""
    return {"text": text, "small": [line for line in small if line], "mark": mark}


def spread(figures: Mapping[str, Any], *small: str, mark: bool = False) -> dict[str, Any]:
    """A cell of a share in percent, from its `mean`, `low` and `high`."""
    interval = percent_interval(figures["low"], figures["high"])
    return cell(percent(figures["mean"]), interval, *small, mark=mark)


def difference(contrast: Mapping[str, Any] | None) -> dict[str, Any]:
    """A cell of a difference in points, from its `mean`, `low` and `high`; a dash for None."""
    if contrast is None:
        return cell("–")
    return cell(points(contrast["mean"]), points_interval(contrast["low"], contrast["high"]))


def _dose_page(found: Found) -> tuple[Page, Figure]:
    head = ["Dose", "Cells added", "Validation", "Test", "Over the dose before", "Over none"]
    tables = [
        {
            "title": family["strategy"],
            "note": "In bold: the dose that validation chooses.",
            "head": head,
            "rows": [
                [
                    cell(step["dose"], mark=step["dose"] == family["chosen"]),
                    cell(f"{step['added']:,.0f}"),
                    spread(step["validation"]),
                    spread(step["test"], mark=step["dose"] == family["chosen"]),
                    difference(step["over_before"]),
                    difference(step["over_none"]),
                ]
                for step in family["steps"]
            ],
        }
        for family in found["families"]
    ]
    page = {
        "title": "Dose and response",
        "lead": "How many synthetic cells are best, and where do more of them stop paying?",
        "sentences": [family["sentence"] for family in found["families"]],
        "tables": tables,
        "about": _about(found),
    }
    return page, dose_figure(found)


def _hunger_page(found: Found) -> tuple[Page, Figure]:
    head = ["Real cells", *found["curves"]]
    recall = {
        "title": "Recall",
        "note": f"In percent, on test, with the 95% interval over {found['n']} {found['unit']}s.",
        "head": head,
        "rows": [
            [cell(str(count)), *(spread(curve["test"][i]) for curve in found["curves"].values())]
            for i, count in enumerate(found["counts"])
        ],
    }
    tables = [recall, *(_worth_table(found, name) for name in found["synthetic"])]
    page = {
        "title": "Data hunger",
        "lead": "How many real cells of the rare classes is a synthetic set worth?",
        "sentences": [_worth_sentence(found, i) for i in range(len(found["counts"]))],
        "tables": tables,
        "about": _about(found),
    }
    return page, hunger_figure(found)


def _worth_table(found: Found, name: str) -> Table:
    made = found["synthetic"][name]
    rows = [
        [
            cell(str(count)),
            difference(gain),
            cell(f"{gain['p']:.3f}"),
            cell(gain["verdict"]),
            cell(worth_words(worth["value"]), _ends(worth)),
        ]
        for count, gain, worth in zip(found["counts"], made["gains"], made["worth"], strict=True)
    ]
    return {
        "title": f"{name}: what its cells are worth",
        "note": f"Gain over {found['real']} in points, paired by {found['unit']}; p by Holm over the rows.",
        "head": ["Real cells", "Gain", "p", "Verdict", "As good as … real cells"],
        "rows": rows,
    }


def worth_words(bound: Mapping[str, float] | None) -> str:
    """A number of real cells, or beyond which it lies."""
    if bound is None:
        return "–"
    ((kind, number),) = bound.items()
    words = {"images": "", "more_than": "more than ", "fewer_than": "fewer than "}
    return f"{words[kind]}{number:.0f}"


def _ends(worth: Mapping[str, Any]) -> str:
    return "" if worth["low"] is None else f"{worth_words(worth['low'])} to {worth_words(worth['high'])}"


def _worth_sentence(found: Found, row: int) -> str:
    name, count = found["chosen"], found["counts"][row]
    worth, gain = (found["synthetic"][name][key][row] for key in ("worth", "gains"))
    ends = _ends(worth)
    return (
        f"With {count} real cells a rare class, {name} is as good as {worth_words(worth['value'])} real ones"
        f"{f' (95% interval {ends})' if ends else ''}: {points(gain['mean'])} points over {found['real']}, "
        f"{gain['verdict']}."
    )


def _selection_page(found: Found) -> tuple[Page, Figure]:
    by_place = {(each["row"], each["column"]): each for each in found["cells"]}
    rows = [
        [cell(row), *(_candidate(by_place[row, column]) for column in found["columns"])]
        for row in found["rows"]
    ]
    best = by_place[tuple(found["best"])]
    alike = [f"{c['column']} with {c['row']}" for c in found["cells"] if not c.get("told_apart", True)]
    figure, folds = METRICS[found["metric"]], found["folds"] * found["repeats"]
    page = {
        "title": "Model selection",
        "lead": "Which preprocessing and which classifier?",
        "sentences": [
            f"Best in {figure}: {best['column']} with preprocessing {best['row']}, {percent(best['mean'])} "
            f"({percent_interval(best['low'], best['high'])}) over {folds} folds.",
            f"Cannot be told from it: {', '.join(alike)}." if alike else "All others are worse than it.",
            "The figure of the best is a little too good, as it was chosen by it; test it on other cells.",
        ],
        "tables": [
            {
                "title": f"Mean {figure} in percent",
                "note": "Bold: the best, and what cannot be told from it.",
                "head": ["Preprocessing", *found["columns"]],
                "rows": rows,
            }
        ],
        "about": _about(found),
    }
    return page, selection_figure(found)


def _candidate(found: Mapping[str, Any]) -> dict[str, Any]:
    if "behind" not in found:
        return spread(found, "best", mark=True)
    p = found["behind"]["p"]
    behind = f"{points(-found['behind']['mean'])}, p {f'{p:.3f}' if p >= 0.001 else 'below 0.001'}"
    return spread(found, behind, mark=not found["told_apart"])


PAGES: dict[str, Callable[[Found], tuple[Page, Figure]]] = {
    "dose": _dose_page,
    "data_hunger": _hunger_page,
    "model_selection": _selection_page,
}
