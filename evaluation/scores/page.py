"""The pages of one scoring: HTML with everything in it, Markdown with figures beside it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cells.cellset import CellSet
from evaluation.copies.pairs import pairs_sheet
from evaluation.features.encoders import Encoder
from evaluation.quality.embedding import BANK, embedding_map, even_rows, nearest_cells
from evaluation.reports.figures import agreement_figure, finish, strip
from evaluation.reports.pages import render
from evaluation.scores.figures import bars_figure, map_figure, neighbors_sheet
from evaluation.scores.scorecard import (
    BETTER,
    READING,
    copying,
    figure,
    fingerprint_words,
    metric_name,
    tables,
    to_markdown,
    warning,
)
from evaluation.scores.suite import Sides
from runtime.rundir import write_bytes, write_text
from runtime.seeds import numpy_generator

CLASSES = 12  # shown as pictures, the rarest ones
SAMPLES = 24  # cells of a class, of either side
QUERIES = 4  # synthetic cells of a class beside their neighbors
NEIGHBORS = 5
OURS = re.compile(r"(map|agreement|pairs-\w+|bars-\w+|(samples|neighbors)-\d+(-\w+)?)\.png")


@dataclass(frozen=True)
class Shown:
    """A picture of the page, and the words below it."""

    name: str  # class or metric
    path: Path
    text: str


def figures_folder(file: Path) -> Path:
    """Where the figures of a result lie: ``scores-figures`` beside ``scores.json``."""
    return file.with_name(f"{file.stem}-figures")


def write_pages(result: Mapping[str, Any], sides: Sides, encoder: Encoder, file: Path) -> None:
    """Draw the figures and write FILE.md and FILE.html.

    Args:
        result: What `evaluation.scores.suite.evaluate_sets` returned.
        sides: The cells that it is about.
        encoder: The encoder of its figures.
        file: The JSON file beside which the pages go.
    """
    pictures = _Drawer(result, sides, encoder, figures_folder(file))
    sections = {
        "samples": pictures.samples(),
        "map": pictures.map(),
        "bars": pictures.bars(),
        "agreement": pictures.agreement(),
        "neighbors": pictures.neighbors(),
        "pairs": pictures.pairs(),
    }
    pictures.remove_others()
    write_text(file.with_suffix(".md"), to_markdown(result) + _as_markdown(sections, file.parent))
    render(
        "scores.html.j2",
        file.with_suffix(".html"),
        title="Synthetic against real cells",
        lead=_lead(result),
        copies=result["copies"],
        verdict=copying(result),
        notices=_notices(result, sides, pictures.classes),
        tiles=_tiles(result),
        sections=sections,
        shares=_shares(result["label_agreement"]),
        bank=pictures.bank_words(),
        tables=[{"title": title, "header": header, "rows": rows} for title, header, rows in tables(result)],
        reading=READING.replace("*", ""),
        fingerprint=fingerprint_words(result),
        config=yaml.safe_dump(dict(result["config"]), sort_keys=False, allow_unicode=True, width=100),
    )


class _Drawer:
    """Draws the figures of one result into its folder."""

    def __init__(self, result: Mapping[str, Any], sides: Sides, encoder: Encoder, folder: Path) -> None:
        self.result, self.sides, self.encoder, self.folder = result, sides, encoder, folder
        self.seed = int(result["config"]["seed"])
        self.classes = _shown_classes(sides)
        self.written: set[str] = set()

    def samples(self) -> list[Shown]:
        """Random cells of each class: reference, then synthetic."""
        found = []
        for label in self.classes:
            for side, cells in (("real", self.sides.reference), ("synthetic", self.sides.synthetic)):
                rows = self._rows(cells, label, SAMPLES)
                if len(rows):
                    name = self.sides.real.classes[label]
                    path = self._write(f"samples-{label}-{side}.png", strip(cells.pixels[rows], SAMPLES // 2))
                    found.append(Shown(name, path, side))
        return found

    def map(self) -> list[Shown]:
        """The embedding map, if there are enough different cells."""
        reference, synthetic = self.sides.reference, self.sides.synthetic
        found = embedding_map(reference, synthetic, self.encoder, self.seed)
        if found is None:
            return []
        names = [name if i in self.classes else "" for i, name in enumerate(reference.classes)]
        drawn = f"{(~found.made).sum():,} real and {found.made.sum():,} synthetic cells are drawn"
        return [Shown("map", self._write("map.png", map_figure(found, names)), drawn)]

    def bars(self) -> list[Shown]:
        """Bars of each metric that has a figure, per class and overall."""
        found = self.result["fidelity"]
        shown = []
        for metric, overall in found["overall"].items():
            entries = {name: every[metric] for name, every in found["per_class"].items()}
            entries = {**entries, "overall mix": overall} if len(entries) > 1 else {"all cells": overall}
            if any("value" in entry for entry in entries.values()):
                path = self._write(f"bars-{metric}.png", bars_figure(entries, BETTER[metric]))
                shown.append(Shown(metric_name(metric, found), path, f"better: {BETTER[metric]}"))
        return shown

    def agreement(self) -> list[Shown]:
        """The label matrix, if a judge was asked."""
        found = self.result["label_agreement"]
        if "matrix" not in found:
            return []
        path = self._write("agreement.png", finish(agreement_figure(found["matrix"], found["classes"])))
        return [Shown("label agreement", path, _mistaken(found))]

    def neighbors(self) -> list[Shown]:
        """Random synthetic cells of each class beside the nearest real training cells."""
        bank = self._bank()
        features = self.encoder.encode(bank)
        made = self.encoder.encode(self.sides.synthetic)  # cached
        found = []
        for label in self.classes:
            rows = self._rows(self.sides.synthetic, label, QUERIES)
            nearest = nearest_cells(made[rows], features, NEIGHBORS)  # (n, k)
            other = bank.labels[nearest] != label
            sheet = neighbors_sheet(self.sides.synthetic.pixels[rows], bank.pixels[nearest], other)
            name = bank.classes[label]
            text = (
                f"{1 - other.mean():.0%} of these neighbors are of the class" if len(bank.classes) > 1 else ""
            )
            found.append(Shown(name, self._write(f"neighbors-{label}.png", sheet), text))
        return found

    def pairs(self) -> list[Shown]:
        """The synthetic cells nearest to a training cell, in pixels and in features."""
        copies = self.result["near_copies"]
        found = []
        for key, space in (("pixels", copies), ("features", copies.get("features"))):
            if space and space.get("worst"):
                sheet = pairs_sheet(self.sides.synthetic, self.sides.real, space)
                found.append(Shown(f"in {space['space']}", self._write(f"pairs-{key}.png", sheet), ""))
        return found

    def bank_words(self) -> str:
        """How many training cells were looked through."""
        n, m = len(self._bank()), len(self.sides.real)
        return f"all {m:,} real cells of real=" if n == m else f"{n:,} of the {m:,} real cells of real="

    def remove_others(self) -> None:
        """Remove figures of an earlier result that this one does not have."""
        for path in self.folder.glob("*.png"):
            if OURS.fullmatch(path.name) and path.name not in self.written:
                path.unlink()

    def _bank(self) -> CellSet:
        real = self.sides.real
        if self.sides.holdout is None or len(real) <= BANK:  # the reference is encoded as a whole
            return real
        return real.subset(even_rows(real, BANK, self.seed, "bank"))

    def _rows(self, cells: CellSet, label: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        rows = np.flatnonzero(cells.labels == label)
        return numpy_generator(self.seed, "shown", label).permutation(rows)[:most]

    def _write(self, name: str, content: bytes) -> Path:
        write_bytes(self.folder / name, content)
        self.written.add(name)
        return self.folder / name


def _shown_classes(sides: Sides) -> list[int]:
    """Labels of the rarest classes that have synthetic cells, in the order of the classes."""
    made, real = list(sides.synthetic.counts.values()), list(sides.real.counts.values())
    labels = sorted((i for i, n in enumerate(made) if n), key=lambda i: real[i])
    return sorted(labels[:CLASSES])


def _lead(result: Mapping[str, Any]) -> str:
    counts = result["counts"]
    reference = sum(counts[result["reference"]].values())
    where = "that generator and encoder have not seen" if result["reference"] == "holdout" else "of real="
    classes = f" of {len(counts['real'])} classes" if len(counts["real"]) > 1 else ""
    return (
        f"{sum(counts['synthetic'].values()):,} synthetic cells{classes}, beside "
        f"{reference:,} real cells {where}."
    )


def _notices(result: Mapping[str, Any], sides: Sides, shown: Sequence[int]) -> list[str]:
    """What must be read before the figures."""
    found = [warning(result)] if warning(result) else []
    if sides.holdout is None:
        found.append(
            "There is no holdout: the reference may be the cells that the generator was trained on. A "
            "generator that copies them would look perfect here."
        )
    left_out = result["fidelity"]["left_out"]
    found += [f"Not in the overall mix: {name} ({why})." for name, why in left_out.items()]
    made = sum(count > 0 for count in sides.synthetic.counts.values())
    if made > len(shown):
        found.append(f"Pictures are of the {len(shown)} rarest of {made} classes; the figures are of all.")
    return found


def _tiles(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """The headline figures, each with what real cells score."""
    found = result["fidelity"]
    tiles = []
    for metric in ("frechet", "kid", "coverage"):
        entry = found["overall"][metric]
        if "value" in entry and "value" in entry["matched"]:
            matched, floor = entry["matched"], entry["floor"]
            tiles.append(
                {
                    "value": figure(matched["value"]),
                    "label": f"{metric_name(metric, found)} at n = {matched['n']}; "
                    f"real cells: {figure(floor['value'])}",
                }
            )
    labels, copies = result["label_agreement"], result["near_copies"]
    if labels.get("share") is not None:
        label = f"show the class they were made for; real cells: {_percent(labels['ceiling'])}"
        tiles.append({"value": _percent(labels["share"]), "label": label})
    if copies.get("share") is not None:
        label = f"are near-copies of a training cell; unseen real cells: {_percent(copies['expected'])}"
        tiles.append({"value": _percent(copies["share"]), "label": label})
    return tiles


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.3g}%"


def _shares(labels: Mapping[str, Any]) -> str:
    if "reason" in labels:
        return f"Label agreement: {labels['reason']}."
    return (
        f"{_percent(labels['share'])} of the synthetic cells are given the class they were made for; of "
        f"{labels['ceiling_n']:,} unseen real cells, at the same mix of classes, "
        f"{_percent(labels['ceiling'])}."
    )


def _mistaken(labels: Mapping[str, Any]) -> str:
    pairs = [f"{p['intended']} for {p['predicted']} ({p['share']:.0%})" for p in labels["confused"][:3]]
    return f"Most often mistaken: {', '.join(pairs)}." if pairs else "None is mistaken."


def _as_markdown(sections: Mapping[str, Sequence[Shown]], base: Path) -> str:
    titles = {
        "samples": "Real cells beside synthetic ones",
        "map": "Map of the cells",
        "bars": "Per class",
        "agreement": "Class asked for and class given",
        "neighbors": "Nearest real training cells",
        "pairs": "Pairs most like copies",
    }
    lines = []
    for key, shown in sections.items():
        lines += [f"## {titles[key]}", ""] if shown else []
        for one in shown:
            name = one.name.replace("<", "&lt;").replace("[", "\\[").replace("]", "\\]")
            words = f"{name}: {one.text}" if one.text else name
            lines += [
                words,
                "",
                f"![{name}]({one.path.relative_to(base).as_posix().replace(' ', '%20')})",
                "",
            ]
    return "\n".join(["", *lines])
