"""Numbers of a study as the rows of its tables, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.gains.statistics import points
from generators import RESAMPLERS

# The measures of fidelity, as tables print them, and which way is better.
MEASURES: dict[str, tuple[str, str]] = {
    "frechet": ("Fréchet distance", "lower"),
    "kid": ("KID", "lower"),
    "precision": ("Precision", "higher"),
    "recall": ("Recall", "higher"),
    "density": ("Density", "higher"),
    "coverage": ("Coverage", "higher"),
}
# The figures of a monitor that decide which step is kept.
FIGURES = {"kid": "KID", "label_agreement": "label agreement"}
# What the cells of one table must have in common, besides the n at which they meet the floor.
SHARED = (
    "encoder",
    "weights",
    "resize",
    "image_size",
    "reference_split",
    "reference",
    "classes",
    "n_reference",
)

Row = dict[str, Any]


def percent(share: float) -> str:
    """A share as a percentage: 0.9123 -> "91.2"."""
    return f"{100 * share:.1f}"


def percent_interval(low: float | None, high: float | None) -> str:
    """An interval of shares in percent, no further than a share can be; empty where there is none.

    That of Student's t knows no bounds, and with two or three seeds goes beyond them.
    """
    if low is None or high is None:
        return ""
    return f"{100 * max(low, 0.0):.1f} to {100 * min(high, 1.0):.1f}"


def points_interval(low: float | None, high: float | None) -> str:
    """An interval of differences in points; empty where there is none."""
    return "" if low is None or high is None else f"{points(low)} to {points(high)}"


def scoped(conclusion: Mapping[str, Any]) -> str:
    """A verdict, and which generators it holds for where seeds share them: ``gain, for this generator``."""
    return ", ".join(filter(None, (conclusion["verdict"], conclusion.get("scope"))))


def counted(n: int, one: str, more: str) -> str:
    """A number with its noun: ``1 class``, ``3 classes``."""
    return f"{n:,} {one if n == 1 else more}"


def listed(words: Sequence[str]) -> str:
    """Words in a sentence: ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def mean_range(shares: Sequence[float]) -> str:
    """Mean of one share per generator, with the range where there are several."""
    mean = f"{sum(shares) / len(shares):.1%}"
    if len(shares) == 1:
        return mean
    return f"{mean} ({percent(min(shares))} to {percent(max(shares))} over {len(shares)} generators)"


def funnel_rows(funnels: Sequence[Mapping[str, Any]], asked: Mapping[str, int]) -> list[Row]:
    """What each filter let through, summed over the seeds of each kind of generator.

    Args:
        funnels: `generator`, `seed`, `funnel`, a list of stages with `filter`, `in`, `out`, and `asked`,
            the cells that each class was to get.
        asked: The same of a study of an earlier version, whose funnels do not say it.

    Returns:
        One row a generator and filter; what draws from the training cells is not curated, and left out.
    """
    rows = []
    for kind in dict.fromkeys(f["generator"] for f in funnels if f["generator"] not in RESAMPLERS):
        of_kind = [f for f in funnels if f["generator"] == kind]
        runs, wanted = [f["funnel"] for f in of_kind], of_kind[0].get("asked", asked)
        for stages in zip(*runs, strict=True):
            before = sum(sum(s["in"].values()) for s in stages)
            after = sum(sum(s["out"].values()) for s in stages)
            classes = {c: sum(s["out"].get(c, 0) for s in stages) for c in stages[0]["in"]}
            last = stages[0]["filter"] == "quota"
            of = {c: f" of {n * len(runs):,}" if last else "" for c, n in wanted.items()}
            rows.append(
                {
                    "generator": kind,
                    "filter": "surplus" if last else stages[0]["filter"],
                    "before": f"{before:,}",
                    "after": f"{after:,}",
                    "rejected": f"{before - after:,} ({(before - after) / max(before, 1):.0%})",
                    "rule": stages[0].get("rule", ""),  # a study of an earlier version has none
                    "real": _real_rejected(stages),
                    "classes": ", ".join(f"{c} {n:,}{of[c]}" for c, n in classes.items() if c in of),
                }
            )
    return rows


