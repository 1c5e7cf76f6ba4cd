"""Train a generator on the training split of a source.

    python scripts/train_generator.py configs/diffusion_pbc.yaml data.root=DIR out=results/diffusion
    python scripts/train_generator.py configs/gan_pbc.yaml data.root=DIR generator.steps=2000

Leaves the generator, its card and a grid of samples in OUT/model, and the log, checkpoints and
grids of the training beside it. Interrupted, it goes on when the same command is run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import Field

from cells.preprocessing import preprocessed
from cells.sources import DataSettings, credit_of
from cells.sources import load as load_cells
from cells.split import SplitSettings, divide
from cells.steps import Steps
from generators import DiffusionSettings, GeneratorSettings, build
from generators.card import write_model_card
from generators.training import write_grid
from runtime.command import run_command, split_arguments, take, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError
from runtime.rundir import RunDir


class TrainGeneratorSettings(Settings):
    """What to train on what.

    Attributes:
        data: The source of cells.
        split: How to divide it; the generator sees the training side only.
        preprocess: Steps that the images go through first, fitted to the training side.
        generator: Kind and settings.
        seed: Of initialization and training.
    """

    data: DataSettings
    split: SplitSettings = Field(default_factory=SplitSettings)
    preprocess: Steps = ()
    generator: GeneratorSettings = Field(default_factory=DiffusionSettings)
    seed: int = 0


def main(arguments: argparse.Namespace) -> None:
    """Train the generator that a config describes."""
    paths, overrides = split_arguments(arguments.words)
    if len(paths) != 1:
        raise InputError("name one config, e.g. configs/diffusion_pbc.yaml; settings are written key=value.")
    out, overrides = take(overrides, "out")
    folder = Path(out or Path("results") / paths[0].stem)
    settings = load_config(TrainGeneratorSettings, paths[0], overrides)
    split = preprocessed(divide(load_cells(settings.data), settings.split), settings.preprocess)
    train = split.train
    generator = build(settings.generator, train.classes, train.image_size, settings.seed)
    with RunDir(folder, to_dict(settings)) as run:
        generator.fit(train, run)
        if not run.writes:  # of several processes the first one does
            return
        if split.preprocessing is not None:
            split.preprocessing.save(run.path / "model")
            for notice in split.preprocessing.notices:
                print(f"WARNING: {notice}")
        write_model_card(generator, credit_of(settings.data), run.path / "model")
        write_grid(generator, run.path / "model" / "samples" / "grid.png", columns=8)
    print(f"trained on {len(train)} cells; the generator is in {folder / 'model'}")


if __name__ == "__main__":
    run_command(
        main, words_parser(__doc__, "CONFIG [out=DIR] [key=value ...]", "the config, and changes to it")
    )
