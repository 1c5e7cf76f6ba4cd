"""A map over processes: results in order, and no more work in the queue than keeps them busy."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import Protocol, TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")

AHEAD = 3  # calls a process that are given out before their turn comes


class Each(Protocol):
    """The built-in `map` of one iterable, or one like it."""

    def __call__(self, function: Callable[[Given], Made], items: Iterable[Given], /) -> Iterator[Made]:
        """What the function makes of each item, in their order."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def workers(processes: int) -> Iterator[Each]:
    """A `map` that runs in processes of its own; the built-in one where one is enough.

    The processes are spawned, as torch's threads do not survive a fork: function and items must pickle.

    Args:
        processes: How many work at a time.
    """
    if processes == 1:
        yield map
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield partial(_in_order, pool, AHEAD * processes)


def _in_order(
    pool: ProcessPoolExecutor, ahead: int, function: Callable[[Given], Made], items: Iterable[Given]
) -> Iterator[Made]:
    waiting: deque[Future[Made]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
