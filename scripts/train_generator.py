"""Train a generator on the training split of a source.

    uv run scripts/train_generator.py configs/diffusion_pbc.yaml data.root=DIR out=results/diffusion
    uv run scripts/train_generator.py configs/gan_pbc.yaml data.root=DIR generator.steps=2000

Leaves the generator, its card and a grid of samples in OUT/model, which can be uploaded to Hugging
Face as it is, and the log, checkpoints and grids of the training beside it. Interrupted, it goes on
when the same command is run again.

generator.start_from=DIR starts from a saved model (docs/adapting.md). monitor.every=N looks every N
steps at the validation cells and keeps the best moment; the last one is then in OUT/last.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import Field

from cells.preprocessing import preprocessed
from cells.sources import Credit, DataSettings, credit_of
from cells.sources import load as load_cells
from cells.split import Split, SplitSettings, divide
from cells.steps import Steps
from evaluation.studies.monitor import MonitorSettings, own_watch
from generators import DiffusionSettings, GeneratorSettings, RepeatSettings, SmoteSettings, build
from generators.card import write_model_card
from generators.choosing import Watch
from generators.grids import write_grid
from generators.training import make_descent
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
        monitor: How the training is watched on the validation side, and which moment is kept; null keeps
            the last step.
        seed: Of initialization and training.
        licence: Of the training cells, for the card; null for what is known of the source.
        citation: Whom to cite for them; likewise.
    """

    data: DataSettings
    split: SplitSettings = Field(default_factory=SplitSettings)
    preprocess: Steps = ()
    generator: GeneratorSettings = Field(default_factory=DiffusionSettings)
    monitor: MonitorSettings | None = None
    seed: int = 0
    licence: str | None = None
    citation: str | None = None

    @property
    def credit(self) -> Credit:
        """Licence and citation: as given, else as known of the source."""
        known = credit_of(self.data)
        return Credit(self.licence or known.licence, self.citation or known.citation)


def main(arguments: argparse.Namespace) -> None:
    """Train the generator that a config describes."""
    paths, overrides = split_arguments(arguments.words)
    if len(paths) != 1:
        raise InputError("name one config, e.g. configs/diffusion_pbc.yaml; settings are written key=value.")
    out, overrides = take(overrides, "out")
    folder = Path(out or Path("results") / paths[0].stem)
    settings = load_config(TrainGeneratorSettings, paths[0], overrides)
    split = preprocessed(divide(load_cells(settings.data), settings.split), settings.preprocess)
    for notice in split.leaks_dropped:
        print(notice)
    train = split.train
    generator = build(settings.generator, train.classes, train.image_size, settings.seed)
    with RunDir(folder, to_dict(settings)) as run:
        generator.fit(train, run, _watch(settings, split, run))
        if not run.writes:  # of several processes the first one does
            return
        if split.preprocessing is not None:
            split.preprocessing.save(run.path / "model")
            for notice in split.preprocessing.notices:
                print(f"WARNING: {notice}")
        write_grid(generator, run.path / "model" / "samples" / "grid.png", columns=8)
        start = getattr(settings.generator, "start_from", None)
        write_model_card(generator, settings.credit, run.path / "model", start)
    print(f"trained on {len(train)} cells; the generator is in {folder / 'model'}")


def _watch(settings: TrainGeneratorSettings, split: Split, run: RunDir) -> Watch | None:
    """What looks at the training."""
    if settings.monitor is None:
        return None
    if isinstance(settings.generator, RepeatSettings | SmoteSettings):
        kind = settings.generator.kind
        raise InputError(f"monitor: {kind} does not train, so there is nothing to watch; set it to null.")
    start, nets = settings.generator.start_from, run.path / "nets"
    with make_descent(settings.generator).accelerator.main_process_first():  # the others read its networks
        return own_watch(settings.monitor, split.train, split.val, settings.seed, nets, start)


if __name__ == "__main__":
    run_command(
        main, words_parser(__doc__, "CONFIG [out=DIR] [key=value ...]", "the config, and changes to it")
    )
