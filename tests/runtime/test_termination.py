import os
import signal
from collections.abc import Iterator

import pytest

from runtime.termination import Terminated, held_back, terminate_on_sigterm


@pytest.fixture(autouse=True)
def as_in_a_script() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    terminate_on_sigterm()
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_is_held_back_and_delivered_at_the_end_if_nobody_saw_it() -> None:
    done = False
    with pytest.raises(Terminated), held_back() as noted:
        os.kill(os.getpid(), signal.SIGTERM)
        assert noted.requested
        done = True
    assert done


def test_without_sigterm_nothing_happens_and_afterwards_it_stops_at_once() -> None:
    with held_back() as noted:
        pass
    assert not noted.requested
    with pytest.raises(Terminated):
        os.kill(os.getpid(), signal.SIGTERM)


def test_an_error_within_is_not_hidden_by_it() -> None:
    with pytest.raises(ZeroDivisionError), held_back():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ZeroDivisionError
