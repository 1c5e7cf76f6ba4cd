"""What a synthesis or a study would draw, and how long that would take; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.markup import escape
from rich.table import Table

import generators
from cells.balance import BalancePlan, ClassPlan
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study, open_study, study_config
from generators import Generator
from generators.synthesize import seconds_per_cell
from runtime.progress import duration
from runtime.rundir import RunDir


def plan_table(plan: BalancePlan, title: str) -> Table:
    """The plan as a table for the terminal: a row a class, and their sums.

    Args:
        plan: What each class has and is to get.
        title: Above the table.
    """
    table = Table(title=title, title_justify="left", show_footer=True)
    real, added = (sum(getattr(each, key) for each in plan.classes) for key in ("real", "added"))
    footers = {"class": "all", "real": real, "target": "", "to add": added}
    for header, footer in {**footers, "synthetic": f"{added / max(real + added, 1):.0%}"}.items():
        table.add_column(header, str(footer), justify="left" if header == "class" else "right")
    table.add_column("held back by")
    for each in plan.classes:
        held = f"{each.capped_by} (-{each.cut})" if each.capped_by else ""
        figures = map(str, (each.real, each.target, each.added))
        table.add_row(escape(each.name), *figures, f"{each.share:.0%}", held)
    return table


def synthesis_time(generator: Generator, wanted: Mapping[str, int]) -> str:
    """A sentence on how long a trained generator would take.

    Args:
        generator: Trained.
        wanted: Cells per class.
    """
    count = sum(wanted.values())
    if not count:
        return "Nothing would be drawn."
    seconds = seconds_per_cell(generator, wanted)
    return (
        f"Drawing {count:,} cells would take {duration(seconds * count)} "
        f"({_milliseconds(seconds)} a cell, measured with this generator on this machine)."
    )


def study_plan(settings: StudySettings, out: Path) -> tuple[BalancePlan, list[str]]:
    """The plan of a study, and sentences on how long its generators would draw.

    Args:
        settings: The study.
        out: Its directory, which is not touched.

    Returns:
        The plan, and a sentence for each kind of generative model.

    Raises:
        InputError: As `evaluation.studies.study.open_study`.
    """
    study = open_study(settings, RunDir(out, study_config(settings)), print)
    kinds = dict.fromkeys(kind for kind, _ in study.generators if kind not in generators.RESAMPLERS)
    if not kinds:
        return _to_add(study), ["No strategy of this study has a generative model: nothing would be drawn."]
    sentences = [_study_time(study, kind) for kind in kinds]
    return _to_add(study), [
        *sentences,
        "Measured on untrained networks of this config, on this machine; training, curation and the "
        "classifiers come on top.",
    ]


def _to_add(study: Study) -> BalancePlan:
    """What is to be added: as the balance plans, or the most that any dose asks of a class."""
    if study.shortfall == study.plan.quotas:
        return study.plan
    counts, added = study.counted.train.counts, study.shortfall
    rows = [ClassPlan(name, n, n + added.get(name, 0), added.get(name, 0)) for name, n in counts.items()]
    return BalancePlan(tuple(rows))


def _study_time(study: Study, kind: str) -> str:
    cells, times = study.split.train, sum(k == kind for k, _ in study.generators)
    network = generators.build(getattr(study.settings.generators, kind), cells.classes, cells.image_size)
    seconds, count = seconds_per_cell(network, study.drawn(kind)), sum(study.drawn(kind).values())
    each = f" for each of {times} generators" if times > 1 else ""
    return (
        f"{kind}: drawing {count:,} cells (surplus={study.settings.surplus:g}){each} would take "
        f"{duration(seconds * count * times)} in all ({_milliseconds(seconds)} a cell)."
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"
