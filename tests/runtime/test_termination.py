import os
import signal
import threading
from collections.abc import Iterator

import pytest

from runtime.termination import Terminated, held_back, terminate_on_sigterm


@pytest.fixture(autouse=True)
def as_in_a_script() -> Iterator[None]:
    with terminate_on_sigterm():
        yield


def test_afterwards_sigterm_does_what_it_did_before() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminate_on_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_leaves_the_handler_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with terminate_on_sigterm():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


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
