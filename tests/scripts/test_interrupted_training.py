"""train_generator.py stopped by a scheduler, by a full disk, by SIGKILL; and on several processes."""

import json
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from runtime.checkpoint import load_checkpoint

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "train_generator.py"
CONFIG = """
data: {{kind: phantom, image_size: 16, counts: {{round: 6, lobed: 4}}, val_per_class: 2, test_per_class: 2}}
seed: 5
generator: {{kind: {kind}, steps: {steps}, batch: 4, channels: [8, 16], checkpoint_every: 3, log_every: 1}}
"""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads()), "RARECELL_DEVICE": "cpu"}
LAUNCH = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]  # fmt: skip
every_trained_kind = pytest.mark.parametrize("kind", ["gan", "diffusion"])


def _start(
    folder: Path, kind: str, steps: int, *before: str, limit: int | None = None
) -> subprocess.Popen[str]:
    """The command of a user, with `before` in front of the script, and files of at most `limit` bytes."""

    def bound() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that writing fails as on a full disk
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    config = folder.parent / f"{kind}.yaml"
    config.write_text(CONFIG.format(kind=kind, steps=steps))
    return subprocess.Popen(
        [sys.executable, *before, str(SCRIPT), str(config), f"out={folder}"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=bound,
    )  # fmt: skip


def _finish(folder: Path, kind: str, steps: int) -> None:
    """The same command in this process, which is begun already."""
    config = folder.parent / f"{kind}.yaml"
    config.write_text(CONFIG.format(kind=kind, steps=steps))
    words = [str(SCRIPT), str(config), f"out={folder}"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr("sys.argv", words)
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert end.value.code == 0


def _wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    log, deadline = folder / "log.jsonl", time.monotonic() + 120
    while not (log.exists() and f'"step": {step}' in log.read_text()):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def _last_step(folder: Path) -> int:
    lines = (folder / "log.jsonl").read_text().splitlines()
    return int(json.loads(lines[-1])["step"])


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "weights.safetensors")


@every_trained_kind
def test_sigterm_finishes_the_step_saves_and_the_same_command_goes_on(kind: str, tmp_path: Path) -> None:
    steps = 40
    stopped = _start(tmp_path / "run", kind, steps)
    _wait_for_step(tmp_path / "run", 4, stopped)
    second = _start(tmp_path / "run", kind, steps) if kind == "gan" else None
    if second is None:
        stopped.send_signal(signal.SIGTERM)
    else:  # while the first one runs
        os.kill(stopped.pid, signal.SIGSTOP)
        _, refused = second.communicate(timeout=120)
        os.kill(stopped.pid, signal.SIGTERM)
        os.kill(stopped.pid, signal.SIGCONT)
        assert second.returncode == 2
        assert f"error: {tmp_path / 'run'}: another process is running here" in refused
    _, err = stopped.communicate(timeout=120)
    assert stopped.returncode == 75, err
    assert err == "stopped by SIGTERM; run the same command again to resume\n"
    kept = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert kept is not None and 4 <= kept.step == _last_step(tmp_path / "run") < steps
    _finish(tmp_path / "run", kind, steps)
    _finish(tmp_path / "whole", kind, steps)
    expected, found = _weights(tmp_path / "whole"), _weights(tmp_path / "run")
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


def test_a_full_disk_ends_the_run_in_one_sentence(tmp_path: Path) -> None:
    full = _start(tmp_path / "run", "gan", 4, limit=60_000)
    _, err = full.communicate(timeout=120)
    assert full.returncode == 2, err
    said = err.splitlines()[-1]
    assert said.startswith(
        f"error: {tmp_path / 'run/checkpoints/step-00000003'}: the checkpoint could not be"
    )
    assert "make room and run the same command again" in said and "Traceback" not in err
    assert not list((tmp_path / "run" / "checkpoints").glob("*"))


@every_trained_kind
def test_two_processes_give_the_result_of_one(kind: str, tmp_path: Path) -> None:
    _finish(tmp_path / "one", kind, 4)
    launched = _start(tmp_path / "two", kind, 4, *LAUNCH)
    out, err = launched.communicate(timeout=240)
    assert launched.returncode == 0, err
    assert out.count("trained on 10 cells") == 1
    one, two = _weights(tmp_path / "one"), _weights(tmp_path / "two")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=2e-4, msg=name)
    # That there were two is seen by the last bits, and by the process's share of the loss in the log.
    assert any(not torch.equal(value, two[name]) for name, value in one.items())
    first = [
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0]) for name in ("one", "two")
    ]
    loss = "critic" if kind == "gan" else "loss"
    assert first[0][loss] != first[1][loss]
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 4
    assert len(list((tmp_path / "two" / "events").iterdir())) == 1


def test_sigterm_of_a_launch_saves_and_the_run_goes_on_even_on_one_process(tmp_path: Path) -> None:
    steps = 60
    stopped = _start(tmp_path / "run", "gan", steps, *LAUNCH)
    _wait_for_step(tmp_path / "run", 4, stopped)
    stopped.send_signal(signal.SIGTERM)
    _, err = stopped.communicate(timeout=120)
    assert stopped.returncode not in (0, None)
    kept = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert kept is not None and 4 <= kept.step == _last_step(tmp_path / "run") < steps, err
    _finish(tmp_path / "run", "gan", steps)  # on one process: a checkpoint is not of so many
    assert _last_step(tmp_path / "run") == steps


def test_kills_at_random_moments_and_inside_saves_change_nothing() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "n=2", "steps=8"]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("each with the bits of the uninterrupted one") == 2
    assert "always whole" in done.stdout
