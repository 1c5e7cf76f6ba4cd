"""The synthetic cells of a study: each generator is trained once, its cells are drawn and curated once.

A *source* names a set of cells by the words of a strategy that decide where they come from: ``gan``,
``gan+uncurated``, ``diffusion+mixed_seeds``. Each seed has one set of each source.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np

import generators
from cells.cellset import CellSet
from cells.reading import read_set
from cells.writing import is_unfinished, write_set
from evaluation.copies.seen import refuse_seen
from evaluation.filters.curation import RealCells, curate, to_quota
from evaluation.studies.strategies import strategy_of
from evaluation.studies.study import Study
from generators import RESAMPLERS, Generator, RepeatSettings
from generators.protocol import MODEL
from generators.synthesize import synthesize
from runtime.rundir import read_json, write_json
from runtime.seeds import seed_of

Made = tuple[CellSet, list[dict[str, Any]], dict[str, float]]  # cells, funnel, seconds


def accepted(study: Study, source: str, seed: int) -> dict[str, Any]:
    """The cells that a source gives: made and curated once, then read.

    Args:
        study: The study.
        source: See `evaluation.studies.strategies.Strategy.source`.
        seed: The generator's; where the source mixes generators, the unit's.

    Returns:
        `cells` (a synthetic CellSet: as many of each class as any strategy wants; one that wants fewer takes
        the first), `funnel` (what each filter rejected), `seconds`.
    """
    folder = study.run.path / "synthetic" / source / f"seed-{seed}"
    with study.alone(f"synthetic/{source}/seed-{seed}"):
        if not (folder / "funnel.json").exists():
            cells, funnel, seconds = (_mixed if study.parts(source) else _own)(study, source, seed)
            write_set(cells, folder)
            write_json(folder / "funnel.json", {"funnel": funnel, "seconds": seconds})
    return {"cells": read_set(folder), **read_json(folder / "funnel.json")}


def _own(study: Study, source: str, seed: int) -> Made:
    """Cells of one generator, past the filters unless the source goes without."""
    strategy, kind = strategy_of(source), kind_of(source)
    curator = study.net("curator") if strategy.models and not strategy.uncurated else None
    generator = fitted(study, kind, seed)
    begun = time.monotonic()
    kept = drawn(study, kind, seed, generator)
    funnel: list[dict[str, Any]] = []
    if curator is not None:
        real = RealCells(study.split.train, study.split.val)
        kept, funnel = curate(kept, curator, study.settings.curation, study.copies, real)
    cells, last = to_quota(kept, study.wanted(kind), curator, study.settings.curation)
    synthesis = round(time.monotonic() - begun, 2)
    return cells, [*funnel, last], {"generator": training_seconds(study, kind, seed), "synthesis": synthesis}


def _mixed(study: Study, source: str, seed: int) -> Made:
    """Cells of the generators of all seeds, in equal parts; its seconds are its share of theirs."""
    pairs = study.parts(source)
    for name, each in [*pairs[seed:], *pairs[:seed]]:  # units side by side train different generators
        accepted(study, name, each)
    parts = [accepted(study, name, each) for name, each in pairs]
    named = zip(parts, pairs, strict=True)
    cells = share_of([_from_generator(part["cells"], each) for part, (_, each) in named], seed)
    rule = f"an equal share of the cells of each of {len(parts)} generators"
    before = {name: sum(part["cells"].counts[name] for part in parts) for name in cells.classes}
    stage = {"filter": "quota", "in": before, "out": cells.counts, "rule": rule}
    names = ("generator", "synthesis")
    return cells, [stage], {n: round(float(np.mean([p["seconds"][n] for p in parts])), 2) for n in names}


def share_of(sets: Sequence[CellSet], unit: int) -> CellSet:
    """What one of n units takes of n sets: a block of each, so that no two units have a cell in common.

    The cells of a class in each set fall into n blocks; unit u takes block (u + g) mod n of set g. They
    stand in turns, so that the first cells of a class, too, come from all sets alike.

    Args:
        sets: Sets of the same classes, one of each generator.
        unit: From 0 to n - 1.

    Returns:
        Cells in the order of their classes; as many as one set has, where all have as many.
    """
    begins, turns = np.cumsum([0, *map(len, sets)]), list[tuple[int, int, int, int]]()
    for g, cells in enumerate(sets):
        for label in range(len(cells.classes)):
            rows = np.flatnonzero(cells.labels == label)
            block = np.array_split(rows, len(sets))[(unit + g) % len(sets)]
            turns += [(label, place, g, int(begins[g] + row)) for place, row in enumerate(block)]
    return reduce(add, sets).subset([row for *_, row in sorted(turns)])


def _from_generator(cells: CellSet, seed: int) -> CellSet:
    """Cells whose names and records tell their generator from those of the same kind and other seeds."""
    own = [f"seed-{seed}/{name}" for name in cells.names]
    told = [{**record, "generator": f"{record['generator']}/seed-{seed}"} for record in cells.provenance]
    return replace(cells, names=np.array(own, dtype=object), provenance=np.array(told, dtype=object))


def drawn(study: Study, kind: str, seed: int, generator: Generator | None = None) -> CellSet:
    """What a generator draws, before any curation.

    It is kept on disk where it is needed again: by the ablation, or with and without curation.
    """
    with study.alone(f"drawn/{kind}/seed-{seed}"):
        return _drawn(study, kind, seed, generator)


def _drawn(study: Study, kind: str, seed: int, generator: Generator | None) -> CellSet:
    folder = study.run.path / "drawn" / kind / f"seed-{seed}"
    if (folder / "metadata.jsonl").exists() and not is_unfinished(folder):
        return read_set(folder)
    own = [name for name, s in study.sources if s == seed and not study.parts(name) and kind_of(name) == kind]
    ablation = study.settings.ablation and seed == 0 and kind not in RESAMPLERS
    surplus = kind not in RESAMPLERS and (ablation or kind in own)
    wanted = study.drawn(kind) if surplus else study.wanted(kind)
    cells = synthesize(generator or fitted(study, kind, seed), wanted, seed, kind, study.split.digest)
    if ablation or len(own) > 1:
        write_set(cells, folder)
    return cells


def fitted(study: Study, kind: str, seed: int) -> Generator:
    """One generator, trained on the training cells alone; a finished one is read.

    Args:
        study: The study.
        kind: Of generator.
        seed: Its own; its first weights are a function of (kind, seed).

    Raises:
        InputError: If the generator has seen a validation or test cell.
    """
    run, train = study.run.child(f"generators/{kind}/seed-{seed}"), study.split.train
    settings = RepeatSettings() if kind == "repeat" else getattr(study.settings.generators, kind)
    with study.alone(f"generators/{kind}/seed-{seed}"):
        if kind not in RESAMPLERS and not (run.path / MODEL / "config.json").exists():
            study.say(f"training the {kind} generator, seed {seed}; samples in {run.path / 'samples'}")
        begun = time.monotonic()
        generator = generators.build(settings, train.classes, train.image_size, seed_of("study", kind, seed))
        generator = generator.fit(train, run, None if kind in RESAMPLERS else study.watch)
        if not (run.path / "seconds.json").exists():
            write_json(run.path / "seconds.json", {"seconds": round(time.monotonic() - begun, 2)})
    refuse_seen(run.path / MODEL / "seen.txt", study.split.val + study.split.test)
    return generator


def kind_of(source: str) -> str:
    """The kind of generator behind a source."""
    kind = strategy_of(source).generator
    assert kind is not None, "a source has a generator"
    return kind


def training_seconds(study: Study, kind: str, seed: int) -> float:
    """How long a generator was trained, from its last start on."""
    return float(read_json(study.run.path / f"generators/{kind}/seed-{seed}" / "seconds.json")["seconds"])


def funnel_of(study: Study, source: str, seed: int) -> dict[str, Any]:
    """The `funnel` of one set of cells, and how many of each class were `asked` for."""
    return {"funnel": made_of(study, source, seed)["funnel"], "asked": study.wanted(kind_of(source))}


def made_of(study: Study, source: str, seed: int) -> dict[str, Any]:
    """Funnel and seconds of one set of cells, without the cells."""
    return dict(read_json(study.run.path / "synthetic" / source / f"seed-{seed}" / "funnel.json"))
