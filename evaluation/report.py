"""Results to one self-contained HTML page and a Markdown page with the same content.

Everything comes from `results.json` and the pictures beside it: the cells are not needed again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from evaluation import statistics
from evaluation.ablation_table import ablation_tables
from evaluation.comparison import compare, comparison_table
from evaluation.figures import agreement_figure, counts_figure, gains_figure, recall_figure
from evaluation.gain import METRICS
from evaluation.pages import render
from evaluation.statistics import ALPHA, BASELINE, CHOSEN_BY, Trials, points
from evaluation.strategies import strategy_of
from evaluation.tables import (
    chosen_table,
    confused_pairs,
    fidelity_tables,
    funnel_rows,
    mean_range,
    percent,
    percent_interval,
    points_interval,
)
from runtime.errors import InputError
from runtime.rundir import read_json, write_bytes

Results = dict[str, Any]
EARLIER = "Not judged: this study was run by a version without the verdict on copies."
Study = tuple[str, Path, Results]  # its name, its directory (for pictures), its results


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
    """Write `report.html` and `report.md`, the latter with its figures under `figures/`.

    Args:
        studies: One or several; several are opened by a table of their verdicts, and such that differ
            in their preprocessing alone by one that compares it.
        out: The directory to write to.
    """
    contexts = [_study(study, out, f"{i}-" if len(studies) > 1 else "") for i, study in enumerate(studies)]
    title = f"Study {contexts[0]['name']}" if len(contexts) == 1 else f"{len(contexts)} studies"
    found = compare([(name, results) for name, _, results in studies])
    axis = None if found is None else comparison_table(found)
    for name in ("report.html", "report.md"):
        render(f"{name}.j2", out / name, title=title, studies=contexts, axis=axis)


def _study(study: Study, out: Path, prefix: str) -> dict[str, Any]:
    name, folder, results = study
    cells, conclusion = results["cells"], results["conclusion"]
    pictures = _Pictures(folder / "pictures", out / "figures", prefix)
    models = [s for s in results["summary"] if strategy_of(s).models]
    return {
        "name": name,
        "verdict": _verdict(conclusion, results["config"]["shared_generators"]),
        "tiles": _tiles(conclusion),
        "notices": [*_copiers(results), *results["notices"]],
        "rare": ", ".join(cells["rare"]),
        "unseen": "unseen phantom cells" if cells["phantom"] else "unseen real cells",
        "drawn": cells["phantom"],
        "counts": {"text": _counts_text(cells)},
        "cells": _strips(results, pictures),
        "figures": _figures(results, models, pictures),
        "recall_width": min(1016, 92 * len(cells["classes"]) + 190),
        "metrics": [label[0].upper() + label[1:] for label in METRICS.values()],
        "strategies": [_strategy(s, results["summary"][s], s in models) for s in results["summary"]],
        "reading": _reading(results),
        "lost": _lost(conclusion),
        "chosen": chosen_table(results.get("chosen", ())),  # a study of an earlier version has none
        "fidelity": fidelity_tables(results["fidelity"]),
        "agreement": _agreement(results, pictures),
        "copies": _copies(results, pictures),
        "funnel": funnel_rows(results["funnels"], results["cells"]["added"]),
        "ablations": ablation_tables(results.get("ablations", ())),  # none in an earlier version's
        "cost": _cost(results["cost"]),
        "machine": _machine(results["machine"]),
        "rule": _rule(),
        "config": yaml.safe_dump(results["config"], sort_keys=False, allow_unicode=True, width=100),
    }


class _Pictures:
    """Pictures of one study, copied or drawn into the report's own folder."""

    def __init__(self, source: Path, folder: Path, prefix: str) -> None:
        self.source, self.folder, self.prefix = source, folder, prefix

    def copy(self, name: str) -> Path:
        if not (self.source / name).is_file():
            raise InputError(
                f"{self.source / name}: no such file; a report needs the whole out= of its benchmark."
            )
        return self.draw(name, (self.source / name).read_bytes())

    def draw(self, name: str, content: bytes) -> Path:
        path = self.folder / f"{self.prefix}{name}"
        write_bytes(path, content)
        return path


def _verdict(conclusion: dict[str, Any], shared: bool) -> dict[str, str]:
    word = conclusion["verdict"]
    style = {"gain": "gain", "harm": "harm", "the study is broken": "broken"}.get(word, "open")
    measured = "mean" in conclusion
    scope = conclusion.get("scope", "for these generators" if shared and measured else "")
    detail = conclusion["sentence"].partition(": ")[2]  # the headline says what stands before it
    return {
        "word": word[0].upper() + word[1:] + (f", {scope}" if scope else ""),
        "style": style,
        "sentence": detail[0].upper() + detail[1:],
        "difference": points(conclusion["mean"]) if measured else "",
        "interval": points_interval(conclusion["low"], conclusion["high"]) if measured else "",
        "p": f"{conclusion['p']:.3f}" if measured else "",
    }


