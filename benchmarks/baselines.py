"""What careful training without synthetic cells reaches: the bar that a generator must clear.

    python benchmarks/baselines.py data.root=DIR [out=DIR] [seeds=3] [strategies=[real]] [key=value]

Trains the strategies that need no generator (all words, or joined ones that are named), several seeds
each, on long-tailed PBC cells at 28 px, and prints a table. The same command goes on where it was stopped.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from cells.sources import DataSettings, SplitFolderData, load
from cells.split import Split, SplitSettings, divide
from classifiers.training import Classifier, ClassifierSettings
from evaluation.gains.gain import scores
from evaluation.studies.strategies import STRATEGIES, strategy_of
from runtime.command import run_command, take, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.rundir import RunDir, read_json, write_json, write_text

PLAIN = tuple(
    name
    for name, strategy in STRATEGIES.items()
    if strategy.generator is None and "weights" not in strategy.training  # those would be downloaded
)
COLUMNS = ("balanced_accuracy", "mean_rare_recall", "macro_f1", "accuracy")


class BaselineSettings(Settings):
    """What to train, and on what."""

    data: DataSettings = SplitFolderData(root=Path("data/pbc-lt-128"), image_size=28)
    split: SplitSettings = SplitSettings(leaks="drop")  # one cell is in train and in test
    rare: tuple[str, ...] = ("basophil", "lymphocyte", "monocyte")
    strategies: tuple[str, ...] = PLAIN
    seeds: int = Field(3, ge=1)
    classifier: ClassifierSettings = ClassifierSettings(network="small_resnet", width=16)

    @field_validator("strategies")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if strategy_of(name).generator is not None:
                raise ValueError(f"'{name}' needs a generator; here are strategies without one")
        return names


def main(arguments: argparse.Namespace) -> None:
    """Train what is left, then print and write the table."""
    out, rest = take(arguments.words, "out")
    settings = load_config(BaselineSettings, None, ["data.kind=split_folder", *_sized(rest)])
    split = divide(load(settings.data), settings.split)
    fixed = to_dict(settings.model_copy(update={"seeds": 1, "strategies": ()}))  # may grow later
    with RunDir(Path(out or "results/baselines"), fixed) as run:
        rows = {
            name: [trial(settings, split, run.path, name, seed) for seed in range(settings.seeds)]
            for name in settings.strategies
        }
        table = "\n".join(lines(rows)) + "\n"
        write_text(run.path / "table.md", table)
    print(table, end="")


def _sized(words: list[str]) -> list[str]:
    named = any(word.startswith("data.image_size=") for word in words)
    return words if named else ["data.image_size=28", *words]


def trial(settings: BaselineSettings, split: Split, folder: Path, name: str, seed: int) -> dict[str, Any]:
    """Scores of one training on the test cells; read where it was done before."""
    path = folder / name / f"seed-{seed}.json"
    if not path.exists():
        begun = time.monotonic()
        recipe = settings.classifier.model_copy(update=dict(strategy_of(name).training))
        net = Classifier(split.train.classes, recipe)
        net.fit(split.train, seed=seed, val=split.val, description=f"{name} seed {seed}")
        on_val, found = (
            scores(cells.labels, net.probabilities(cells), net.classes, settings.rare)
            for cells in (split.val, split.test)
        )
        seconds = round(time.monotonic() - begun, 1)
        write_json(path, {**found, "validation": on_val, "seconds": seconds})
    found = read_json(path)
    print(f"{name} seed {seed}: {found['balanced_accuracy']:.3f} in {found['seconds']:.0f} s")
    return dict(found)


def lines(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A Markdown table: mean over seeds and, in brackets, the smallest and the largest."""
    heads = ["strategy", "seeds", *(column.replace("_", " ") for column in COLUMNS), "seconds"]
    table = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for name, found in rows.items():
        cells = [name, str(len(found))]
        for column in COLUMNS:
            values = [row[column] for row in found]
            cells.append(f"{np.mean(values):.3f} ({min(values):.3f}–{max(values):.3f})")
        cells.append(f"{np.median([row['seconds'] for row in found]):.0f}")
        table.append("| " + " | ".join(cells) + " |")
    return table


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(
        __doc__,
        "key=value",
        "data.root=DIR, out=DIR (results/baselines), seeds=3, strategies=[real,balanced], "
        "classifier.network=fast, and any other key of data, split and classifier",
    )


if __name__ == "__main__":
    run_command(main, parser())
