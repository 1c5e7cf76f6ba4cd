"""How often a study's verdict is wrong, and what it finds: studies drawn from a model whose truth is known.

    python benchmarks/verdicts.py [studies=1000] [planted=300] [out=FILE.md]

First null studies, in which no strategy is better than another, then planted gains. Each goes through the
real `conclude`, the choice on validation included. `evaluation/gains/planted.py` says what is drawn.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from evaluation.gains.conclusion import conclude
from evaluation.gains.planted import Plan, expected_difference, planted
from evaluation.gains.statistics import CHOSEN_BY, Trials, verdict
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.rundir import write_text


class VerdictsSettings(Settings):
    """How many studies a row, and where the tables go."""

    studies: int = Field(default=1000, ge=1)
    planted: int = Field(default=300, ge=1)
    out: Path | None = None


@dataclass(frozen=True)
class Case:
    """One row: how many synthetic strategies and rivals with what skills, and what else is drawn."""

    name: str
    synthetic: tuple[float, ...]
    rivals: tuple[float, ...]
    units: int
    others: dict[str, Any]

    @property
    def made(self) -> list[str]:
        """Names of the synthetic strategies."""
        return [f"synthetic {i}" for i in range(len(self.synthetic))]

    @property
    def plan(self) -> Plan:
        """All skills by name; the first rival is `real`."""
        names = ["real", *(f"rival {i}" for i in range(1, len(self.rivals)))]
        skills = dict(zip([*names, *self.made], [*self.rivals, *self.synthetic], strict=True))
        return Plan(skills, units=self.units, **self.others)


FEW = {"cells": 30, "validation": 30}
LUCKY = {"seeds": 0.5, "taste": 0.0}  # seeds decide, cells do not: the choice on validation misleads most
NULL = [
    *(Case("1 synthetic, 1 rival", (3.0,), (3.0,), n, {}) for n in (6, 10)),
    *(Case("2 synthetic, 6 rivals", (3.0,) * 2, (3.0,) * 6, n, {}) for n in (6, 10)),
    *(Case("5 synthetic, 5 rivals", (3.0,) * 5, (3.0,) * 5, n, {}) for n in (6, 10)),
    *(Case("9 synthetic, 1 rival", (3.0,) * 9, (3.0,), n, {}) for n in (6, 10)),
    *(Case("9 synthetic, 1 rival; luck of seeds doubled", (3.0,) * 9, (3.0,), n, LUCKY) for n in (6, 10)),
    *(Case("5 synthetic, 5 rivals; 30 cells a class", (3.0,) * 5, (3.0,) * 5, n, FEW) for n in (6, 10)),
    Case("5 synthetic, 5 rivals of different skill", (3.0, 2.5, 2, 2, 0), (3.0, 2.5, 2, 2, 0), 10, {}),
    Case("3 synthetic, 3 rivals", (3.0,) * 3, (3.0,) * 3, 15, {}),
]
GAINS = [
    Case(f"5 synthetic, one of them +{gain} in logits; 3 rivals", (3 + gain, 3, 3, 3, 2), (3.0, 3, 2), n, {})
    for gain in (0.3, 0.7, 1.0)
    for n in (6, 10)
]


def main(arguments: argparse.Namespace) -> None:
    """Draw, conclude, and print the tables."""
    settings = load_config(VerdictsSettings, None, arguments.words)
    lines = [
        "| null studies | seeds | gain | harm | gain by the plain test | interval holds 0 "
        "| interval over seeds alone holds 0 |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    print("\n".join(lines), flush=True)
    for case in NULL:
        lines.append(null_row(case, settings.studies))
        print(lines[-1], flush=True)
    heads = "| planted gains | seeds | true gain, points | gain found | harm | interval holds it |"
    lines += ["", heads, "|---|---:|---:|---:|---:|---:|"]
    print("\n".join(lines[-3:]), flush=True)
    for case in GAINS:
        lines.append(gain_row(case, settings.planted))
        print(lines[-1], flush=True)
    if settings.out:
        write_text(settings.out, "\n".join(lines) + "\n")


def null_row(case: Case, studies: int) -> str:
    """One line of the first table."""
    found = concluded(case, studies)
    share = {w: np.mean([f["verdict"] == w for f in found]) for w in ("gain", "harm")}
    plain = np.mean([f["plain"] == "gain" for f in found])
    held = np.mean([f["low"] <= 0 <= f["high"] for f in found])
    seeds = np.mean([f["seed_low"] <= 0 <= f["seed_high"] for f in found])
    shares = [share["gain"], share["harm"], plain, held, seeds]
    return _row(case, [f"{100 * s:.1f} %" for s in shares])


def gain_row(case: Case, studies: int) -> str:
    """One line of the second table."""
    found = concluded(case, studies)
    pairs = {(f["synthetic"], f["rival"]) for f in found}
    truth = {pair: expected_difference(case.plan, *pair) for pair in pairs}
    held = np.mean([f["low"] <= truth[f["synthetic"], f["rival"]] <= f["high"] for f in found])
    best = expected_difference(case.plan, "synthetic 0", "real")
    shares = [np.mean([f["verdict"] == w for f in found]) for w in ("gain", "harm")]
    words = [f"{100 * best:.1f}", *(f"{100 * s:.1f} %" for s in (*shares, held))]
    return _row(case, words)


def concluded(case: Case, studies: int) -> list[dict[str, Any]]:
    """Conclusions of drawn studies; `plain` is what the test without the choice inside would say."""
    random, found = np.random.default_rng(0), []
    for _ in range(studies):
        records, answers = planted(case.plan, random)
        one = conclude(
            records, synthetic=case.made, majority_rate=0.0, shared_generators=False, answers=answers
        )
        contrast = Trials(records).contrast(one["synthetic"], one["rival"], CHOSEN_BY)
        one["plain"] = verdict({**contrast, "low": one["low"], "high": one["high"]})
        found.append(one)
    return found


def _row(case: Case, words: list[str]) -> str:
    return f"| {case.name} | {case.units} | {' | '.join(words)} |"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(__doc__, "key=value", "studies=1000, planted=300, out=FILE.md")


if __name__ == "__main__":
    run_command(main, parser())
