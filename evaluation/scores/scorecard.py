"""The results of `evaluation.scores.suite` as tables: rows of words, then Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.reports.morphology_table import morphology_tables

Table = tuple[str, list[str], list[list[str]]]  # title, header, rows

BETTER = {
    "frechet": "lower",
    "kid": "lower",
    "precision": "higher",
    "recall": "higher",
    "density": "near 1",
    "coverage": "higher",
}

READING = (
    "*Matched*: the synthetic cells against a random half of the reference, at the half's n. "
    "*Floor*: the other half against it: what real cells score. Their ranges are 2.5 to 97.5 % of "
    "the repeats; those of a *value* are its 95 % interval. [In brackets: the floor.]"
)


def tables(result: Mapping[str, Any]) -> list[Table]:
    """Overall fidelity, fidelity per class, labels and copies, morphology, as titled tables.

    Args:
        result: What `evaluation.scores.suite.evaluate_sets` returned.
    """
    found = result["fidelity"]
    parts = [_overall(found)]
    if len(found["per_class"]) > 1:
        parts.append(_per_class(found))
    if "reason" not in result["classification_accuracy"]:
        parts.append(_accuracy(result["classification_accuracy"]))
    return [*parts, _checks(result), *morphology_tables(result.get("morphology", {}))]


def warning(result: Mapping[str, Any]) -> str:
    """What must be said beside the figures: that the holdout is not unseen; empty if it is."""
    if not result["leaking"]:
        return ""
    return (
        "The holdout is not unseen. Cells of real= that share an image or a group with a cell of holdout=: "
        f"{result['leaking']}. All figures look better than they are."
    )


def copying(result: Mapping[str, Any]) -> str:
    """The verdict on copies, which stands before all figures: a copier has the best of them."""
    found = result["near_copies"]
    return f"Copies: {found['reason']}." if "reason" in found else str(found["sentence"])


def to_markdown(result: Mapping[str, Any]) -> str:
    """The tables as Markdown, with the fingerprint of the figures above them."""
    known = fingerprint_words(result)
    lines = ["# Synthetic against real cells", "", f"**{copying(result)}**", "", f"Fingerprint: {known}.", ""]
    lines += [f"**Warning.** {warning(result)}", ""] if result["leaking"] else []
    if note := result.get("codec_note"):  # of folders only: arrays have no files
        lines += [f"**Warning.** {note[0].upper()}{note[1:]}.", ""]
    for name, why in result["fidelity"]["left_out"].items():
        lines += [f"Not in the overall mix: {name} ({why}).", ""]
    for title, header, rows in tables(result):
        lines += [f"## {title}", "", _line(header), _line(["---"] * len(header))]
        lines += [*map(_line, rows), ""]
    return "\n".join([*lines, READING, ""])


def fingerprint_words(result: Mapping[str, Any]) -> str:
    """What the figures depend on, in one line."""
    fingerprint = result["fidelity"]["fingerprint"]
    return ", ".join(f"{key} {_words(value)}" for key, value in fingerprint.items())


def metric_name(metric: str, found: Mapping[str, Any]) -> str:
    """A metric in a table's words; the Fréchet distance under its own name."""
    names = {"frechet": str(found["name"]), "kid": "KID"}
    return names.get(metric, metric)


def figure(value: float | None) -> str:
    """Four significant digits, or a dash."""
    return "–" if value is None else f"{value:.4g}"


def _words(value: Any) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)


def _overall(found: Mapping[str, Any]) -> Table:
    header = ["metric", "better", "value", "n real / synthetic", "matched", "floor", "n matched"]
    rows = []
    for metric, entry in found["overall"].items():
        first = [metric_name(metric, found), BETTER[metric]]
        if "reason" in entry:
            rows.append([*first, entry["reason"], "", "", "", ""])
            continue
        n = f"{entry['n_reference']} / {entry['n_synthetic']}"
        matched, floor = entry["matched"], entry["floor"]
        ranges = [_range(matched), _range(floor), str(floor.get("n", ""))]
        rows.append([*first, _range(entry), n, *ranges])
        if "infinite" in entry:
            rows.append(_infinite_row(entry["infinite"], metric_name(metric, found)))
    rows.append(_score_row(found["inception_score"]))
    return "Overall, at equal class mix", header, rows


def _per_class(found: Mapping[str, Any]) -> Table:
    metrics = list(found["overall"])
    header = ["class", *[metric_name(metric, found) for metric in metrics]]
    rows = []
    for name, entries in found["per_class"].items():
        rows.append([name, *[_cell(entries[metric]) for metric in metrics]])
    rows.append(["mean over classes", *[_mean_cell(found["class_mean"][metric]) for metric in metrics]])
    return "Per class (floor in brackets)", header, rows


