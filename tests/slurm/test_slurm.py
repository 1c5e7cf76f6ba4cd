"""A study on a real SLURM of one node: killed and requeued in its midst, with nothing lost.

    sh tests/slurm/start.sh && SLURM_CONF=/tmp/rarecell-slurm/slurm.conf uv run pytest -n 0 tests/slurm

See docs/results/slurm.md.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_study import CELLS, ENCODER, FAST, UNFILTERED

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"
STUDY: dict[str, Any] = {
    "data": CELLS,
    "rare": ["blast"],
    "balance": {"to": 0.5},
    "strategies": ["real", "gan", "gan+logit_adjustment"],
    "seeds": 1,
    "ablation": False,
    "generators": {
        "gan": {
            "steps": 600,
            "checkpoint_every": 1,
            "log_every": 1,
            "batch": 4,
            "channels": [8, 16],
            "latent": 8,
        }
    },
    "classifier": FAST,
    "encoder": ENCODER,
    "curation": UNFILTERED,
    "floor_repeats": 2,
}
CLUSTER = ["cluster.kind=slurm", "cluster.cpus=1", "cluster.gpus=1", "cluster.minutes=10", "cluster.every=1"]
GAN = "gan/seed-0/fold-0"


def slurm(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout


def no_slurm() -> str | None:
    """Why there is no SLURM to test with."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch here: run tests/slurm/start.sh as root"
    try:
        return None if slurm("sinfo", "-h").strip() else "sinfo shows no node"
    except (subprocess.SubprocessError, OSError):
        return "SLURM does not answer: run tests/slurm/start.sh and set SLURM_CONF as it says"


pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def needs_slurm() -> None:
    reason = no_slurm()
    if reason:
        pytest.skip(reason)


def wait_for(look: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, slurm("squeue")
        time.sleep(0.1)
    return found


def figures(out: Path) -> list[dict[str, Any]]:
    trials = json.loads((out / "results.json").read_text())["trials"]
    return [{k: v for k, v in trial.items() if k != "seconds"} for trial in trials]


def step(out: Path) -> int:
    """The newest checkpoint of the generator."""
    found = sorted((out / "generators/gan/seed-0/checkpoints").glob("step-*"))
    return int(found[-1].name.removeprefix("step-")) if found else 0


def test_requeued_killed_and_orphaned_it_ends_as_on_one_machine(tmp_path: Path) -> None:
    config, out = tmp_path / "study.yaml", tmp_path / "cluster"
    config.write_text(yaml.safe_dump(STUDY))
    command = [sys.executable, str(SCRIPT), str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RARECELL_DEVICE": "cpu"}
    begin = [*command, f"out={out}", *CLUSTER]

    # It submits, and waits; the one who waits is killed, the jobs go on.
    with subprocess.Popen(begin, stdout=subprocess.PIPE, text=True, env=environment) as waiting:
        wait_for(lambda: step(out) > 5)
        waiting.kill()
        said = waiting.stdout.read() if waiting.stdout is not None else ""
    assert "submitted 3 trials, 0 were in the queue" in said
    numbers = json.loads((out / "jobs/submitted.json").read_text())["trials"]
    job = numbers[GAN]
    assert "gres:gpu:1" in slurm("squeue", "--noheader", f"--jobs={job}", "--format=%b")
    later = numbers["gan+logit_adjustment/seed-0/fold-0"]
    assert "Dependency" in slurm("squeue", "--noheader", f"--jobs={later}", "--format=%r"), "one trains it"

    # The scheduler takes the node away and puts the job into the queue again: it saves its step.
    slurm("scontrol", "requeue", job)
    wait_for(lambda: slurm("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip() == "PENDING")
    saved = step(out)
    assert 5 < saved < 600 and not (out / GAN / "result.json").exists()
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")
    wait_for(lambda: step(out) > saved)
    log = (out / "generators/gan/seed-0/log.jsonl").read_text().splitlines()
    steps = [json.loads(line)["step"] for line in log if "critic" in line]
    assert len(steps) == len(set(steps)), "no step was done twice"

    # The time of the job is up: submitit's signal saves, too, and has it put into the queue again.
    slurm("scancel", "--signal=USR2", job)
    wait_for(lambda: slurm("squeue", "--noheader", f"--jobs={job}", "--format=%T").strip() == "PENDING")
    assert step(out) >= saved and not (out / GAN / "result.json").exists()
    slurm("scontrol", "update", f"JobId={job}", "StartTime=now")

    # The process is killed: the job ends, the next one takes the trial's generator over.
    pid = (
        wait_for(lambda: (out / GAN / "running.json").exists() and step(out) > saved + 5)
        and json.loads((out / GAN / "running.json").read_text())["pid"]
    )
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not slurm("squeue", "--noheader").strip())
    assert (out / "gan+logit_adjustment/seed-0/fold-0/result.json").exists()
    assert not (out / GAN / "result.json").exists() and not (out / "results.json").exists()

    # The same command submits the one trial that is left, and the report.
    ended = subprocess.run(begin, capture_output=True, text=True, env=environment, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "submitted 1 trials, 0 were in the queue" in ended.stdout and "report: " in ended.stdout
    here = subprocess.run([*command, f"out={tmp_path / 'here'}"], env=environment, timeout=280)
    assert here.returncode == 0
    assert figures(out) == figures(tmp_path / "here")
    weights = "generators/gan/seed-0/model/weights.safetensors"
    assert (out / weights).read_bytes() == (tmp_path / "here" / weights).read_bytes()


def test_a_request_that_slurm_refuses_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "study.yaml"
    config.write_text(yaml.safe_dump({**STUDY, "strategies": ["real"]}))
    words = [f"out={tmp_path / 'o'}", *CLUSTER, "cluster.partition=nowhere"]
    ended = subprocess.run([sys.executable, str(SCRIPT), str(config), *words], capture_output=True, text=True)
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]  # after sbatch's own words
    assert last.startswith("error: cluster: sbatch refused the jobs") and "partition" in last
