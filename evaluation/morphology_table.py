"""Distances of morphology as rows of words."""

from __future__ import annotations

from collections.abc import Mapping
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
        found: What `evaluation.morphology_match.morphology_match` returned; empty or with a
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
