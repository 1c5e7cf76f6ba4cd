"""SIGTERM: what a scheduler sends before it takes the machine away. Work is saved, then it stops."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 75  # EX_TEMPFAIL of sysexits.h: not done, try again; a scheduler can requeue on it


class Terminated(BaseException):
    """SIGTERM came; what was done is saved. Not an `Exception`: nothing should swallow it."""


class Termination:
    """Whether SIGTERM has come within `held_back`."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def terminate_on_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises `Terminated` in the main thread; afterwards it does what it did before.

    In other threads than the main one nothing changes, since only that one may set a handler.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def held_back() -> Iterator[Termination]:
    """Within, SIGTERM is only noted; the caller looks at `requested`, saves, and raises `Terminated`.

    A second SIGTERM does not hurry it. One that comes too late for the caller to see it is delivered
    at the end. In other threads than the main one nothing is held back, since only that one receives
    signals.
    """
    noted = Termination()

    def note(number: int, frame: FrameType | None) -> None:
        noted.requested = True

    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = signal.signal(signal.SIGTERM, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGTERM, before)
    if noted.requested:
        signal.raise_signal(signal.SIGTERM)
