"""The command, killed without warning and run again."""

import json
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tiny_study import CELLS, ENCODER, FAST, UNFILTERED

ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {
    "data": CELLS,
    "rare": ["blast"],
    "balance": {"to": 0.5},
    "strategies": ["real", "diffusion"],
    "seeds": 1,
    "generators": {
        "diffusion": {
            "steps": 40,
            "checkpoint_every": 1,
            "batch": 4,
            "channels": [8, 16],
            "attention": False,
            "sampling_steps": 2,
        }
    },
    "classifier": FAST,
    "encoder": ENCODER,
    "curation": UNFILTERED,
    "floor_repeats": 2,
}


class Ended(NamedTuple):
    """How a script ended, and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a script in this process: starting another costs more than the scripts' own work."""

    def run(script: str, *words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [script, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / "scripts" / script), run_name="__main__")
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def figures(out: Path) -> dict[str, Any]:
    """The results but for times."""
    results = json.loads((out / "results.json").read_text())
    del results["cost"]
    for row in (*results["trials"], *results["fidelity"], *results["ablations"]):
        del row["seconds"]
    return dict(results)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_killed_in_the_midst_of_training_it_ends_as_if_it_had_not_been(
    config: Path, tmp_path: Path, run: Callable[..., Ended]
) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    checkpoints = killed / "generators" / "diffusion" / "seed-0" / "checkpoints"
    command = [sys.executable, str(ROOT / "scripts" / "benchmark.py"), str(config), f"out={killed}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 500
        while not any(checkpoints.glob("*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL, "it was to be killed before its end"
    assert (killed / "real" / "seed-0" / "fold-0" / "result.json").exists()
    assert any(checkpoints.glob("*")) and not (killed / "results.json").exists()
    early = run("report.py", killed, f"out={tmp_path / 'early'}")
    assert early.code == 2 and "run the same benchmark command again" in early.err

    again = run("benchmark.py", config, f"out={killed}")
    assert again.code == 0, again.err
    assert "[1/2]" not in again.out and "[2/2] diffusion seed 0" in again.out
    straight = run("benchmark.py", config, f"out={whole}")
    assert straight.code == 0, straight.err
    assert figures(killed) == figures(whole)

    both = run("report.py", killed, whole, f"out={tmp_path / 'both'}")
    assert both.code == 0, both.err
    assert "killed" in (tmp_path / "both" / "report.html").read_text()


def test_a_dry_run_prints_plan_and_time_and_writes_nothing(
    config: Path, tmp_path: Path, run: Callable[..., Ended]
) -> None:
    out = tmp_path / "out"
    words = (config, f"out={out}", "seeds=3", "surplus=2", "strategies=[real,repeat,diffusion]")
    shown = run("benchmark.py", *words, "dry_run=true")
    assert shown.code == 0, shown.err
    blast = next(line for line in shown.out.splitlines() if "blast" in line)
    assert blast.replace("│", " ").split() == ["blast", "5", "12", "7", "58%"]
    assert "diffusion: drawing 14 cells (surplus=2) for each of 3 generators would take " in shown.out
    assert "untrained networks" in shown.out and "gan:" not in shown.out and "repeat:" not in shown.out
    plain = run("benchmark.py", config, "strategies=[real]", "dry_run=true")
    assert plain.code == 0 and "nothing would be drawn" in plain.out
    wrong = run("benchmark.py", config, f"out={out}", "dry_run=yes")
    assert wrong.code == 2 and "dry_run=yes: is a switch" in wrong.err
    assert not out.exists()


def test_wrong_input_is_one_sentence_and_exit_code_2(
    config: Path, tmp_path: Path, run: Callable[..., Ended]
) -> None:
    wrong = run("benchmark.py", config, f"out={tmp_path / 'o'}", "sseds=3")
    assert wrong.code == 2 and wrong.err.startswith("error:") and "'seeds'" in wrong.err
    assert "Traceback" not in wrong.err and not (tmp_path / "o").exists()


@pytest.mark.parametrize("script", ["benchmark.py", "report.py"])
def test_help_explains(script: str, run: Callable[..., Ended]) -> None:
    shown = run(script, "--help")
    assert shown.code == 0 and f"uv run scripts/{script}" in shown.out
