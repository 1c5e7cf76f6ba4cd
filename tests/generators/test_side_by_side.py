"""Tasks at the same time, each with its share of the cores."""

import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from generators.side_by_side import side_by_side


@pytest.fixture(autouse=True)
def cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_tasks() -> None:
    def late(number: int) -> int:
        time.sleep(0.02 * (3 - number))
        return number

    assert side_by_side([partial(late, number) for number in range(4)]) == [0, 1, 2, 3]


def test_tasks_run_at_the_same_time_and_share_the_cores() -> None:
    meeting = threading.Barrier(2, timeout=5)

    def meet() -> int:
        meeting.wait()  # breaks unless both get here
        return torch.get_num_threads()

    assert side_by_side([meet, meet]) == [2, 2]
    assert torch.get_num_threads() == 4


def test_one_core_does_one_after_the_other_alike() -> None:
    torch.set_num_threads(1)
    here = threading.current_thread()
    assert side_by_side([threading.current_thread] * 3) == [here] * 3
    assert torch.get_num_threads() == 1


def test_one_task_keeps_all_cores() -> None:
    assert side_by_side([torch.get_num_threads]) == [4]


def test_a_failure_is_raised_once_all_have_ended() -> None:
    ended = threading.Event()

    def fail() -> None:
        raise RuntimeError("out of luck")

    def work() -> None:
        time.sleep(0.05)
        ended.set()

    with pytest.raises(RuntimeError, match="out of luck"):
        side_by_side([fail, work])
    assert ended.is_set()
    assert torch.get_num_threads() == 4
