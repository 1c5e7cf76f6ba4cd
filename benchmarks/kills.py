"""Does training survive SIGKILL? Kill it again and again, and compare with the run that was left alone.

    python benchmarks/kills.py [n=20] [seed=0] [steps=24]

First one save of a checkpoint is killed before each of its file-system calls in turn: whatever is
found afterwards must verify, and be the old state or the new one. Then trainings of a tiny GAN and a
tiny diffusion model, with a checkpoint after every step, are killed at n random moments each and
begun again until they end: the last checkpoint (networks, averages, optimizers, counters) and the
saved model must be the same bits as those of an uninterrupted run. Exit code 2 where they are not.

Each life is a fork of this process, so that a round takes no time to start.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from cells.phantom import CLASSES, phantoms
from generators import DiffusionSettings, GanSettings, GeneratorSettings, build
from runtime.checkpoint import file_digest, load_checkpoint, save_checkpoint
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.errors import InputError
from runtime.rundir import RunDir

COMMON: dict[str, Any] = {
    "batch": 8, "warmup": 1, "checkpoint_every": 1, "log_every": 5, "grid_every": 9,
    "grid_columns": 2, "channels": (8, 16),
}  # fmt: skip
KINDS: dict[str, GeneratorSettings] = {
    "gan": GanSettings(**COMMON, latent=4, penalty_every=3),
    "diffusion": DiffusionSettings(**COMMON, sampling_steps=3),
}
CALLS = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


class KillsSettings(Settings):
    """How often, and with which luck."""

    n: int = Field(20, ge=1)
    seed: int = 0
    steps: int = Field(24, ge=1)


def life(work: Callable[[], object], seconds: float | None = None) -> int:
    """Run some work in a fork of this process.

    Args:
        work: What to do.
        seconds: When to kill it; None to let it end.

    Returns:
        Its exit status: 0 where it ended by itself, ``-SIGKILL`` where it was killed.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise InputError(f"a life ended by itself with exit code {status}; its error is above.")
    return status


def kill_saves(folder: Path) -> int:
    """Kill a save before each of its file-system calls in turn; how many there were.

    Raises:
        InputError: If what was left behind is not whole, or the next save does not succeed.
    """
    tensors = [{"w": torch.full((64,), float(step))} for step in range(5)]

    def save_until(call: int) -> None:
        left = call

        def count(event: str, words: tuple[Any, ...]) -> None:
            nonlocal left
            if event in CALLS:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)  # cannot be taken away again: it ends with this life
        save_checkpoint(folder, 3, tensors[3], {})

    for call in range(10_000):
        shutil.rmtree(folder, ignore_errors=True)
        for step in (1, 2):
            save_checkpoint(folder, step, tensors[step], {})
        ended = life(lambda call=call: save_until(call)) == 0  # type: ignore[misc]
        found = load_checkpoint(folder)
        if found is None or found.step not in (2, 3) or found.damaged:
            raise InputError(f"killed before call {call} of a save: {found} was found afterwards.")
        if not torch.equal(found.tensors["w"], tensors[found.step]["w"]):
            raise InputError(f"killed before call {call} of a save: step {found.step} has other weights.")
        save_checkpoint(folder, 4, tensors[4], {})
        if ended:
            return call
    raise AssertionError("a save ends")


def result(folder: Path, steps: int) -> dict[str, str]:
    """Digests of all that a finished training leaves to go on from."""
    last = folder / "checkpoints" / f"step-{steps:08d}"
    files = [last / "tensors.safetensors", last / "state.json", folder / "model" / "weights.safetensors"]
    return {file.name: file_digest(file) for file in files}


def kill_trainings(kind: str, settings: KillsSettings, work: Path) -> tuple[int, int]:
    """Kill trainings of a kind at random moments; how many had to be finished, and kills inside a save.

    Raises:
        InputError: If a finished one differs from the uninterrupted one.
    """
    cells = phantoms(dict.fromkeys(CLASSES, 6), 16, seed=0, split="train")
    model = KINDS[kind].model_copy(update={"steps": settings.steps})
    luck = random.Random(f"{kind} {settings.seed}")

    def training(folder: Path) -> Callable[[], object]:
        def whole() -> None:
            with RunDir(folder, {"kind": kind}) as run:
                build(model, cells.classes, 16, seed=1).fit(cells, run)

        return whole

    begun = time.monotonic()
    life(training(work / "whole"))
    took = time.monotonic() - begun
    expected = result(work / "whole", settings.steps)
    kills = inside = rounds = 0
    while kills < settings.n:
        folder = work / f"round-{rounds}"
        while kills < settings.n and life(training(folder), luck.uniform(0, took / 3)) != 0:
            kills += 1
            inside += bool(list(folder.glob("checkpoints/.step-*.tmp")))
        life(training(folder))
        found = result(folder, settings.steps)
        if found != expected:
            raise InputError(f"{kind}: {found} after {kills} kills, {expected} without any.")
        rounds += 1
    return rounds, inside


def main(arguments: argparse.Namespace) -> None:
    """Kill saves, then trainings."""
    settings = load_config(KillsSettings, None, arguments.words)
    torch.set_num_threads(1)  # threads do not survive a fork
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        print(f"a save, killed before each of its {kill_saves(work / 'saves')} calls: always whole")
        for kind in KINDS:
            rounds, inside = kill_trainings(kind, settings, work / kind)
            print(
                f"{kind}: {settings.n} kills at random moments, {inside} of them inside a save; "
                f"{rounds} trainings finished, each with the bits of the uninterrupted one"
            )


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "[n=N] [seed=N] [steps=N]", "kills of each kind"))
