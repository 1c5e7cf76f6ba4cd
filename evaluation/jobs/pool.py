"""Trials on one machine, several at a time: each in a process with its share of the cores or its own GPU."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from evaluation.jobs.running import FAILED, Job, note_failure
from evaluation.jobs.where import gpus
from runtime.parallel import cores

TRIES = 2  # of a trial whose process dies: once may be an accident
PATIENCE = 600.0  # seconds for a worker to save its step


@dataclass
class _Worker:
    """A process, and what it works on."""

    process: subprocess.Popen[str]
    job: Job | None = None


@dataclass
class _Left:
    """The jobs that nobody has taken yet, and what those that run are making."""

    jobs: list[Job]
    made: set[object] = field(default_factory=set)

    def take(self, busy: Sequence[Job]) -> Job | None:
        """The next job: one that makes what others wait for, else the first that need not wait itself."""
        making = {job.needs for job in busy} - self.made
        free = [job for job in self.jobs if job.needs is None or job.needs not in making]
        if not free:
            return None
        first = next((job for job in free if job.needs is not None and job.needs not in self.made), free[0])
        self.jobs.remove(first)
        return first


def environment(number: int, size: int) -> dict[str, str]:
    """Variables of the environment of one worker: its share of the cores, and its GPU.

    Args:
        number: Of the worker, from 0.
        size: Of the pool. OMP_NUM_THREADS stays as it is where it is set.
    """
    share = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(max(1, cores() // size))}
    devices = gpus()
    if devices:
        share["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
    return {**os.environ, **share}


def run_pool(jobs: Sequence[Job], size: int, say: Callable[[str], None]) -> None:
    """Run jobs in processes of their own; those that fail leave their ``failed.json``.

    Args:
        jobs: To be done; of several that need the same generator, one makes it first.
        size: Processes.
        say: Takes each line of progress.
    """
    left, deaths = _Left(list(jobs), {job.needs for job in jobs if job.ready}), dict[Job, int]()
    heard: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    pool: dict[int, _Worker] = {}
    try:
        while left.jobs or any(worker.job for worker in pool.values()):
            for number in range(size):
                _give(pool, number, size, left, heard)
            number, line = heard.get()
            if line:
                _hear(pool[number], json.loads(line), left, say)
            else:
                _bury(pool.pop(number), left, deaths, say)
    finally:
        _dismiss(pool)


def _give(
    pool: dict[int, _Worker],
    number: int,
    size: int,
    left: _Left,
    heard: queue.SimpleQueue[tuple[int, str]],
) -> None:
    """Have a worker take a job if it has none, and start it if it does not live."""
    if number in pool and pool[number].job is not None:
        return
    job = left.take([worker.job for worker in pool.values() if worker.job is not None])
    if job is None:
        return
    if number not in pool:
        pool[number] = _Worker(_start(environment(number, size)))
        threading.Thread(target=_relay, args=(number, pool[number].process, heard), daemon=True).start()
    pool[number].job = job
    stdin = pool[number].process.stdin
    assert stdin is not None
    with suppress(BrokenPipeError):  # if it died: its end is heard next
        stdin.write(json.dumps({"out": str(job.out), "trial": job.trial, "workers": size}) + "\n")
        stdin.flush()


def _start(variables: Mapping[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "evaluation.jobs.worker"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8", env=variables)


def _relay(number: int, process: subprocess.Popen[str], heard: queue.SimpleQueue[tuple[int, str]]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            heard.put((number, line))
    heard.put((number, ""))


def _hear(worker: _Worker, answer: Mapping[str, object], left: _Left, say: Callable[[str], None]) -> None:
    if "say" in answer:
        say(str(answer["say"]))
        return
    job, worker.job = worker.job, None
    assert job is not None
    if answer["done"]:
        left.made.add(job.needs)
    elif (job.folder / FAILED).exists():  # else another process is at it
        say(f"{job.trial} failed: see {job.folder}")


def _bury(worker: _Worker, left: _Left, deaths: dict[Job, int], say: Callable[[str], None]) -> None:
    """A worker that died: its trial is tried once more, as the process may have been killed from outside."""
    code, job = _end(worker.process), worker.job
    if job is None:
        return
    how = f"its process was killed by signal {-code}" if code < 0 else f"its process ended with {code}"
    deaths[job] = deaths.get(job, 0) + 1
    if deaths[job] < TRIES:
        say(f"{job.trial}: {how}; trying it once more")
        left.jobs.insert(0, job)
    else:
        say(f"{job.trial}: {how}, {TRIES} times")
        note_failure(job.folder, f"{how}, {TRIES} times")


def _dismiss(pool: Mapping[int, _Worker]) -> None:
    """End all workers; one in the midst of a training saves its step first."""
    for worker in pool.values():
        if worker.job is not None:
            worker.process.terminate()
        elif worker.process.stdin is not None:
            with suppress(BrokenPipeError):
                worker.process.stdin.write("null\n")
                worker.process.stdin.flush()
    for worker in pool.values():
        _end(worker.process)


def _end(process: subprocess.Popen[str]) -> int:
    """Wait for a process that is about to end, close its input, and return its exit code."""
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
    if process.stdin is not None:
        with suppress(OSError):  # what was still in it
            process.stdin.close()
    return process.wait()
