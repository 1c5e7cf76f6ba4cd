"""Read a source, split it, and write it as plain folders of PNGs with an audit.

    uv run scripts/prepare.py source=pbc root=DIR out=DIR [image_size=128] [crop=200]
    uv run scripts/prepare.py source=cross_site train.kind=pbc train.root=DIR test.kind=raabin \
        test.root=DIR out=DIR

Among what it writes is split.json, the split as a small file: split.file=FILE makes it again.
A pre-made split that shares an image or a group between its sides is refused, and the audit shows
why. Other commands read the result with data.kind=split_folder data.root=OUT.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from cells.audit import Audited, audit, page
from cells.card import About
from cells.cellset import Loaded
from cells.decoding import TooManyUnreadable
from cells.duplicates import near_duplicates
from cells.ignored import in_words
from cells.leaks import SIDES, LeakError
from cells.masks import MaskSettings, OtsuMasks
from cells.morphology import as_csv, measure, summary
from cells.preprocessing import FILE as PREPROCESSING
from cells.preprocessing import preprocessed
from cells.sources import CREDITS, TREE_KINDS, DataSettings, credit_of, read
from cells.split import Split, SplitSettings, divide
from cells.split_file import write_split
from cells.steps import Steps
from cells.writing import file_names_of, write_tree
from runtime.command import run_command, take, take_required, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError
from runtime.rundir import RunDir, read_json, write_json, write_text

TREE_SIZE = 128
SPLIT_FILE = "split.json"
UNREADABLE = "unreadable.json"
CROSS_SITE = "cross_site"
# What is counted, as an error about leaks counts cells.
FOUND = {
    "unreadable": "unreadable file(s)",
    "ignored": "ignored file(s)",
    "exact_duplicates": "pairs of exact duplicates",
    "near_duplicates": "pairs of near duplicates",
    "label_conflicts": "label conflicts",
    "across_splits": "pairs or groups of cells on several sides of the split it came with",
}


class PrepareSettings(Settings):
    """What to read, and how to divide it."""

    data: DataSettings
    split: SplitSettings = Field(default_factory=SplitSettings)
    preprocess: Steps = ()
    parquet: bool = False
    morphology: bool = False
    masks: MaskSettings = Field(default_factory=OtsuMasks)


def main(arguments: argparse.Namespace) -> None:
    """Prepare the source that the arguments name."""
    out, rest = take_required(arguments.words, "out", "data/pbc")
    source, rest = take_required(rest, "source", "pbc")
    settings = load_config(PrepareSettings, None, _words(source, rest))
    loaded = _read(settings, Path(out))
    near = near_duplicates(loaded.cells) if settings.split.near_duplicates else []
    try:  # before the directory is taken: what is wrong with the settings can be mended and run again
        split, refused = divide(loaded.cells, settings.split, near), ""
    except LeakError as error:
        split, refused = None, str(error)
    # A split that was made anew cannot leak, whatever is allowed.
    leaks = settings.split.leaks if settings.split.premade == "keep" else "refuse"
    audited = Audited(loaded, near, split, refused, leaks, settings.split.file is not None)
    with RunDir(Path(out), _identity(settings)) as run:
        (run.path / UNREADABLE).unlink(missing_ok=True)  # of an earlier call; the audit has them now
        if split is None:
            _check_refusal(run.path)
            _write_audit(run.path, audited, settings)
            shown = f"the audit in {run.path / 'audit.html'}"
            raise InputError(f"{refused[:-1]}; {shown} shows them as pairs and groups.")
        came, split = split, preprocessed(split, settings.preprocess)
        if _is_done(run.path, split):
            _refresh_audit(run.path, replace(audited, split=split), settings)
            return
        parts = {side: getattr(split, side) for side in SIDES}
        # Measured as they came: a crop or a mask changes areas.
        found = {s: measure(getattr(came, s), settings.masks) for s in SIDES if settings.morphology}
        tables = {side: as_csv(found[side], file_names_of(parts[side])) for side in found}
        about = About(**vars(credit_of(settings.data)), notes=_preprocessing_notes(split))
        write_split(run.path / SPLIT_FILE, split, settings.split)
        beside = [SPLIT_FILE]
        if split.preprocessing is not None:
            split.preprocessing.save(run.path)
            beside.append(PREPROCESSING)
        write_tree(parts, run.path, about, settings.parquet, tables, beside)
        said = {"morphology": summary(found, parts)} if found else {}
        facts = _write_audit(run.path, replace(audited, split=split), settings, said)
    print(f"{out}: {facts['kept']} cells of {len(loaded.cells.classes)} classes, split {split.digest}.")
    for notice in split.leaks_dropped:
        print(notice)
    _say_findings(facts)
    print(f"Look at {Path(out) / 'audit.html'}; use it with data.kind=split_folder data.root={out}.")


def _read(settings: PrepareSettings, out: Path) -> Loaded:
    """The source; where too much of it is unreadable, `out` gets a list of all such files."""
    try:
        return read(settings.data)
    except TooManyUnreadable as error:
        with RunDir(out, _identity(settings)) as run:
            write_json(run.path / UNREADABLE, error.unreadable)
        message = f"{str(error)[:-1]}; {out / UNREADABLE} lists all {len(error.unreadable)}."
        raise InputError(message) from None


def _refresh_audit(out: Path, audited: Audited, settings: PrepareSettings) -> None:
    """Write the audit of a finished set anew if files that are no cells came or went since."""
    before, loaded = read_json(out / "audit.json"), audited.loaded
    now = {"unreadable": dict(loaded.unreadable), "ignored": list(loaded.ignored)}
    assert audited.split is not None, "a finished set has a split"
    said = f"{out}: already holds this split ({audited.split.digest})"
    if all(before.get(key) == value for key, value in now.items()):
        print(f"{said}; nothing to do.")
        return
    measured = {"morphology": before["morphology"]} if "morphology" in before else {}
    _write_audit(out, audited, settings, measured)
    print(f"{said}; other files are unreadable or ignored now, so the audit was written anew.")


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


def _write_audit(
    out: Path, audited: Audited, settings: PrepareSettings, more: dict[str, Any] | None = None
) -> dict[str, Any]:
    facts = {**audit(audited, settings.data), **(more or {})}
    masks = settings.masks if more else None
    write_text(out / "audit.html", page(facts, audited.loaded.cells, masks))
    write_json(out / "audit.json", facts)  # last: its presence says that all is written
    return facts


def _say_findings(facts: dict[str, Any]) -> None:
    for notice in facts["preprocessing"]["notices"] if facts["preprocessing"] else ():
        print(f"WARNING: {notice}")
    for finding in facts["shallow"]:
        print(f"WARNING: {finding['says']}")
    found = [f"{len(facts[key])} {what}" for key, what in FOUND.items() if facts[key]]
    if found:
        print(f"Found: {', '.join(found)}.")
    if facts["ignored_groups"]:
        print(f"Ignored: {in_words(facts['ignored_groups'])}.")
    if facts["long_tail"]:
        changes = [f"{name} {n['before']} → {n['after']}" for name, n in facts["long_tail"].items()]
        print(f"Long tail of train: {', '.join(changes)}.")
    if "morphology" in facts:
        print(f"Morphology: no nucleus was found in {facts['morphology']['not_found']} cells.")
    if facts["across_splits"] and facts["leaks"] == "allow":
        print(
            f"WARNING: {len(facts['across_splits'])} pairs or groups of cells are on several sides of this "
            "split, as split.leaks=allow wants it; figures measured on it look better than they are."
        )


def _identity(settings: PrepareSettings) -> dict[str, Any]:
    """The config without the say on leaks and damage: what they refused may be run with another one."""
    config = to_dict(settings)
    del config["split"]["leaks"]
    for source in (config["data"], config["data"].get("train"), config["data"].get("test")):
        if isinstance(source, dict):
            source.pop("unreadable", None)
    if not settings.morphology:
        del config["morphology"], config["masks"]
    return config


def _words(source: str, rest: list[str]) -> list[str]:
    """`root=DIR` is short for `data.root=DIR`; `split.*` stays; `image_size=` is for both of two sites."""
    size, rest = take(rest, "image_size")
    words = [f"data.kind={source}"]
    for place, kind in _places(source, rest):
        if size is not None or kind in TREE_KINDS:
            words.append(f"{place}.image_size={TREE_SIZE if size is None else size}")
    own = ("data.", "split.", "preprocess=", "parquet=", "morphology=", "masks.")
    return words + [word if word.startswith(own) else f"data.{word}" for word in rest]


def _places(source: str, rest: list[str]) -> list[tuple[str, str | None]]:
    """Where sources are described, and of which kind they are."""
    if source != CROSS_SITE:
        return [("data", source)]
    return [
        (f"data.{site}", take(rest, f"{site}.kind")[0] or take(rest, f"data.{site}.kind")[0])
        for site in ("train", "test")
    ]


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
    written = [out / SPLIT_FILE, *(out / side / "metadata.jsonl" for side in SIDES)]
    return all(path.is_file() for path in written)


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
        f"source={'|'.join(CREDITS)}|{CROSS_SITE}, out=DIR, keys of the source "
        "(root=, image_size=, crop=, classes=, group=, name=, seed=, …; of cross_site: train.kind=, "
        "train.root=, test.kind=, test.root=, classes={in test: in train}, …) and of the split "
        "(split.fractions=[0.7,0.15,0.15], split.seed=0, split.leaks=refuse|drop|allow, "
        "split.near_duplicates=true, split.premade=keep|ignore, split.folds=5, split.repeats=1, "
        "split.fold=0, split.long_tail.factor=50, split.long_tail.counts={basophil: 20}, "
        "split.file=FILE), preprocess=[{kind: …}, …], "
        "parquet=true to also write each side as one file, cells.parquet, "
        "and morphology=true to measure each cell (masks.kind=otsu|hsv)",
    )


if __name__ == "__main__":
    run_command(main, parser())