def _tiles(conclusion: dict[str, Any]) -> list[dict[str, str]]:
    if "mean" not in conclusion:
        return []
    ours, rival = conclusion["synthetic"], conclusion["rival"]
    interval = points_interval(conclusion["low"], conclusion["high"])
    return [
        {
            "value": f"{conclusion['synthetic_mean']:.1%}",
            "label": f"rare recall with {ours}, the better synthetic strategy on validation" if ours else "",
        },
        {
            "value": f"{conclusion['rival_mean']:.1%}",
            "label": f"rare recall with {rival}, the best rival on validation",
        },
        {"value": points(conclusion["mean"]), "label": f"points of difference; 95% interval {interval}"},
        {
            "value": f"p = {conclusion['p']:.3f}",
            "label": f"exact sign-flip test, {conclusion['n']} paired seeds",
        },
        {"value": str(len(conclusion["lost"])), "label": "classes that lost recall against the rival"},
    ]


def _counts_text(cells: dict[str, Any]) -> str:
    train, added = sum(cells["train"].values()), sum(cells["added"].values())
    return (
        f"{train:,} training cells in {len(cells['classes'])} classes at {cells['image_size']} px, "
        f"{sum(cells['val'].values()):,} for validation, {sum(cells['test'].values()):,} for testing. "
        f"The strategies that add cells add {added:,} to {len(cells['added'])} classes."
    )


def _real(cells: dict[str, Any]) -> str:
    """The word for what stands for real cells in this study."""
    return "phantom" if cells["phantom"] else "real"


def _strips(results: Results, pictures: _Pictures) -> list[dict[str, Any]]:
    rare, train, added = (results["cells"][k] for k in ("rare", "train", "added"))
    names = {"real": _real(results["cells"])}
    shown = [c for c in results["strips"] if c in rare] + [c for c in results["strips"] if c not in rare]
    return [
        {
            "name": f"{c}: {train[c]:,} {names['real']} + {added[c]:,}",
            "rare": c in rare,
            "rows": [
                {
                    "name": names.get(source, source),
                    "made": source != "real",
                    "image": pictures.copy(file),
                }
                for source, file in results["strips"][c].items()
                if source != "repeat"
            ],
        }
        for c in shown
    ]


def _figures(results: Results, models: list[str], pictures: _Pictures) -> dict[str, Path]:
    cells, summary, trials = results["cells"], results["summary"], Trials(results["trials"])
    drawn = {
        "counts": counts_figure(cells["train"], cells["added"], _real(cells)),
        "recall": recall_figure(summary, cells["classes"], cells["rare"]),
    }
    others = [s for s in summary if summary[s][CHOSEN_BY]["difference"] is not None]
    if others:
        seeds = {s: trials.seeds(s, BASELINE) for s in others}
        gains = {
            s: (trials.values(s, CHOSEN_BY, n) - trials.values(BASELINE, CHOSEN_BY, n)).tolist()
            for s, n in seeds.items()
        }
        label = "difference from real in mean recall of the rare classes, in points"
        drawn["gains"] = gains_figure(summary, CHOSEN_BY, gains, models, label)
    return {name: pictures.draw(f"{name}.png", content) for name, content in drawn.items()}


def _strategy(name: str, figures: dict[str, Any], made: bool) -> dict[str, Any]:
    main = figures[CHOSEN_BY]
    compared = main["difference"] is not None
    return {
        "name": name,
        "made": made,
        "about": strategy_of(name).about,
        "columns": [
            {
                "mean": percent(figures[m]["mean"]),
                "interval": percent_interval(figures[m]["low"], figures[m]["high"]),
            }
            for m in METRICS
        ],
        "difference": points(main["difference"]) if compared else "–",
        "interval": points_interval(main["difference_low"], main["difference_high"]) if compared else "",
        "p": f"{main['p']:.3f}" if compared else "",
        "verdict": main["verdict"] if compared else "reference",
    }


def _reading(results: Results) -> str:
    """What the secondary contrasts can and cannot show."""
    others = [f[CHOSEN_BY] for f in results["summary"].values() if f[CHOSEN_BY]["difference"] is not None]
    text = "All figures in percent, small: the 95% interval over seeds. "
    if not others:
        return text
    least = len(others) * 2.0 ** (1 - min(f["n"] for f in others))
    text += f"These {len(others)} contrasts are secondary; their p-values are adjusted by Holm's method. "
    if least > ALPHA:
        text += (
            f"With this few seeds the smallest p they could reach is {min(least, 1.0):.2f}, so none of "
            "them can be called a gain or harm whatever the figures: read the intervals. "
        )
    return text


