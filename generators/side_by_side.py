"""Work side by side on a CPU: whole parts of a batch, each on a thread with its share of the cores.

The convolutions of small images are too short to divide well among cores; parts of a batch are not.
PyTorch lets go of Python's lock while it computes, and runs a backward pass in the thread that asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

from runtime.devices import prepare_processor

T = TypeVar("T")


def side_by_side(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Do tasks at the same time, as many as there are cores; the cores left over are shared out.

    What a task computes does not depend on how many run at a time.

    Args:
        tasks: Must not wait for each other.

    Returns:
        What they return, in their order.

    Raises:
        Exception: What the first that failed raised, once all have ended.
    """
    if len(tasks) == 1:
        return [tasks[0]()]
    cores = torch.get_num_threads()
    each = max(1, cores // len(tasks))

    def alone(task: Callable[[], T]) -> T:
        torch.set_num_threads(each)  # of this thread
        return task()

    try:
        if cores == 1:
            return [alone(task) for task in tasks]
        running = [_threads(cores).submit(alone, task) for task in tasks]
        wait(running)
        return [one.result() for one in running]
    finally:
        torch.set_num_threads(cores)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, "part", initializer=prepare_processor)
