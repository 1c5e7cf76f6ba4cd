"""Several studies beside each other: a row each, its own primary contrast. They are not pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.gains.statistics import points
from evaluation.reports.latex import Cell, Table
from evaluation.reports.pictures import Pictures
from evaluation.reports.report_figures import GAIN, primary_gain
from evaluation.reports.study_figures import forest_figure
from evaluation.reports.tables import percent, points_interval, scoped

Results = dict[str, Any]
HEADER = (
    "Study",
    "Data",
    "Rare classes",
    "Training",
    "Test",
    "With synthetic cells",
    "Best rival",
    "Difference",
    "p",
    "Units",
    "Verdict",
)
NOT_POOLED = (
    "Each row is a study of its own, with the strategies that its own validation cells chose; p is that of "
    "its one primary contrast, not adjusted for the number of studies. The studies are not pooled: they "
    "differ in cells, classes and counts."
)


@dataclass(frozen=True)
class Across:
    """Several studies compared.

    Attributes:
        table: A row a study.
        figure: File name of the forest plot in the folder of figures, or "".
        image: Path of its PNG, or None.
        alt: The forest plot in words.
        note: How to read the table.
    """

    table: Table
    figure: str
    image: Any
    alt: str
    note: str = NOT_POOLED


def across(studies: Sequence[tuple[str, Results]], pictures: Pictures) -> Across | None:
    """Compare studies; None where there is one only.

    Args:
        studies: Name and `results.json` of each.
        pictures: Where the forest plot goes.
    """
    if len(studies) < 2:
        return None
    table = Table("studies", f"Primary contrast of each study. {NOT_POOLED}", HEADER, _rows(studies), left=3)
    known = [primary_gain(results, name) for name, results in studies]
    gains = [gain for gain in known if gain is not None]
    if not gains:
        return Across(table, "", None, "")
    image = pictures.plot("studies", forest_figure(gains, GAIN))
    alt = "; ".join(f"{gain.name}: {points(gain.mean)}" for gain in gains)
    return Across(table, image.with_suffix(".pdf").name, image, alt)


def _rows(studies: Sequence[tuple[str, Results]]) -> list[list[Cell]]:
    return [_row(name, results) for name, results in studies]


def _row(name: str, results: Results) -> list[Cell]:
    found, cells = results["conclusion"], results["cells"]
    size = [f"{sum(cells[side].values()):,}" for side in ("train", "test")]
    first: list[Cell] = [name, data_name(results["config"]["data"]), ", ".join(cells["rare"]), *size]
    if "mean" not in found:
        return [*first, "–", "–", "–", "–", "–", found["verdict"]]
    return [
        *first,
        (percent(found["synthetic_mean"]), found["synthetic"]),
        (percent(found["rival_mean"]), found["rival"]),
        (points(found["mean"]), points_interval(found["low"], found["high"])),
        f"{found['p']:.3f}",
        str(found["n"]),
        scoped(found),
    ]


def data_name(data: dict[str, Any]) -> str:
    """What a study's cells are, in a word or two: the kind of source, and its folder's or set's name."""
    if data["kind"] == "cross_site":
        return f"{data_name(data['train'])} to {data_name(data['test'])}"
    named = data.get("root") or data.get("path") or (data.get("name") if data["kind"] == "medmnist" else "")
    last = str(named or "").rstrip("/").rpartition("/")[2]
    return f"{data['kind']} {last}".strip()
