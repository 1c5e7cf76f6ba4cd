"""The synthetic cells of a study: each generator is trained once, its cells are drawn and curated once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

import generators
from cells.cellset import CellSet
from cells.reading import read_set
from cells.writing import is_unfinished, write_set
from evaluation.curation import RealCells, curate, to_quota
from evaluation.seen import refuse_seen
from evaluation.study import Study
from generators import Generator
from generators.resample import RepeatSettings
from generators.synthesize import synthesize
from runtime.rundir import read_json, write_json
from runtime.seeds import seed_of


def accepted(study: Study, kind: str, seed: int) -> dict[str, Any]:
    """The cells that one generator adds to the training set: made and curated once, then read.

    Args:
        study: The study.
        kind: `gan`, `diffusion` or `repeat`. The control repeats cells as they are: uncurated.
        seed: The generator's seed.

    Returns:
        `cells` (a synthetic CellSet), `funnel` (what each filter rejected), `seconds`.
    """
    folder = study.run.path / "synthetic" / kind / f"seed-{seed}"
    with study.alone(f"synthetic/{kind}/seed-{seed}"):
        if not (folder / "funnel.json").exists():
            _make(study, kind, seed, folder)
    return {"cells": read_set(folder), **read_json(folder / "funnel.json")}


def _make(study: Study, kind: str, seed: int, folder: Path) -> None:
    """Train a generator, draw its cells, curate them and write them."""
    modelled = kind != "repeat"
    curator = study.net("curator") if modelled else None
    times = [time.monotonic()]
    generator = fitted(study, kind, seed)
    times.append(time.monotonic())
    kept = drawn(study, kind, seed, generator)
    funnel: list[dict[str, Any]] = []
    if curator is not None:
        real = RealCells(study.split.train, study.split.val)
        kept, funnel = curate(kept, curator, study.settings.curation, study.copies, real)
    cells, last = to_quota(kept, study.wanted(kind), curator, study.settings.curation)
    funnel = [*funnel, last]
    write_set(cells, folder)
    times.append(time.monotonic())
    seconds = dict(zip(("generator", "synthesis"), np.diff(times).round(2).tolist(), strict=True))
    write_json(folder / "funnel.json", {"funnel": funnel, "seconds": seconds})


def drawn(study: Study, kind: str, seed: int, generator: Generator | None = None) -> CellSet:
    """What a generator draws, before any curation; kept on disk where the ablation looks at it."""
    folder = study.run.path / "drawn" / kind / f"seed-{seed}"
    if (folder / "metadata.jsonl").exists() and not is_unfinished(folder):
        return read_set(folder)
    wanted = study.wanted(kind) if kind == "repeat" else study.drawn(kind)
    cells = synthesize(generator or fitted(study, kind, seed), wanted, seed, kind, study.split.digest)
    if study.settings.ablation and seed == 0 and kind != "repeat":
        write_set(cells, folder)
    return cells


def fitted(study: Study, kind: str, seed: int) -> Generator:
    """One generator, trained on the training cells alone; a finished one is read.

    Raises:
        InputError: If the generator has seen a validation or test cell.
    """
    run, train = study.run.child(f"generators/{kind}/seed-{seed}"), study.split.train
    settings = RepeatSettings() if kind == "repeat" else getattr(study.settings.generators, kind)
    with study.alone(f"generators/{kind}/seed-{seed}"):
        if kind != "repeat":
            study.say(f"training the {kind} generator, seed {seed}; samples in {run.path / 'samples'}")
        generator = generators.build(settings, train.classes, train.image_size, seed_of("study", kind, seed))
        generator = generator.fit(train, run, None if kind == "repeat" else study.watch)
    refuse_seen(run.path / "model" / "seen.txt", study.split.val + study.split.test)
    return generator


def made_of(study: Study, kind: str, seed: int) -> dict[str, Any]:
    """Funnel and seconds of one generator's cells, without the cells."""
    return dict(read_json(study.run.path / "synthetic" / kind / f"seed-{seed}" / "funnel.json"))
