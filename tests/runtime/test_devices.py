"""The processor settings of a run."""

import ctypes
import platform

import pytest

from runtime.devices import _keep_freed_memory


class Recorded:
    """The C library, with a memory of what its `mallopt` answered."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self._real = ctypes.CDLL(None).mallopt

    def mallopt(self, option: int, value: int) -> None:
        self.answers.append(self._real(option, value))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc only")
def test_the_library_takes_every_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing of a value that it does not take, as of a threshold one byte too large."""
    library = Recorded()
    monkeypatch.setattr("ctypes.CDLL", lambda name: library)
    _keep_freed_memory()
    assert library.answers == [1, 1, 1, 1]


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", lambda name: asked.append(name) or object())
    _keep_freed_memory()  # an object without mallopt would raise if it were called
    assert asked == [None]
