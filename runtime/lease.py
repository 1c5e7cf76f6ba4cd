"""The right to make something, held by one process at a time, on one machine or many with a shared folder.

A lease is a file that is made atomically and whose time its holder renews. One of a process that died on
this machine is taken over at once, one of another machine when it was not renewed for `EXPIRES` seconds, by
the clock of who waits. None of this needs more of a shared folder than atomic creation and renaming.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import LeaseCompromise, SoftFileLease, Timeout

EXPIRES = 60.0  # seconds without renewal; the same for all who may want a lease
FOLDER = ".leases"


class Taken(Exception):
    """Another process holds the lease."""


@contextmanager
def holding(path: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lease; a process may hold the same one again within.

    Args:
        path: File of the lease, by convention under `FOLDER`; its folder is made if absent.
        waiting: Called once if another process has it, which is then waited for; None does not wait.

    Raises:
        Taken: If another process has it and `waiting` is None.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = SoftFileLease(path, lease_duration=EXPIRES, on_compromise=_lost, is_singleton=True)
    try:
        lease.acquire(blocking=False)
    except Timeout:
        if waiting is None:
            raise Taken(str(path)) from None
        waiting()
        lease.acquire(poll_interval=0.5)
    try:
        yield
    finally:
        lease.release()


def someone_at_work(folder: Path) -> bool:
    """Whether any lease in a run's directory is held; those of processes that died here are cleared away.

    Args:
        folder: The run's directory.
    """
    for path in (folder / FOLDER).rglob("*.lease"):
        try:
            with holding(path):
                pass
        except Taken:
            return True
    return False


def _lost(loss: LeaseCompromise) -> None:
    """Stop rather than write beside the one who took over, which happens to a process that was suspended."""
    print(f"{loss.lock_file}: another process took this over ({loss.reason}); stopping", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)
