"""Read a source, split it, and write it as plain folders of PNGs with an audit.

    python scripts/prepare.py source=pbc root=DIR out=DIR [image_size=128] [crop=200]

Other commands read the result with data.kind=split_folder data.root=OUT.
"""

import argparse
from pathlib import Path

from pydantic import Field

from cells.audit import audit, page
from cells.card import About
from cells.sources import CREDITS, DataSettings, load
from cells.split import SIDES, Split, SplitSettings, divide
from cells.writing import write_tree
from runtime.command import run_command, take, take_required, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError
from runtime.rundir import RunDir, read_json, write_json, write_text

TREES = ("folder", "split_folder", "pbc")
TREE_SIZE = 128


class PrepareSettings(Settings):
    """What to read, and how to divide it."""

    data: DataSettings
    split: SplitSettings = Field(default_factory=SplitSettings)
    parquet: bool = False


def main(arguments: argparse.Namespace) -> None:
    """Prepare the source that the arguments name."""
    out, rest = take_required(arguments.words, "out", "data/pbc")
    source, rest = take_required(rest, "source", "pbc")
    settings = load_config(PrepareSettings, None, _words(source, rest))
    cells = load(settings.data)
    split = divide(cells, settings.split)
    with RunDir(Path(out), to_dict(settings)) as run:
        if _is_done(run.path, split):
            print(f"{run.path}: already holds this split ({split.digest}); nothing to do.")
            return
        parts = {side: getattr(split, side) for side in SIDES}
        write_tree(parts, run.path, About(**vars(CREDITS[settings.data.kind])), settings.parquet)
        facts = audit(cells, split, settings.data)
        write_text(run.path / "audit.html", page(facts, split))
        write_json(run.path / "audit.json", facts)  # last: its presence says that all is written
    print(f"{out}: {facts['kept']} cells of {len(cells.classes)} classes, split {split.digest}.")
    print(f"Look at {Path(out) / 'audit.html'}; use it with data.kind=split_folder data.root={out}.")


def _words(source: str, rest: list[str]) -> list[str]:
    """`root=DIR` is short for `data.root=DIR`; `split.*` stays."""
    size, _ = take(rest, "image_size")
    words = [f"data.kind={source}"]
    if size is None and source in TREES:
        words.append(f"data.image_size={TREE_SIZE}")
    return words + [
        word if word.startswith(("data.", "split.", "parquet=")) else f"data.{word}" for word in rest
    ]


def _is_done(out: Path, split: Split) -> bool:
    """True if `out` holds this very split; another one there is an error."""
    if not (out / "audit.json").is_file():
        return False
    before = read_json(out / "audit.json").get("split_digest")
    if before != split.digest:
        raise InputError(
            f"{out}: holds split {before} of the same source, whose images have changed since "
            f"(now {split.digest}); choose another out=."
        )
    return all((out / side / "metadata.jsonl").is_file() for side in SIDES)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(
        __doc__,
        "key=value",
        "source=phantom|folder|split_folder|pbc|medmnist, out=DIR, keys of the source "
        "(root=, image_size=, crop=, classes=, group=, name=, seed=) and of the split "
        "(split.fractions=[0.7,0.15,0.15], split.seed=0, split.leaks=refuse|drop), "
        "and parquet=true to also write each side as one file, cells.parquet",
    )


if __name__ == "__main__":
    run_command(main, parser())
