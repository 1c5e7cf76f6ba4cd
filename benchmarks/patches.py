"""What the diffusion model's 2x2 patches save: training speed beside the same model on pixels.

    python benchmarks/patches.py [image_size=32] [rounds=5]

Alternates short trainings of both on drawn phantoms and prints images per second and their ratio.
The patched model is the quickstart's, the other the default: nearly as many weights.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

from pydantic import Field

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from generators.diffusion import Diffusion, DiffusionSettings
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.devices import prepare_processor

STEPS, BATCH = 20, 16
MODELS = {
    "pixels": DiffusionSettings(steps=STEPS, batch=BATCH),
    "patches": DiffusionSettings(steps=STEPS, batch=BATCH, patch=2, channels=(48, 96, 128)),
}


class PatchesSettings(Settings):
    """How large and how often."""

    image_size: int = Field(32, ge=16)
    rounds: int = Field(5, ge=1)


def trainer(settings: DiffusionSettings, cells: CellSet) -> Callable[[], float]:
    """A function that goes on training and returns images per second."""
    made = Diffusion(settings, cells.classes, cells.image_size)._trainer(cells)
    made.step(0)  # memory is laid out in the first step

    def measure() -> float:
        started = time.perf_counter()
        for step in range(1, STEPS):
            made.step(step)
        return BATCH * (STEPS - 1) / (time.perf_counter() - started)

    return measure


def main(arguments: argparse.Namespace) -> None:
    """Measure both in turns."""
    settings = load_config(PatchesSettings, None, arguments.words)
    prepare_processor()
    cells = phantoms(dict.fromkeys(CLASSES, 20), settings.image_size, seed=0, split="train")
    measures = {name: trainer(model, cells) for name, model in MODELS.items()}
    speeds: dict[str, list[float]] = {name: [] for name in MODELS}
    for _ in range(settings.rounds):
        for name, measure in measures.items():
            speeds[name].append(measure())
    for name, found in speeds.items():
        print(f"{name}: {median(found):.0f} images/s of {settings.image_size} px (median of {len(found)})")
    ratios = [fast / slow for fast, slow in zip(speeds["patches"], speeds["pixels"], strict=True)]
    print(f"ratio: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "image_size=32 and rounds=5")


if __name__ == "__main__":
    run_command(main, parser())
