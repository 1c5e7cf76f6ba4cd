"""Our figures on Inception features beside those of torch-fidelity's command line, on the same files.

Both read the same PNG files and the same weights file. The weights are random, with batch norms that fit
phantoms: the published ones cannot be had everywhere, and agreement does not depend on what they are.

    python benchmarks/command_line.py out=results/command_line
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from benchmarks.random_inception import random_weights
from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.features.encoders import InceptionSettings, build_encoder
from evaluation.quality.fidelity import SCORE_MINIMUM, fidelity
from evaluation.scores.folders import read_folder
from evaluation.scores.suite import EvaluateSettings, evaluate_folders
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.rundir import write_json, write_text

PIECE = 9  # cells at a time, for the other batch size
KEYS = {
    "FID": "frechet_inception_distance",
    "KID": "kernel_inception_distance_mean",
    "inception score": "inception_score_mean",
    "precision": "precision",
    "recall": "recall",
}


class CommandLineSettings(Settings):
    """What is compared.

    Attributes:
        count: Images a side; an inception score needs 100.
        edge: Their edge in pixels.
        out: Folder of the results.
    """

    count: int = Field(100, ge=SCORE_MINIMUM)
    edge: int = Field(64, ge=28)
    out: Path


class InPieces:
    """An encoder that is asked for a few cells at a time."""

    def __init__(self, path: Path, cache: Path) -> None:
        self.encoder = build_encoder(InceptionSettings(path=path), cache=cache)
        self.name, self.fingerprint = self.encoder.name, self.encoder.fingerprint

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, 2048)."""
        parts = [np.arange(start, min(start + PIECE, len(cells))) for start in range(0, len(cells), PIECE)]
        return np.concatenate([self.encoder.encode(cells.subset(part)) for part in parts])


def main(arguments: argparse.Namespace) -> None:
    """Write both sides, score them three times, compare."""
    settings = load_config(CommandLineSettings, None, arguments.words)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        real, made = (_written(folder / name, settings, seed) for name, seed in (("real", 1), ("made", 2)))
        weights = random_weights(folder / "weights.pth", 4, settings.edge)
        theirs = _command_line(made, real, weights, settings.count)
        found = evaluate_folders(
            EvaluateSettings(
                real=real, synthetic=made, encoder=InceptionSettings(path=weights), labels=False
            ),
            folder / "cache",
        )["fidelity"]
        reference, synthetic = (read_folder(side, settings.edge, folder / "packed") for side in (real, made))
        pieces = fidelity(reference, synthetic, InPieces(weights, folder / "pieces"))
    rows = [
        {"metric": name, "torch-fidelity": theirs[key], "rarecell": _figure(found, name)}
        for name, key in KEYS.items()
    ]
    rows.append(
        {
            "metric": f"FID, {PIECE} cells at a time",
            "torch-fidelity": theirs[KEYS["FID"]],
            "rarecell": pieces["overall"]["frechet"]["value"],
        }
    )
    _save(rows, settings)


def _figure(found: dict[str, Any], name: str) -> float:
    if name == "inception score":
        return float(found["inception_score"]["value"])
    return float(found["overall"][{"FID": "frechet", "KID": "kid"}.get(name, name)]["value"])


def _written(root: Path, settings: CommandLineSettings, seed: int) -> Path:
    """Phantoms as PNG files in one folder; those of seed 2 a little darker."""
    each = -(-settings.count // len(CLASSES))
    pixels = phantoms(dict.fromkeys(CLASSES, each), settings.edge, seed).pixels[: settings.count]
    root.mkdir()
    for i, image in enumerate(pixels):
        shown = image if seed == 1 else (image * 0.9).astype(np.uint8)
        Image.fromarray(shown).save(root / f"{i:05d}.png")
    return root


def _command_line(made: Path, real: Path, weights: Path, count: int) -> dict[str, float]:
    """torch-fidelity's own program; KID as one subset of all images, which is its exact estimate."""
    words = ["fidelity", "--cpu", "--json", "--silent", "--no-cache", "--fid", "--kid", "--isc", "--prc"]
    words += ["--kid-subsets", "1", "--kid-subset-size", str(count)]
    words += ["--feature-extractor", "inception-v3-compat"]  # precision and recall take VGG-16 by default
    words += ["--feature-extractor-weights-path", str(weights), "--input1", str(made), "--input2", str(real)]
    program = Path(sys.executable).parent / words[0]
    done = subprocess.run([str(program), *words[1:]], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _save(rows: list[dict[str, Any]], settings: CommandLineSettings) -> None:
    lines = ["| figure | torch-fidelity | rarecell | relative difference |", "|---|---:|---:|---:|"]
    for row in rows:
        theirs, ours = row["torch-fidelity"], row["rarecell"]
        row["relative"] = abs(ours - theirs) / abs(theirs) if theirs else abs(ours)
        lines.append(f"| {row['metric']} | {theirs:.8g} | {ours:.8g} | {row['relative']:.1e} |")
    settings.out.mkdir(parents=True, exist_ok=True)
    write_json(settings.out / "command_line.json", {"count": settings.count, "rows": rows})
    write_text(settings.out / "command_line.md", "\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "key=value", "out=DIR, count=100, edge=64"))
