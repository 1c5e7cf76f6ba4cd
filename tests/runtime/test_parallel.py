"""A map over processes is a map: in order, lazy, and with the error of the first that fails."""

import math
import os
from collections.abc import Iterator

import pytest

from runtime.parallel import AHEAD, cores, workers


def test_one_process_is_this_one() -> None:
    asked: list[int] = []
    with workers(1) as each:  # a local function does not pickle
        assert list(each(lambda number: asked.append(number), range(3))) == [None] * 3
    assert asked == [0, 1, 2]


def test_processes_answer_in_order_and_are_not_given_all_at_once() -> None:
    given: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(40):
            given.append(number)
            yield number

    with workers(2) as each:
        answers = each(math.factorial, numbers())
        assert next(answers) == 1
        assert len(given) == 2 * AHEAD + 1, "the built-in map would have taken one"
        assert list(answers) == [math.factorial(number) for number in range(1, 40)]
        with pytest.raises(ValueError, match="negative"):
            list(each(math.factorial, [2, -3, 4]))


def test_cores_are_those_that_may_be_used() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
