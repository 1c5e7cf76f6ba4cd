"""Draw synthetic cells with a trained generator.

    uv run scripts/synthesize.py generator=results/gan out=synthetic counts.basophil=500
    uv run scripts/synthesize.py generator=results/gan out=synthetic balance=fill cells=DIR

`counts.CLASS=N` says how many of each class; or `balance=fill` (or a ratio such as 0.2) fills the
training cells of `cells=DIR`, a saved set or a folder tree, up to the largest class (or up to that
share of it). Written out that is balance.to=fill, beside which balance.max_share=0.8 and its like
hold it back. dry_run=true prints the plan and how long it would take, and writes nothing.

The set opens with torchvision's ImageFolder and Hugging Face's imagefolder as it is, and with
parquet=true as one file, cells.parquet, too; metadata.jsonl records for each image how to make it
again. Started again after an interruption, the command begins anew.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator
from rich.console import Console
from rich.markup import escape

from cells.balance import BalancePlan, BalanceSettings, ClassPlan, plan_balance
from cells.cellset import CellSet
from cells.preprocessing import Preprocessing
from cells.sources import FolderData, SplitFolderData
from cells.sources import load as load_cells
from cells.writing import is_unfinished, write_set
from evaluation.studies.dry_run import plan_table, synthesis_time
from generators import Generator
from generators import load as load_generator
from generators.card import about_set
from generators.synthesize import check_quotas, synthesize
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.errors import InputError


class SynthesizeSettings(Settings):
    """What to draw.

    Attributes:
        generator: Directory of a trained generator.
        out: Directory of the new set; must not exist, or be empty.
        counts: Synthetic cells per class.
        balance: Instead of counts: a word or a ratio, or all of `cells.balance.BalanceSettings`.
        cells: With balance: the training cells to fill.
        seed: Another seed, other images.
        parquet: Also write the set as one file, cells.parquet.
        dry_run: Print the plan and the time that it would take, and write nothing.
    """

    generator: Path
    out: Path
    counts: dict[str, int] = Field(default_factory=dict)
    balance: BalanceSettings | None = None
    cells: Path | None = None
    seed: int = 0
    parquet: bool = False
    dry_run: bool = False

    @field_validator("balance", mode="before")
    @classmethod
    def _in_short(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str | int | float) else value


def main(arguments: argparse.Namespace) -> None:
    """Draw the set that the arguments describe."""
    settings = load_config(SynthesizeSettings, None, arguments.words)
    if not settings.dry_run:
        _check_free(settings.out)
    generator = load_generator(settings.generator)
    record = generator.record
    assert record is not None, "a loaded generator knows its cells"
    plan = _plan(settings, generator)
    if settings.dry_run:
        whose = settings.cells if settings.balance else f"those that {settings.generator} has seen"
        Console().print(plan_table(plan, f"Training cells ({escape(str(whose))}), and synthetic ones to add"))
        print(synthesis_time(generator, plan.quotas))
        return
    drawn = synthesize(generator, plan.quotas, settings.seed, settings.generator.name, record.split_digest)
    about = about_set(generator, settings.generator, settings.seed)
    done = generator_preprocessing(settings.generator)  # so that evaluation does the same to real images
    write_set(drawn, settings.out, about, settings.parquet, preprocessing=done)
    print(f"drew {len(drawn)} cells: {settings.out}")


def generator_preprocessing(folder: Path) -> Preprocessing | None:
    """What the training cells of a saved generator went through; None for nothing."""
    return Preprocessing.load(folder) or Preprocessing.load(folder / "model")


def _check_free(out: Path) -> None:
    if is_unfinished(out):
        return  # the same command, started again
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: exists and is not empty; nothing was overwritten, choose another out=.")


def _plan(settings: SynthesizeSettings, generator: Generator) -> BalancePlan:
    """Cells per class, from counts or from the shortfall of a set."""
    if bool(settings.counts) == (settings.balance is not None):
        raise InputError("say how many: either counts.CLASS=N, or balance=fill with cells=DIR.")
    if settings.balance is None:
        return _counted(settings.counts, generator)
    if settings.cells is None:
        raise InputError(
            "'cells=' is missing: balance fills the training cells of a folder, e.g. cells=data."
        )
    plan = plan_balance(_training_cells(settings.cells, generator), settings.balance)
    if not plan.quotas:
        raise InputError(f"{settings.cells}: no class is short of cells at balance.to={settings.balance.to}.")
    return plan


def _counted(counts: dict[str, int], generator: Generator) -> BalancePlan:
    """The counts, beside the cells that the generator was trained on."""
    check_quotas(generator, counts)
    assert generator.record is not None, "a loaded generator knows its cells"
    seen = generator.record.counts
    rows = [ClassPlan(c, seen[c], seen[c] + counts.get(c, 0), counts.get(c, 0)) for c in generator.classes]
    return BalancePlan(tuple(rows))


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
            __doc__,
            "key=value",
            "generator=, out=, counts.CLASS= or balance= and cells=, seed=, parquet=, dry_run=",
        ),
    )
