"""Read a source, split it, and write it as plain folders of PNGs with an audit.

    python scripts/prepare.py source=pbc root=DIR out=DIR [image_size=128] [crop=200]

A pre-made split that shares an image or a group between its sides is refused, and the audit shows
why. Other commands read the result with data.kind=split_folder data.root=OUT.
"""

import argparse
from pathlib import Path
from typing import Any

from pydantic import Field

from cells.audit import Audited, audit, page
from cells.card import About
from cells.duplicates import near_duplicates
from cells.preprocessing import preprocessed
from cells.sources import CREDITS, TREE_KINDS, DataSettings, located, read
from cells.split import SIDES, LeakError, Split, SplitSettings, divide
from cells.steps import Steps
from cells.writing import write_tree
from runtime.command import run_command, take, take_required, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError
from runtime.rundir import RunDir, read_json, write_json, write_text

TREE_SIZE = 128


class PrepareSettings(Settings):
    """What to read, and how to divide it."""

    data: DataSettings
    split: SplitSettings = Field(default_factory=SplitSettings)
    preprocess: Steps = ()
    parquet: bool = False


def main(arguments: argparse.Namespace) -> None:
    """Prepare the source that the arguments name."""
    out, rest = take_required(arguments.words, "out", "data/pbc")
    source, rest = take_required(rest, "source", "pbc")
    settings = load_config(PrepareSettings, None, _words(source, rest))
    loaded = read(settings.data)
    near = near_duplicates(loaded.cells) if settings.split.near_duplicates else []
    with RunDir(Path(out), _identity(settings)) as run:
        try:
            split = divide(loaded.cells, settings.split, near)
        except LeakError as error:
            _check_refusal(run.path)
            _write_audit(run.path, Audited(loaded, near, None, str(error), settings.split.leaks), settings)
            raise InputError(
                f"{str(error)[:-1]}; the audit in {run.path / 'audit.html'} shows them."
            ) from None
        split = preprocessed(split, settings.preprocess)
        if _is_done(run.path, split):
            print(f"{run.path}: already holds this split ({split.digest}); nothing to do.")
            return
        parts = {side: getattr(split, side) for side in SIDES}
        about = About(**vars(CREDITS[settings.data.kind]), notes=_preprocessing_notes(split))
        write_tree(parts, run.path, about, settings.parquet)
        if split.preprocessing is not None:
            split.preprocessing.save(run.path)
        facts = _write_audit(run.path, Audited(loaded, near, split, leaks=settings.split.leaks), settings)
    print(f"{out}: {facts['kept']} cells of {len(loaded.cells.classes)} classes, split {split.digest}.")
    _say_findings(facts)
    print(f"Look at {Path(out) / 'audit.html'}; use it with data.kind=split_folder data.root={out}.")


def _preprocessing_notes(split: Split) -> str:
    """What the card says of the preprocessing; empty where there was none."""
    if split.preprocessing is None:
        return ""
    steps = [f"{step.kind} ({step.model_dump_json(exclude={'kind'})})" for step in split.preprocessing.steps]
    said = "".join(f"\n\n{notice}" for notice in split.preprocessing.notices)
    return (
        "## Preprocessing\n\nThe images are not as they came. They went through, in this order, fitted to "
        f"train alone: {'; '.join(steps)}. `preprocessing.json` holds what was learned, and the column "
        f"`unprocessed_sha256` the digest of each image before.{said}"
    )


def _write_audit(out: Path, audited: Audited, settings: PrepareSettings) -> dict[str, Any]:
    facts = audit(audited, located(settings.data))
    write_text(out / "audit.html", page(facts, audited.loaded.cells))
    write_json(out / "audit.json", facts)  # last: its presence says that all is written
    return facts


def _say_findings(facts: dict[str, Any]) -> None:
    for notice in facts["preprocessing"]["notices"] if facts["preprocessing"] else ():
        print(f"WARNING: {notice}")
    keys = ("unreadable", "ignored", "exact_duplicates", "near_duplicates", "label_conflicts")
    found = [f"{len(facts[key])} {key.replace('_', ' ')}" for key in keys if facts[key]]
    if found:
        print(f"Found: {', '.join(found)}.")
    if facts["across_splits"] and facts["leaks"] == "allow":
        print(
            f"WARNING: {len(facts['across_splits'])} images or groups are on several sides of this split, "
            "as split.leaks=allow wants it; figures measured on it look better than they are."
        )


def _identity(settings: PrepareSettings) -> dict[str, Any]:
    """The config without the say on leaks: a refused run may be run again with another one."""
    config = to_dict(settings)
    del config["split"]["leaks"]
    return config


def _words(source: str, rest: list[str]) -> list[str]:
    """`root=DIR` is short for `data.root=DIR`; `split.*` stays."""
    size, _ = take(rest, "image_size")
    words = [f"data.kind={source}"]
    if size is None and source in TREE_KINDS:
        words.append(f"data.image_size={TREE_SIZE}")
    own = ("data.", "split.", "preprocess=", "parquet=")
    return words + [word if word.startswith(own) else f"data.{word}" for word in rest]


def _is_done(out: Path, split: Split) -> bool:
    """True if `out` holds this very split; another one there is an error."""
    if not (out / "audit.json").is_file():
        return False
    before = read_json(out / "audit.json").get("split_digest")
    if before is None:  # the split was refused
        return False
    if before != split.digest:
        raise InputError(
            f"{out}: holds split {before} of the same source, whose images or split.leaks have changed "
            f"since (now {split.digest}); choose another out=."
        )
    return all((out / side / "metadata.jsonl").is_file() for side in SIDES)


def _check_refusal(out: Path) -> None:
    """A refused split must not stand beside the files of an earlier one that was not."""
    done = (out / "audit.json").is_file() and read_json(out / "audit.json").get("split_digest")
    if done:
        raise InputError(
            f"{out}: holds split {done} of the same source, whose images or split.leaks have changed "
            "since, and the split would be refused now; choose another out= to see why."
        )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(
        __doc__,
        "key=value",
        f"source={'|'.join(CREDITS)}, out=DIR, keys of the source "
        "(root=, image_size=, crop=, classes=, group=, name=, seed=, …) and of the split "
        "(split.fractions=[0.7,0.15,0.15], split.seed=0, split.leaks=refuse|drop|allow, "
        "split.near_duplicates=true), preprocess=[{kind: …}, …], "
        "and parquet=true to also write each side as one file, cells.parquet",
    )


if __name__ == "__main__":
    run_command(main, parser())