def confused_pairs(records: Sequence[Mapping[str, Any]], real: str) -> list[str]:
    """Sentences on the pairs of classes that the judge mistakes most, beside real cells.

    Args:
        records: Qualities of generators, with `agreement`; those of seed 0 are told.
        real: The word for what stands for real cells.
    """
    return [
        f"{record['generator']}: {pair['share']:.1%} of {pair['intended']} are taken for {pair['predicted']}"
        f" (of {real} cells: {'–' if pair['real_share'] is None else format(pair['real_share'], '.1%')})."
        for record in records
        for pair in record["agreement"]["confused"][:3]
        if record["seed"] == 0
    ]


def _real_rejected(stages: Sequence[Mapping[str, Any]]) -> str:
    """Share of held-out real cells that a filter would reject, the mean over generators."""
    shares = [s["real_rejected"] for s in stages if s.get("real_rejected") is not None]
    return f"{sum(shares) / len(shares):.1%} of {stages[0]['real_n']:,}" if shares else "–"


def chosen_table(records: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Which step of each training was kept, and the monitor's figures there and at the last step.

    Args:
        records: `generator` and `seed`, beside what `generators.choosing.Choosing.chosen` returns.

    Returns:
        `rows`, `watched`, and where a monitor looked `decided` and `fingerprint`; None without records.
    """
    if not records:
        return None
    watched = [record for record in records if record["figures"]]
    table = {"rows": [_chosen(record) for record in records], "watched": bool(watched)}
    if not watched:
        return table
    mark = watched[0]["fingerprint"]  # a study has one monitor
    ends = ", then ".join(f"{FIGURES[name]} ({end}est)" for name, end in watched[0]["decide_by"])
    words = (
        f"encoder {mark['encoder']} (weights {mark['weights']}), {mark['reference_split']} split, "
        f"{mark['n_synthetic']:,} synthetic against {mark['n_reference']:,} real cells; the judge saw "
        f"{mark['n_judged_per_class']:,} cells of each class"
    )
    return {**table, "decided": ends, "best": watched[0]["choose"] == "best", "fingerprint": words}


def _chosen(record: Mapping[str, Any]) -> Row:
    kept, last = record["figures"], record.get("last", record)
    classes = {k.partition("/")[2]: v for k, v in kept.items() if k.startswith("label_agreement/")}
    lowest = min(classes, key=lambda name: classes[name], default=None)
    return {
        "generator": record["generator"],
        "seed": record["seed"],
        "step": f"{record['step']:,}",
        "last": f"{last['step']:,}",
        "columns": [
            {
                "kept": number(kept["kid"]) if kept else "–",
                "last": number(last["figures"]["kid"]) if kept else "",
            },
            {
                "kept": f"{percent(kept['label_agreement'])}%" if kept else "–",
                "last": f"{percent(last['figures']['label_agreement'])}%" if kept else "",
            },
        ],
        "lowest": "–" if lowest is None else f"{lowest} {percent(classes[lowest])}%",
    }


def fidelity_tables(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table for each fingerprint; figures of different ones never share a column.

    Args:
        records: `generator`, `seed` and `fidelity`, see `evaluation.studies.findings.measure`.

    Returns:
        Tables with `title`, `generators`, `rows`, `missing`, `per_class`, `fingerprint`. An
        encoder that was missing stands in the first table, with the reason.
    """
    parts = [{**f, "generator": r["generator"]} for r in records for f in r["fidelity"]]
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for part in (p for p in parts if "overall" in p):
        matched = part["overall"]["kid"].get("matched", {}).get("n")
        key = tuple(str(v) for v in (*(part["fingerprint"].get(k) for k in SHARED), matched))
        groups.setdefault(key, []).append(part)
    tables = [_table(group) for group in groups.values()]
    reasons = dict.fromkeys((p["name"], p["reason"]) for p in parts if "reason" in p)
    if tables:
        tables[0]["missing"] = [{"metric": name, "reason": reason} for name, reason in reasons]
    return tables


def _table(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    kinds = list(dict.fromkeys(g["generator"] for g in group))
    of_kind = {k: [g for g in group if g["generator"] == k] for k in kinds}
    mark = group[0]["fingerprint"]
    words = [f"encoder {mark['encoder']} (weights {mark['weights']})", f"resize {mark['resize']}"]
    words.append(f"reference: {mark['reference_split']} split, {mark['image_size']} px")
    for kind, found in of_kind.items():
        n = found[0]["fingerprint"]
        words.append(f"{kind}: {n['n_synthetic']:,} synthetic against {n['n_reference']:,} reference cells")
    classes = list(group[0]["per_class"])
    return {
        "title": f"Features of {mark['encoder']}: {mark['n_reference']:,} reference cells of "
        f"{counted(len(mark.get('classes', classes)), 'class', 'classes')}",
        "generators": kinds,
        "rows": [
            row
            for m, (_, better) in MEASURES.items()
            for row in _rows(
                {k: [g["overall"][m] for g in v] for k, v in of_kind.items()}, _name(m, group[0]), better
            )
        ],
        "missing": [],
        "per_class": [
            {
                **_row({k: [g["per_class"][c][m] for g in v] for k, v in of_kind.items()}),
                "name": c,
                "metric": _name(m, group[0]),
            }
            for c in classes
            for m in MEASURES
            if any("value" in g["per_class"][c][m] for g in group)
        ],
        "fingerprint": "; ".join(words),
    }


def _name(metric: str, part: Mapping[str, Any]) -> str:
    """The Fréchet distance is called FID on Inception's features only."""
    return str(part["name"]) if metric == "frechet" else MEASURES[metric][0]


def _rows(found: Mapping[str, Sequence[Mapping[str, Any]]], name: str, better: str) -> list[Row]:
    """A measure, and below it what it would be for infinitely many cells, where that is known."""
    rows = [{**_row(found), "metric": name, "better": better}]
    if all("infinite" in entry for entries in found.values() for entry in entries):
        columns = [_cell([entry["infinite"] for entry in entries]) for entries in found.values()]
        floor = {"value": "0", "interval": "by definition"}
        rows.append({"metric": f"{name} at 1/n = 0", "better": better, "floor": floor, "columns": columns})
    return rows


def _row(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Row:
    """Each generator at the n of the floor, and the floor, as means over the generators' seeds."""
    every = [entry for entries in found.values() for entry in entries]
    return {
        "floor": _cell([e.get("floor", e) for e in every]),
        "columns": [_matched(entries) for entries in found.values()],
    }


def _cell(entries: Sequence[Mapping[str, Any]]) -> Row:
    known = [e for e in entries if "value" in e]
    if not known:
        return {"value": "–", "interval": str(entries[0].get("reason", ""))}
    value = sum(float(e["value"]) for e in known) / len(known)
    bounds = [(e["low"], e["high"]) for e in known]
    if any(None in pair for pair in bounds):
        return {"value": number(value), "interval": ""}
    low, high = (sum(float(pair[i]) for pair in bounds) / len(known) for i in (0, 1))
    return {"value": number(value), "interval": f"[{number(low)}, {number(high)}]"}


def _matched(entries: Sequence[Mapping[str, Any]]) -> Row:
    """A generator's figure at the floor's n; the figure of all its cells below it."""
    known = [e for e in entries if "value" in e]
    cell = _cell([e["matched"] for e in known] or entries)
    if not known:
        return cell
    whole = sum(float(e["value"]) for e in known) / len(known)
    return {**cell, "whole": f"all {known[0]['n_synthetic']:,} cells: {number(whole)}"}


def number(value: float) -> str:
    """Three significant digits, without an exponent where it can be read without."""
    if value != 0 and abs(value) < 0.001:
        text = f"{value:.1e}".replace("e-0", "e-")
    else:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "−" + text[1:] if text.startswith("-") else text
