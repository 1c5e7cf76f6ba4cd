"""The ablation of a study's curation: measured once on the generators of seed 0, then read."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cells.cellset import CellSet
from evaluation.filters.ablation import Bench, ablate
from evaluation.filters.curation import RealCells
from evaluation.studies.study import Study
from generators import RESAMPLERS
from runtime.rundir import read_json, write_json
from runtime.seeds import seed_of


def ablated(study: Study, drawn: Callable[[str, int], CellSet]) -> list[dict[str, Any]]:
    """What each filter is worth on the cells of each kind's generator of seed 0.

    Args:
        study: The study; `ablation=false` in its settings gives none.
        drawn: The cells that a generator (kind, seed) drew, before any curation.

    Returns:
        One record a kind: `generator`, `seed`, `seconds`, and what `ablate` returns.
    """
    records = []
    for kind, seed in study.generators:
        if not study.settings.ablation or seed > 0 or kind in RESAMPLERS:
            continue
        file = study.run.path / "ablation" / kind / f"seed-{seed}.json"
        if not file.exists():
            study.say(f"scoring each filter of the curation on the {kind} cells")
            begun = time.monotonic()
            found = ablate(bench_of(study, kind, drawn(kind, seed)), seed_of("study", "ablation", kind))
            seconds = round(time.monotonic() - begun, 2)
            write_json(file, {"generator": kind, "seed": seed, **found, "seconds": seconds})
        records.append(read_json(file))
    return records


def bench_of(study: Study, kind: str, cells: CellSet) -> Bench:
    """What an ablation needs of a study, for the cells that one generator of a kind drew."""
    split = study.split
    return Bench(
        drawn=cells,
        quotas=study.wanted(kind),
        real=RealCells(split.train, split.val),
        reference=split.test,
        curator=study.net("curator"),
        judge=study.net("judge"),
        encoder=next(e for e in study.encoders if not isinstance(e, str)),
        detector=study.copies,
        settings=study.settings.curation,
    )
