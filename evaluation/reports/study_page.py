"""What a report says of one study: its results in words, its tables as rows, its figures as files.

Everything comes from `results.json` and the pictures beside it: the cells are not needed again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evaluation.gains import statistics
from evaluation.gains.gain import FURTHER, LOWER_IS_BETTER, METRICS
from evaluation.gains.statistics import ALPHA, CHOSEN_BY, points
from evaluation.reports.ablation_table import ablation_tables
from evaluation.reports.figures import agreement_figure
from evaluation.reports.method_training import same_budget
from evaluation.reports.morphology_table import study_morphology
from evaluation.reports.pictures import Pictures
from evaluation.reports.report_figures import is_copy, real_word, study_figures
from evaluation.reports.tables import (
    chosen_table,
    confused_pairs,
    counted,
    fidelity_tables,
    funnel_rows,
    mean_range,
    percent,
    percent_interval,
    points_interval,
)
from evaluation.reports.tuning_table import tuning_table
from evaluation.studies.costs import cost_rows, strategy_costs
from evaluation.studies.strategies import strategy_of

Results = dict[str, Any]
Study = tuple[str, Path, Results]  # its name, its directory (for pictures), its results
# What is to be said of copies where cells are made of training cells, which is no finding then.
OF_TRAINING_CELLS = {
    "repeat": " This control repeats training cells: it shows that the measure works.",
    "smote": " SMOTE draws between training cells: what lies near one was to be expected.",
}
EARLIER = "Not judged: this study was run by a version without the verdict on copies."


def study_page(study: Study, out: Path, prefix: str) -> dict[str, Any]:
    """What the templates name of a study; its figures are written on the way.

    Args:
        study: Its name, directory and results.
        out: The report's directory.
        prefix: Of the names of its files there.
    """
    name, folder, results = study
    cells, conclusion = results["cells"], results["conclusion"]
    pictures = Pictures(folder / "pictures", out / "figures", prefix)
    models = [s for s in results["summary"] if strategy_of(s).models]
    known = {**METRICS, **FURTHER}
    shown = [m for m in known if all(m in figures for figures in results["summary"].values())]
    return {
        "name": name,
        "models": models,
        "verdict": _verdict(conclusion, results["config"]["shared_generators"]),
        "tiles": _tiles(conclusion),
        "notices": [*copiers(results), *results["notices"]],
        "rare": ", ".join(cells["rare"]),
        "unseen": "unseen phantom cells" if cells["phantom"] else "unseen real cells",
        "drawn": cells["phantom"],
        "counts": {"title": _counts_title(cells), "text": _counts_text(cells)},
        "cells": _strips(results, pictures),
        "figures": study_figures(results, models, pictures),
        "recall_width": min(1016, 92 * len(cells["classes"]) + 190),
        "metrics": [_heading(known[m], m) for m in shown],
        "budget": same_budget(results["summary"]),
        "strategies": [_strategy(s, results["summary"][s], s in models, shown) for s in results["summary"]],
        "reading": _reading(results),
        "lost": _lost(conclusion),
        "tuned": tuning_table(results["trials"], results["config"].get("tune") or {}),
        "chosen": chosen_table(results.get("chosen", ())),  # a study of an earlier version has none
        "fidelity": fidelity_tables(results["fidelity"]),
        "agreement": _agreement(results, pictures),
        "morphology": study_morphology(results["fidelity"]),
        "copies": _copies(results, pictures),
        "funnel": funnel_rows(results["funnels"], results["cells"]["added"]),
        "ablations": ablation_tables(results.get("ablations", ())),  # none in an earlier version's
        "cost": _cost(results["cost"]),
        "costs": cost_rows(strategy_costs(results["trials"], results["summary"], models)),
        "machine": _machine(results["machine"]),
        "rule": _rule(),
        "config": yaml.safe_dump(results["config"], sort_keys=False, allow_unicode=True, width=100),
    }


def _heading(words: str, metric: str) -> str:
    return words[0].upper() + words[1:] + (" (lower is better)" if metric in LOWER_IS_BETTER else "")


def _verdict(conclusion: dict[str, Any], shared: bool) -> dict[str, str]:
    word = conclusion["verdict"]
    style = {"gain": "gain", "harm": "harm", "the study is broken": "broken"}.get(word, "open")
    measured = "mean" in conclusion
    detail = conclusion["sentence"].partition(": ")[2]  # the headline says what stands before it
    scope = conclusion.get("scope", "for these generators" if shared and measured else "")
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
            "label": f"rare recall with {ours}, the best synthetic strategy on validation",
        },
        {
            "value": f"{conclusion['rival_mean']:.1%}",
            "label": f"rare recall with {rival}, the best rival on validation",
        },
        {"value": points(conclusion["mean"]), "label": f"points of difference; 95% interval {interval}"},
        {
            "value": f"p = {conclusion['p']:.3f}",
            "label": f"sign-flip test, {counted(conclusion['n'], 'paired seed', 'paired seeds')}",
        },
        *_shifted_tile(conclusion.get("same_accuracy")),
        {"value": str(len(conclusion["lost"])), "label": "classes that lost recall against the rival"},
    ]


def _shifted_tile(shifted: Mapping[str, Any] | None) -> list[dict[str, str]]:
    if shifted is None:
        return []
    interval = points_interval(shifted["low"], shifted["high"])
    label = f"points with the rival shifted to the same accuracy; 95% interval over seeds {interval}"
    return [{"value": points(shifted["mean"]), "label": label}]


def _counts_title(cells: dict[str, Any]) -> str:
    what = "Stacks" if cells.get("depth", 0) else "Cells"
    return f"{what} per class" + ", before and after" * bool(cells["added"])


def _counts_text(cells: dict[str, Any]) -> str:
    train, added = sum(cells["train"].values()), sum(cells["added"].values())
    all_of, filled = (counted(len(cells[key]), "class", "classes") for key in ("classes", "added"))
    depth = cells.get("depth", 0)  # none in an earlier version's
    what = f"stacks of {depth} images" if depth else "cells"
    text = (
        f"{train:,} training {what} in {all_of} at {cells['image_size']} px, "
        f"{sum(cells['val'].values()):,} for validation, {sum(cells['test'].values()):,} for testing."
    )
    more = f" The strategies that add cells add at most {added:,}, in {filled}."
    return text + more * bool(added)


def _strips(results: Results, pictures: Pictures) -> list[dict[str, Any]]:
    rare, train, added = (results["cells"][k] for k in ("rare", "train", "added"))
    names = {"real": real_word(results["cells"])}
    shown = [c for c in results["strips"] if c in rare] + [c for c in results["strips"] if c not in rare]
    return [
        {
            "name": f"{c}: {train[c]:,} {names['real']} + up to {added[c]:,}",
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


def _strategy(name: str, figures: dict[str, Any], made: bool, shown: Sequence[str]) -> dict[str, Any]:
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
            for m in shown
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
    if len(others) == 1:
        text += "This contrast with real is secondary. "
    else:
        text += f"These {len(others)} contrasts are secondary; their p-values are adjusted by Holm's method. "
    if least > ALPHA:
        text += (
            f"With this few seeds the smallest p they could reach is {min(least, 1.0):.2f}, so none of "
            "them can be called a gain or harm whatever the figures: read the intervals. "
        )
    if results["config"]["shared_generators"] and any(strategy_of(s).models for s in results["summary"]):
        text += "All seeds share one generator of each kind: what strategies with its cells show is for it. "
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
    how_many = counted(len(classes), "class", "classes")
    return f"Harm: mean recall fell in {how_many}, {pair}: {'; '.join(classes)}."


def _agreement(results: Results, pictures: Pictures) -> dict[str, Any] | None:
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
        image = pictures.plot(f"agreement-{kind}", agreement_figure(summed, found[0]["classes"]))
        rows.append({"name": kind, "share": mean_range([f["share"] for f in found]), "image": image})
    first = records[0]["agreement"]
    pairs = []
    if "real_matrix" in first:  # a study of an earlier version has none
        pairs = confused_pairs(records, real_word(results["cells"]))
        right = sum(line[i] for i, line in enumerate(first["real_matrix"])) / max(first["ceiling_n"], 1)
        image = pictures.plot("agreement-real", agreement_figure(first["real_matrix"], first["classes"]))
        name = f"unseen {real_word(results['cells'])} cells"
        rows.append({"name": name, "share": f"{right:.1%}", "image": image, "real": True})
    ceiling = percent(first["ceiling"]) + "% of them, at the same mix of classes"
    return {"ceiling": ceiling, "generators": rows, "pairs": pairs}


def _copies(results: Results, pictures: Pictures) -> list[dict[str, Any]]:
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
                "flagged": is_copy(p, found[0]),
                "text": f"{p['class']}, distance {p['distance']:.2f}",
            }
            for p in found[0].get("pairs", [])
        ]
        said = first.get("sentence", EARLIER).removeprefix("COPIES: ")  # the name says it
        said = said[0].upper() + said[1:]
        pixels = f" Near-copies in pixels: {mean_range(shares)}." if shares else ""
        text = f"{said}{pixels}{_attack(first)}{OF_TRAINING_CELLS.get(kind, '')}"
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


def copiers(results: Results) -> list[str]:
    """What stands first in a report, whatever the figures: which generators copy.

    Args:
        results: What `results.json` holds.
    """
    kinds = [q["generator"] for q in results["fidelity"] if q["near_copies"].get("copies")]
    return [
        f"The generator {kind} copies its training cells: its fidelity and gain say nothing of new cells."
        for kind in dict.fromkeys(kinds)
        if kind not in OF_TRAINING_CELLS
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
