"""What a study knows besides its scores: how good the synthetic cells are, what they look like.

The reference is the test split: cells that no generator, encoder, judge or curator has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cells.cellset import CellSet
from cells.split import Split
from classifiers.training import Classifier
from evaluation.copies.memorization import near_copies
from evaluation.features.encoders import Encoder, InceptionSettings, build_encoder
from evaluation.features.extractors import INCEPTION_FILE
from evaluation.quality.agreement import label_agreement
from evaluation.quality.fidelity import fidelity
from evaluation.quality.morphology_match import morphology_match
from evaluation.reports.figures import strip
from runtime.rundir import write_bytes

SHOWN = 10  # cells a strip
PAIRS = 6  # near-copies shown of each generator


def inception_encoder(path: Path | None, cache: Path) -> Encoder | str:
    """The encoder of the FID, or why there is none.

    Nothing is downloaded in the midst of a study: the weights are used where they are given, or
    lie in torch's hub folder from an earlier download.

    Args:
        path: Weights file; None looks in torch's hub folder.
        cache: Folder for features.

    Returns:
        An encoder, or a sentence that names the missing file.

    Raises:
        InputError: If a path is given and does not hold the weights.
    """
    file = path or Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if path is None and not file.is_file():
        return f"not computed: the file {INCEPTION_FILE} is missing; set inception= to where it is"
    return build_encoder(InceptionSettings(path=file), cache=cache)


def measure(
    synthetic: CellSet,
    split: Split,
    judge: Classifier,
    encoders: Sequence[Encoder | str],
    *,
    floor_repeats: int,
    seed: int,
    morphology: bool = False,
) -> dict[str, Any]:
    """How good one generator's accepted cells are, each figure by cells and nets of its own.

    Args:
        synthetic: Its accepted cells.
        split: The real cells.
        judge: A classifier that saw the training cells and took no part in making the synthetic.
        encoders: Encoders for the fidelity figures; a string says why one is missing.
        floor_repeats: Halvings of the reference behind each floor.
        seed: Of the halvings.
        morphology: Measure nuclei, too; X-rays have none.

    Returns:
        `fidelity` (a list; a missing encoder gives `{"name": "FID", "reason": …}`),
        `near_copies` (in features by the first encoder that is there), `agreement`, and `morphology`
        where it is asked for, of the classes that have synthetic cells.
    """
    known = [encoder for encoder in encoders if not isinstance(encoder, str)]
    return {
        "fidelity": [
            {"name": "FID", "reason": encoder}
            if isinstance(encoder, str)
            else fidelity(split.test, synthetic, encoder, floor_repeats=floor_repeats, seed=seed)
            for encoder in encoders
        ],
        "near_copies": near_copies(
            synthetic, split.train, split.test, encoder=known[0] if known else None, seed=seed
        ),
        "agreement": label_agreement(synthetic, judge, split.test),
        **({"morphology": _morphology(split.test, synthetic, floor_repeats, seed)} if morphology else {}),
    }


def _morphology(real: CellSet, synthetic: CellSet, floor_repeats: int, seed: int) -> dict[str, Any]:
    """Of the classes that have synthetic cells: the others' real ones would be measured for nothing."""
    made = np.isin(real.labels, synthetic.labels)
    return morphology_match(
        real.subset(np.flatnonzero(made)), synthetic, floor_repeats=floor_repeats, seed=seed
    )


def save_strips(
    folder: Path, split: Split, made: Mapping[str, CellSet], wanted: Mapping[str, int]
) -> dict[str, dict[str, str]]:
    """Strips of real test cells and of each generator's, for every class that got cells.

    Args:
        folder: Where the pictures go.
        split: The real cells.
        made: The accepted cells of each kind of generator.
        wanted: The classes that got cells.

    Returns:
        `{class: {"real" or kind: file name}}`, names relative to `folder`.
    """
    sets = {"real": split.test, **made}
    shown: dict[str, dict[str, str]] = {}
    for cls in wanted:
        for source, cells in sets.items():
            pixels = cells.of_class(cls).pixels[:SHOWN]
            if len(pixels):
                name = f"{source}-{cls}.png".replace(" ", "_").replace("/", "_")
                write_bytes(folder / name, strip(pixels, SHOWN))
                shown.setdefault(cls, {})[source] = name
    return shown


def save_pairs(
    folder: Path, kind: str, synthetic: CellSet, train: CellSet, copies: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The synthetic cells nearest to a training cell, each with that cell.

    Args:
        folder: Where the pictures go.
        kind: The generator's name, for the files' names.
        synthetic: Its accepted cells.
        train: The training cells.
        copies: As `evaluation.copies.memorization.near_copies` returns it.

    Returns:
        One dict a pair: `synthetic` and `training` (file names), `class`, `distance`, `copy`.
    """
    pairs = []
    for rank, found in enumerate(copies["worst"][:PAIRS]):
        one = {"class": synthetic.classes[int(synthetic.labels[found["synthetic_index"]])]}
        for side, cells in (("synthetic", synthetic), ("training", train)):
            name = f"copy-{kind}-{rank}-{side}.png"
            index = found[f"{'synthetic' if side == 'synthetic' else 'train'}_index"]
            write_bytes(folder / name, strip(cells.pixels[[index]], 1))
            one[side] = name
        pairs.append({**one, "distance": float(found["distance"]), "copy": bool(found["copy"])})
    return pairs


def overall(record: Mapping[str, Any]) -> dict[str, float]:
    """The headline figures of one generator: `{"near_copies", "agreement", metric: value}`."""
    figures = {
        f"{part['fingerprint']['encoder']}: {metric}": found["value"]
        for part in record["fidelity"]
        for metric, found in part.get("overall", {}).items()
        if "value" in found
    }
    shares = {name: record[name]["share"] for name in ("near_copies", "agreement")}
    known = {name: value for name, value in {**shares, **figures}.items() if value is not None}
    return {name: float(np.round(value, 6)) for name, value in known.items()}
