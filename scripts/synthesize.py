"""Draw synthetic cells with a trained generator.

    python scripts/synthesize.py generator=results/gan out=synthetic counts.basophil=500
    python scripts/synthesize.py generator=results/gan out=synthetic balance=fill cells=DIR

`counts.CLASS=N` says how many of each class; or `balance=fill` (or a ratio such as 0.2) fills the
training cells of `cells=DIR`, a saved set or a folder tree, up to the largest class (or up to that
share of it). The set opens with torchvision's ImageFolder and Hugging Face's imagefolder as it is, and
with parquet=true as one file, cells.parquet, too; metadata.jsonl records for each image how to make it
again. Started again after an interruption, the command begins anew.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from cells.balance import BalanceSettings, quotas
from cells.cellset import CellSet
from cells.preprocessing import Preprocessing
from cells.sources import FolderData, SplitFolderData
from cells.sources import load as load_cells
from cells.writing import is_unfinished
from generators import Generator
from generators import load as load_generator
from generators.card import about_set
from generators.synthesize import synthesize
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.errors import InputError


class SynthesizeSettings(Settings):
    """What to draw.

    Attributes:
        generator: Directory of a trained generator.
        out: Directory of the new set; must not exist, or be empty.
        counts: Synthetic cells per class.
        balance: Instead of counts: `fill` or a ratio in (0, 1].
        cells: With balance: the training cells to fill.
        seed: Another seed, other images.
        parquet: Also write the set as one file, cells.parquet.
    """

    generator: Path
    out: Path
    counts: dict[str, int] = Field(default_factory=dict)
    balance: Literal["fill"] | float | None = None
    cells: Path | None = None
    seed: int = 0
    parquet: bool = False


def main(arguments: argparse.Namespace) -> None:
    """Draw the set that the arguments describe."""
    settings = load_config(SynthesizeSettings, None, arguments.words)
    _check_free(settings.out)
    generator = load_generator(settings.generator)
    record = generator.record
    assert record is not None, "a loaded generator knows its cells"
    wanted = _wanted(settings, generator)
    drawn = synthesize(generator, wanted, settings.seed, settings.generator.name, record.split_digest)
    about = about_set(generator, settings.generator, settings.seed)
    drawn.save(settings.out, about, settings.parquet)
    if done := generator_preprocessing(settings.generator):
        done.save(settings.out)  # so that evaluation does the same to real images
    print(f"drew {len(drawn)} cells: {settings.out}")


def generator_preprocessing(folder: Path) -> Preprocessing | None:
    """What the training cells of a saved generator went through; None for nothing."""
    return Preprocessing.load(folder) or Preprocessing.load(folder / "model")


def _check_free(out: Path) -> None:
    if is_unfinished(out):
        return  # the same command, started again
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; nothing was overwritten, choose another out=.")


def _wanted(settings: SynthesizeSettings, generator: Generator) -> Mapping[str, int]:
    """Cells per class, from counts or from the shortfall of a set."""
    if bool(settings.counts) == (settings.balance is not None):
        raise InputError("say how many: either counts.CLASS=N, or balance=fill with cells=DIR.")
    if settings.balance is None:
        return settings.counts
    if settings.cells is None:
        raise InputError(
            "'cells=' is missing: balance fills the training cells of a folder, e.g. cells=data."
        )
    balance = load_config(BalanceSettings, None, [f"to={settings.balance}"])
    wanted = quotas(_training_cells(settings.cells, generator), balance)
    if not wanted:
        raise InputError(f"{settings.cells}: no class is short of cells at balance={settings.balance}.")
    return wanted


def _training_cells(root: Path, generator: Generator) -> CellSet:
    """The real training cells of a saved set, a split tree or a plain one."""
    kind = SplitFolderData if (root / "train").is_dir() else FolderData
    cells = load_cells(kind(root=root, image_size=generator.image_size))
    if any(cells.splits):
        cells = cells.subset(cells.splits == "train")
    return cells.subset(~cells.is_synthetic)


if __name__ == "__main__":
    run_command(
        main,
        words_parser(
            __doc__, "key=value", "generator=, out=, counts.CLASS= or balance= and cells=, seed=, parquet="
        ),
    )
