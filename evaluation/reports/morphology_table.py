"""Distances of morphology as rows of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

UNITS = {
    "nucleus_area": ("nucleus area", "px"),
    "nucleus_to_cytoplasm": ("nucleus / cytoplasm", ""),
    "lobes": ("lobes", ""),
    "granularity": ("granularity", ""),
    "nucleus_hue": ("nucleus hue", "°"),
}


def morphology_tables(found: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Distances per class, and the medians behind them; title, header, rows of each table.

    Args:
        found: What `evaluation.quality.morphology_match.morphology_match` returned; empty or with a
            ``reason`` there is no table.
    """
    if not found or "reason" in found:
        return []
    header = ["class", *[name for name, _ in UNITS.values()]]
    classes = [(c, e) for c, e in found["per_class"].items() if any("value" in one for one in e.values())]
    if not classes:
        return []
    distances = [[c, *[_distance(entries[m]) for m in UNITS]] for c, entries in classes]
    medians = [[c, *[_medians(entries[m], unit) for m, (_, unit) in UNITS.items()]] for c, entries in classes]
    return [
        ("Morphology: distance in standard deviations of real cells (floor in brackets)", header, distances),
        ("Morphology: median of synthetic cells (of real ones in brackets)", header, medians),
    ]


def _distance(entry: Mapping[str, Any]) -> str:
    """At the n of the floor, so that the two can be compared."""
    if "reason" in entry:
        return str(entry["reason"])
    matched, floor = entry["matched"], entry["floor"]
    return f"{matched['value']:.2f} [{floor['value']:.2f}], n = {floor['n']}"


def _medians(entry: Mapping[str, Any], unit: str) -> str:
    if "reason" in entry:
        return "–"
    made, real = (entry[side][2] + entry.get("mean", 0.0) for side in ("synthetic", "reference"))
    if "mean" in entry:
        made, real = made % 360, real % 360
    return f"{made:.3g}{unit} [{real:.3g}{unit}]"


def study_morphology(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The morphology of a study's generators, class by class.

    Args:
        records: Qualities of generators: `generator`, `seed` and, of newer studies, `morphology`.

    Returns:
        `header`, `distances` and `medians` (rows: generator, class, a cell a measure), and `missing`, why
        there is nothing; None where it was not measured. Distances are means over the generators of a
        kind, medians those of its first one.
    """
    measured = [r for r in records if "morphology" in r and r["generator"] != "repeat"]
    if not measured:
        return None
    known = [r for r in measured if "reason" not in r["morphology"]]
    header = ["generator", "class", *[name for name, _ in UNITS.values()]]
    found: dict[str, Any] = {"header": header, "distances": [], "medians": [], "missing": ""}
    for kind in dict.fromkeys(r["generator"] for r in known):
        of_kind = [r["morphology"]["per_class"] for r in known if r["generator"] == kind]
        classes = [c for c, e in of_kind[0].items() if any("value" in one for one in e.values())]
        for c in classes:
            found["distances"].append([kind, c, *[_mean_distance([p[c][m] for p in of_kind]) for m in UNITS]])
            medians = [_medians(of_kind[0][c][m], unit) for m, (_, unit) in UNITS.items()]
            found["medians"].append([kind, c, *medians])
    if not found["distances"]:
        reasons = [r["morphology"].get("reason", "too few nuclei were found") for r in measured]
        found["missing"] = reasons[0]
    return found


def _mean_distance(entries: Sequence[Mapping[str, Any]]) -> str:
    known = [entry for entry in entries if "reason" not in entry]
    if not known:
        return str(entries[0]["reason"])
    value, floor = (sum(e[side]["value"] for e in known) / len(known) for side in ("matched", "floor"))
    return f"{value:.2f} [{floor:.2f}]"
