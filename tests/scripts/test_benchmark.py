"""The command, killed without warning and run again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FAST = {"network": "fast", "width": 4, "steps": 3, "batch": 8}
TINY: dict[str, Any] = {
    "data": {
        "kind": "phantom",
        "image_size": 16,
        "counts": {"lobed": 24, "blast": 5},
        "val_per_class": 4,
        "test_per_class": 6,
    },
    "rare": ["blast"],
    "balance": {"to": 0.5},
    "strategies": ["real", "diffusion"],
    "seeds": 1,
    "generators": {
        "diffusion": {
            "steps": 60,
            "checkpoint_every": 1,
            "batch": 4,
            "channels": [8, 16],
            "attention": False,
            "sampling_steps": 2,
        }
    },
    "classifier": FAST,
    "encoder": {"kind": "domain", "classifier": FAST},
    "curation": {"min_probability": 0.0, "copies": False},
    "floor_repeats": 2,
}


def command(script: str, *words: str) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / script), *words]


def run(script: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(script, *words), capture_output=True, text=True, timeout=300)


def figures(out: Path) -> dict[str, Any]:
    """The results but for times."""
    results = json.loads((out / "results.json").read_text())
    del results["cost"]
    for row in (*results["trials"], *results["fidelity"]):
        del row["seconds"]
    return dict(results)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(TINY))
    return path


def test_killed_in_the_midst_of_training_it_ends_as_if_it_had_not_been(config: Path, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    checkpoints = killed / "generators" / "diffusion" / "seed-0" / "checkpoints"
    with subprocess.Popen(
        command("benchmark.py", str(config), f"out={killed}"), stdout=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 240
        while not any(checkpoints.glob("*")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it was to be killed before its end"
    assert (killed / "real" / "seed-0" / "fold-0" / "result.json").exists()
    assert not (killed / "results.json").exists()
    early = run("report.py", str(killed), f"out={tmp_path / 'early'}")
    assert early.returncode == 2 and "run the same benchmark command again" in early.stderr

    again = run("benchmark.py", str(config), f"out={killed}")
    assert again.returncode == 0, again.stderr
    assert "[1/2]" not in again.stdout and "[2/2] diffusion seed 0" in again.stdout
    straight = run("benchmark.py", str(config), f"out={whole}")
    assert straight.returncode == 0, straight.stderr
    assert figures(killed) == figures(whole)

    both = run("report.py", str(killed), str(whole), f"out={tmp_path / 'both'}")
    assert both.returncode == 0, both.stderr
    assert "killed" in (tmp_path / "both" / "report.html").read_text()


def test_wrong_input_is_one_sentence_and_exit_code_2(config: Path, tmp_path: Path) -> None:
    wrong = run("benchmark.py", str(config), f"out={tmp_path / 'o'}", "sseds=3")
    assert wrong.returncode == 2 and wrong.stderr.startswith("error:") and "'seeds'" in wrong.stderr
    assert "Traceback" not in wrong.stderr and not (tmp_path / "o").exists()
