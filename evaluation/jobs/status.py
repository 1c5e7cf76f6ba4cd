"""How far a study is: done, running, failed, left; what it has cost, and what a point of gain cost.

Only files of the study's directory are read, so it can be asked from anywhere, at any time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from evaluation.jobs.running import FAILED, at_work
from evaluation.studies.designs import studies_of
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import strategy_of
from evaluation.studies.study import Trial, trials
from runtime.config import load_config
from runtime.errors import InputError
from runtime.rundir import read_json

HOUR = 3600.0


@dataclass(frozen=True)
class Status:
    """How far a study is.

    Attributes:
        done: Trials with a result.
        running: Trials that a process is at, with its host, number and start.
        failed: Trials whose last try failed, with the last line of the error and the log.
        left: Trials that nobody has begun, or whose process died.
        hours: Hours of all parts that are done, each counted once: `generators` (training, drawing,
            curation), `classifiers`, `evaluation` (its networks, fidelity, ablation).
        per_point: Hours of the generator behind the primary contrast, for each percentage point of its gain;
            None as long as there is no report, or where there is no gain.
        gain: The points of the primary contrast; None as long as there is no report or no contrast.
    """

    done: list[Trial]
    running: list[tuple[Trial, dict[str, Any]]]
    failed: list[tuple[Trial, dict[str, Any]]]
    left: list[Trial]
    hours: dict[str, float]
    per_point: float | None
    gain: float | None


def studies_in(out: Path) -> dict[Path, StudySettings]:
    """The studies of a directory: one, or those of a design or of several preprocessings.

    Args:
        out: As given to `benchmark.py`.

    Raises:
        InputError: If nothing has begun there.
    """
    if not (out / "config.yaml").is_file():
        raise InputError(f"{out}: no study has begun here; name the out= of a benchmark.")
    return dict(studies_of(load_config(StudySettings, out / "config.yaml"), out))


def status_of(out: Path, settings: StudySettings) -> Status:
    """Look at a study's directory.

    Args:
        out: Of one study; nothing needs to be there.
        settings: The study's.
    """
    found = Status([], [], [], [], _hours(out), *_price(out))
    for trial in trials(settings):
        folder = out / trial.folder
        if (folder / "result.json").exists():
            found.done.append(trial)
        elif (at := at_work(out, trial)) is not None:
            found.running.append((trial, at))
        elif (folder / FAILED).exists():
            found.failed.append((trial, dict(read_json(folder / FAILED))))
        else:
            found.left.append(trial)
    return found


def _hours(out: Path) -> dict[str, float]:
    """Of what lies there, each part counted once."""
    files = out.glob("synthetic/*/seed-*/funnel.json")
    # What mixes generators draws nothing of its own.
    own = [file for file in files if not strategy_of(file.parents[1].name).mixed_seeds]
    made = [read_json(file)["seconds"] for file in own]
    trained = [read_json(file)["seconds"] for file in out.glob("generators/*/seed-*/seconds.json")]
    results = [read_json(file)["seconds"] for file in out.glob("*/seed-*/fold-*/result.json")]
    rest = [*out.glob("nets/*/seconds.json"), *out.glob("fidelity/*/*.json"), *out.glob("ablation/*/*.json")]
    return {
        "generators": (sum(trained) + sum(seconds["synthesis"] for seconds in made)) / HOUR,
        "classifiers": sum(seconds["classifier"] for seconds in results) / HOUR,
        "evaluation": sum(read_json(file)["seconds"] for file in rest) / HOUR,
    }


def _price(out: Path) -> tuple[float | None, float | None]:
    """Hours a point, and the points, of the primary contrast.

    Nothing before the report: who looks at the test set in between might stop at a lucky moment.
    """
    if not (out / "results.json").exists():
        return None, None
    results = read_json(out / "results.json")
    contrast = results["conclusion"]
    if "synthetic" not in contrast:
        return None, None
    gain = 100 * float(contrast["mean"])
    ours = [t for t in results["trials"] if t["strategy"] == contrast["synthetic"]]
    once = {(strategy_of(t["strategy"]).source, t["generator_seed"]): t["seconds"] for t in ours}
    hours = sum(seconds["generator"] + seconds["synthesis"] for seconds in once.values()) / HOUR
    return (hours / gain if gain > 0 else None), gain


def status_table(out: Path, found: Status) -> Table:
    """A status for the terminal.

    Args:
        out: The study's directory.
        found: Its status.
    """
    whole = len(found.done) + len(found.running) + len(found.failed) + len(found.left)
    table = Table(title=f"{len(found.done)} of {whole} trials done: {escape(str(out))}", title_justify="left")
    for header in ("what", "how many", "which"):
        table.add_column(header, justify="right" if header == "how many" else "left", overflow="fold")
    table.add_row("done", str(len(found.done)), "")
    at = [f"{_name(t)} on {r['host']}, {(time.time() - r['since']) / 60:.0f} min" for t, r in found.running]
    table.add_row("running", str(len(at)), escape("\n".join(at)))
    why = [f"{_name(t)}: {r['error']}\n  log: {r['log']}" for t, r in found.failed]
    table.add_row("failed", str(len(why)), escape("\n".join(why)))
    table.add_row("left", str(len(found.left)), "")
    parts = ", ".join(f"{part} {_spent(hours)}" for part, hours in found.hours.items())
    table.add_row("spent", _spent(sum(found.hours.values())), parts)
    table.add_row("a point of gain", *_priced(found))
    return table


def _name(trial: Trial) -> str:
    fold = f" fold {trial.fold}" if trial.fold else ""
    return f"{trial.strategy} seed {trial.classifier_seed}{fold}"


def _spent(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _priced(found: Status) -> tuple[str, str]:
    if found.gain is None:
        return "", "known when the report is written"
    if found.per_point is None:
        return "", f"the primary contrast is no gain ({found.gain:+.1f} points)"
    return _spent(found.per_point), f"of generator and drawing, for {found.gain:+.1f} points in all"