def _lost(conclusion: dict[str, Any]) -> str:
    if "lost" not in conclusion:
        return ""
    pair = f"{conclusion['synthetic']} against {conclusion['rival']}"
    if not conclusion["lost"]:
        return f"Harm: no class lost mean recall, {pair}."
    classes = [
        f"{c} {points(v['mean'])} points ({points_interval(v['low'], v['high'])})"
        for c, v in conclusion["lost"].items()
    ]
    return f"Harm: mean recall fell in {len(classes)} classes, {pair}: {'; '.join(classes)}."


def _agreement(results: Results, pictures: _Pictures) -> dict[str, Any] | None:
    records = [q for q in results["fidelity"] if q["generator"] != "repeat"]
    if not records:
        return None
    rows = []
    for kind in dict.fromkeys(q["generator"] for q in records):
        found = [q["agreement"] for q in records if q["generator"] == kind]
        summed = [
            [sum(cell) for cell in zip(*line, strict=True)]
            for line in zip(*(f["matrix"] for f in found), strict=True)
        ]
        image = pictures.draw(f"agreement-{kind}.png", agreement_figure(summed, found[0]["classes"]))
        rows.append({"name": kind, "share": mean_range([f["share"] for f in found]), "image": image})
    first = records[0]["agreement"]
    pairs = []
    if "real_matrix" in first:  # a study of an earlier version has none
        pairs = confused_pairs(records, _real(results["cells"]))
        right = sum(line[i] for i, line in enumerate(first["real_matrix"])) / max(first["ceiling_n"], 1)
        image = pictures.draw("agreement-real.png", agreement_figure(first["real_matrix"], first["classes"]))
        name = f"unseen {_real(results['cells'])} cells"
        rows.append({"name": name, "share": f"{right:.1%}", "image": image})
    ceiling = percent(first["ceiling"]) + "% of them, at the same mix of classes"
    return {"ceiling": ceiling, "generators": rows, "pairs": pairs}


def _copies(results: Results, pictures: _Pictures) -> list[dict[str, Any]]:
    rows = []
    for kind in dict.fromkeys(q["generator"] for q in results["fidelity"]):
        found = [q for q in results["fidelity"] if q["generator"] == kind]
        shares = [q["near_copies"]["share"] for q in found if q["near_copies"]["share"] is not None]
        first = found[0]["near_copies"]
        marked = sum(bool(q["near_copies"].get("copies")) for q in found)
        pairs = [
            {
                "synthetic": pictures.copy(p["synthetic"]),
                "training": pictures.copy(p["training"]),
                "flagged": p["copy"] if "copy" in p else p["distance"] <= first["threshold"],
                "text": f"{p['class']}, distance {p['distance']:.2f}",
            }
            for p in found[0].get("pairs", [])
        ]
        control = (
            " This control repeats training cells: it shows that the measure works."
            if kind == "repeat"
            else ""
        )
        said = first.get("sentence", EARLIER)
        pixels = f" Near-copies in pixels: {mean_range(shares)}." if shares else ""
        text = f"{said}{pixels}{_attack(first)}{control}"
        many = f" ({marked} of {len(found)} generators)" if marked and len(found) > 1 else ""
        name = f"{kind}: COPIES{many}" if marked else kind
        rows.append({"name": name, "text": text, "pairs": pairs})
    return rows


def _attack(found: dict[str, Any]) -> str:
    """The membership attacks that could be run, in a sentence each."""
    known = [(space, one) for space, one in found.get("membership", {}).items() if "reason" not in one]
    return "".join(
        f" Membership attack in {space}: AUC {one['auc']:.2f} ({one['low']:.2f} to {one['high']:.2f}), "
        f"{one['verdict']}."
        for space, one in known
    )


def _copiers(results: Results) -> list[str]:
    """What stands first in the report, whatever the figures: which generators copy."""
    kinds = [q["generator"] for q in results["fidelity"] if q["near_copies"].get("copies")]
    return [
        f"The generator {kind} copies its training cells: its fidelity and gain say nothing of new cells."
        for kind in dict.fromkeys(kinds)
        if kind != "repeat"
    ]


def _cost(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    total = {"part": "total", "runs": "", "seconds": sum(p["seconds"] for p in parts)}
    return [{**p, "minutes": f"{p['seconds'] / 60:.1f}"} for p in [*parts, total]]


def _machine(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = machine["gpu"] or f"{machine['cores']} processor cores ({machine['processor']})"
    return f"On {where}; {versions}. A run that was interrupted counts from its last start."


def _rule() -> list[str]:
    """The rule as it is written at the head of the statistics."""
    parts = re.split(r"\n\n|\n(?=\d\. )", statistics.__doc__ or "")[1:]
    return [" ".join(part.split()).replace("`", "").replace("*", "") for part in parts]
