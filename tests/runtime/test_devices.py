"""The processor settings of a run."""

import subprocess
import sys

import pytest

from runtime.devices import _keep_freed_memory

PAGES = """
import resource, torch
{prepare}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    held = [torch.ones(250_000) for _ in range(40)]  # 1 MB each
work(), work()
before = faults()
for _ in range(20):
    work()
print((faults() - before) // 20)
"""
PREPARE = "from runtime.devices import prepare_processor; prepare_processor()"


def _faults(prepare: str) -> int:
    """Pages that a repeated piece of work of 40 MB takes from the system each time."""
    told = subprocess.run(
        [sys.executable, "-c", PAGES.format(prepare=prepare)], capture_output=True, text=True, check=True
    )
    return int(told.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc only")
def test_freed_memory_is_used_again_and_not_taken_from_the_system_anew() -> None:
    assert _faults("pass") > 1000  # else the switch is for nothing, and so is this test
    assert _faults(PREPARE) < 100


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    _keep_freed_memory()
