"""How varied, and how true to its class, is what the GAN draws of the phantom cells?

    python benchmarks/gan_variety.py [out=DIR] [seed=0] [generator.key=value ...]

Trains the quickstart's GAN once with the given changes and prints a row per class: spread of its
samples as a share of the training cells' (1: as varied), and how many a judge recognizes. The judge
has seen other phantoms. Finished trainings are read from OUT.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from cells.sources import PhantomData
from cells.sources import load as load_cells
from cells.split import SplitSettings, divide
from classifiers.training import Classifier, ClassifierSettings
from evaluation.quality.metrics import coverage
from generators import GanSettings, Generator, build
from generators.grids import write_grid
from generators.protocol import as_tensor
from runtime.command import run_command, take, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.rundir import RunDir, write_json

DRAWN = 100  # samples per class
SIZE = 32
QUICKSTART = ("generator.steps=900", "generator.grid_every=450", "generator.checkpoint_every=450")


class VarietySettings(Settings):
    """The quickstart's GAN on its phantoms."""

    seed: int = 0
    generator: GanSettings = GanSettings()


def spread(images: Tensor, pairs: int = 2000) -> float:
    """Mean distance of two different images, pooled to 8×8; in units of [-1, 1] images."""
    small = functional.adaptive_avg_pool2d(images.float() / 127.5 - 1, 8)
    draws = torch.Generator().manual_seed(1)
    one = torch.randint(len(small), (pairs,), generator=draws)
    other = (one + torch.randint(1, len(small), (pairs,), generator=draws)) % len(small)
    return float((small[one] - small[other]).abs().mean())


def judged(sets: list[CellSet]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Class that a judge gives each cell of some sets, and its features."""
    seen = phantoms(dict.fromkeys(CLASSES, 300), SIZE, seed=9001)
    judge = Classifier(CLASSES, ClassifierSettings(network="fast", steps=500, batch=64))
    judge.fit(seen, seed=1)
    return [judge.predict(cells) for cells in sets], [judge.features(cells) for cells in sets]


def trained(settings: VarietySettings, train: CellSet, folder: Path) -> Generator:
    """Train, or read what was trained."""
    generator = build(settings.generator, train.classes, SIZE, settings.seed)
    with RunDir(folder, to_dict(settings)) as run:
        generator.fit(train, run)
        write_grid(generator, run.path / "grid.png", columns=12)
    return generator


def measure(generator: Generator, train: CellSet) -> dict[str, dict[str, float]]:
    """Figures of each class: samples beside the training cells and beside fresh phantoms."""
    labels = torch.arange(len(CLASSES)).repeat_interleave(DRAWN)
    images = generator.sample(labels, torch.arange(len(labels)) + 10**6)
    pixels = images.permute(0, 2, 3, 1).numpy()
    drawn = CellSet.from_arrays(pixels, labels.numpy(), CLASSES, origin="synthetic")
    fresh = phantoms(dict.fromkeys(CLASSES, DRAWN), SIZE, seed=9002)
    (found, real), (features, real_features) = judged([drawn, fresh])
    cells, own_class = as_tensor(train)
    rows = {}
    for label, name in enumerate(CLASSES):
        own, other = labels.numpy() == label, fresh.labels == label
        rows[name] = {
            "training": int((own_class == label).sum()),
            "spread": spread(images[own]) / spread(cells[own_class == label]),
            "agreement": float((found[own] == label).mean()),
            "ceiling": float((real[other] == label).mean()),
            "coverage": coverage(real_features[other], features[own]),
        }
    return rows


def main(arguments: argparse.Namespace) -> None:
    """Print a row per class, and their means."""
    out, rest = take(arguments.words, "out")
    settings = load_config(VarietySettings, None, [*QUICKSTART, *rest])
    train = divide(load_cells(PhantomData(image_size=SIZE)), SplitSettings()).train
    folder = Path(out or "results/gan_variety")
    rows = measure(trained(settings, train, folder), train)
    write_json(folder / "variety.json", rows)
    print("\n".join(table(rows)))


def table(rows: dict[str, dict[str, float]]) -> list[str]:
    """A row per class, and their means."""
    columns = list(next(iter(rows.values())))
    means = {column: float(np.mean([row[column] for row in rows.values()])) for column in columns}
    lines = ["| class | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for name, row in {**rows, "mean": means}.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[column]:.2f}" for column in columns) + " |")
    return lines


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "[out=DIR] [seed=N] [generator.key=value ...]", "changes"))