def _cell(entry: Mapping[str, Any]) -> str:
    if "reason" in entry:
        return str(entry["reason"])
    n = f"n = {entry['n_reference']} / {entry['n_synthetic']}"
    return f"{_range(entry)} [{figure(entry['floor'].get('value'))}], {n}"


def _mean_cell(entry: Mapping[str, Any]) -> str:
    if "reason" in entry:
        return "–"
    return f"{_range(entry)} [{figure(entry['floor'])}], {len(entry['classes'])} of {entry['of']} classes"


def _infinite_row(entry: Mapping[str, Any], name: str) -> list[str]:
    n = "rough: some subsets have fewer cells than features" if entry.get("rough") else ""
    return [f"{name} at 1/n = 0", "lower", _range(entry), n, "", "", ""]


def _score_row(entry: Mapping[str, Any]) -> list[str]:
    if "reason" in entry:
        return ["inception score", "higher", str(entry["reason"]), "", "", "", ""]
    n = f"{entry['n']} / {entry['n']}"
    return ["inception score", "higher", _range(entry), n, "", f"real: {_range(entry['real'])}", ""]


def _accuracy(found: Mapping[str, Any]) -> Table:
    """Share recognized in each class, and over classes, by networks that learned from either side."""
    parts = {
        "synthetic_to_real": "learned from synthetic, tested on real",
        "real_to_real": "learned from real, tested on real",
        "gap": "first less second",
        "real_to_synthetic": "learned from real, tested on synthetic",
    }
    rows = [
        [name, *[_range(found[key]["per_class"][name]) for key in parts], str(found["n_train"][name])]
        for name in found["classes"]
    ]
    rows.append(["mean over classes", *[_range(found[key]) for key in parts], ""])
    rows += [[name, f"left out: {why}", "", "", "", ""] for name, why in found["left_out"].items()]
    return "Classification accuracy score", ["class", *parts.values(), "n trained on"], rows


def _range(summary: Mapping[str, Any]) -> str:
    if "reason" in summary:
        return str(summary["reason"])
    if summary["low"] is None:
        return figure(summary["value"])
    return f"{figure(summary['value'])} ({figure(summary['low'])} to {figure(summary['high'])})"


def _checks(result: Mapping[str, Any]) -> Table:
    rows = [*_label_rows(result["label_agreement"]), *_copy_rows(result["near_copies"])]
    return "Right cells, and own cells", ["measure", "synthetic", "real", "n"], rows


def _label_rows(labels: Mapping[str, Any]) -> list[list[str]]:
    if "reason" in labels:
        return [["label agreement", str(labels["reason"]), "", ""]]
    ceiling = f"{figure(labels['ceiling'])} on {labels['ceiling_n']} unseen real cells"
    rows = [["label agreement", figure(labels["share"]), ceiling, str(labels["n"])]]
    for name, share in labels["per_class"].items():
        if share is not None:
            real = figure(labels["ceiling_per_class"][name])
            rows.append([f"label agreement, {name}", figure(share), real, ""])
    for pair in labels.get("confused", ()):
        said = f"{pair['intended']} taken for {pair['predicted']}"
        rows.append([said, figure(pair["share"]), figure(pair.get("real_share")), ""])
    return rows


def _copy_rows(copies: Mapping[str, Any]) -> list[list[str]]:
    """Near-copies, ratio test, authenticity and membership, in each space."""
    if "reason" in copies:
        return [["share of near-copies", str(copies["reason"]), "", ""]]
    rows = []
    for found in (copies, copies["features"]):
        if found is None:
            continue
        space, n = found["space"], str(found["n"])
        expected = f"{figure(found['expected'])} on {found['calibrated_on']} unseen real cells"
        rows.append([f"share of near-copies, {space}", figure(found["share"]), expected, n])
        ratio, authentic = found["ratio"], found["authenticity"]
        rows.append([f"a third as far as the second nearest, {space}", *_both(ratio), n])
        rows.append([f"authenticity, {space}", *_both(authentic), n])
        rows.append([f"membership attack, AUC, {space}", *_attack(copies["membership"][space])])
    return rows


def _both(found: Mapping[str, Any]) -> list[str]:
    return [figure(found["share"]), figure(found["heldout"])]


def _attack(found: Mapping[str, Any]) -> list[str]:
    if "reason" in found:
        return [str(found["reason"]), "", ""]
    return [f"{_range({**found, 'value': found['auc']})}: {found['verdict']}", "0.5", str(found["n"])]


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(field.replace("|", "\\|").replace("<", "&lt;") for field in fields) + " |"
