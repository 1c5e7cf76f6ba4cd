"""A process of the pool: takes trials from its standard input and answers in lines of JSON.

Not a command for people: `evaluation.jobs.pool` starts it. What a trial prints goes to its ``log.txt``. When
the input ends because the parent was killed, the worker stops as by SIGTERM: a training saves its step.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from evaluation.benchmark import complete
from evaluation.jobs.joining import joined_study, logged
from evaluation.jobs.running import LOG, attempt, numbered
from runtime.command import run_command


def main(arguments: argparse.Namespace) -> None:
    """Run the trials that are asked for, until no more are."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # what anything else prints is no answer

    def answer(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")

    opened = lru_cache(maxsize=1)(partial(joined_study, say=lambda line: answer(say=line)))
    asked: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    while True:
        job = json.loads(asked.get())
        if job is None:
            return
        with logged(Path(job["out"]) / job["trial"] / LOG):
            study = opened(Path(job["out"]), workers=job["workers"])
            number, trial = numbered(study.settings, job["trial"])
            done = attempt(study, number, trial, complete)
        answer(done=done)


def _listen(asked: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        asked.put(line)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    run_command(main, argparse.ArgumentParser(description=__doc__))
