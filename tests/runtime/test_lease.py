"""Leases: one holder at a time, and none that outlives its process."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime import lease
from runtime.errors import InputError, NotYet, PartFailed
from runtime.lease import Taken, holding, someone_at_work
from runtime.rundir import RunDir

Hold = Callable[[Path], subprocess.Popen[str]]


def test_a_killed_holder_is_taken_over_at_once_and_a_live_one_never(
    tmp_path: Path, hold_elsewhere: Hold
) -> None:
    path = tmp_path / lease.FOLDER / "part.lease"
    with hold_elsewhere(path) as other:
        with pytest.raises(Taken), holding(path):
            pass
        assert someone_at_work(tmp_path)
        other.send_signal(signal.SIGKILL)
        other.wait()
        with holding(path):
            pass
    assert not someone_at_work(tmp_path)


def test_who_waits_gets_it_and_is_told_so(tmp_path: Path, hold_elsewhere: Hold) -> None:
    path, said = tmp_path / "a" / "part.lease", []
    with hold_elsewhere(path) as other:

        def told() -> None:
            said.append("waiting")
            other.kill()
            other.wait()

        with holding(path, told):
            assert said == ["waiting"]


def test_the_same_process_may_hold_it_twice(tmp_path: Path) -> None:
    with holding(tmp_path / "l"), holding(tmp_path / "l"):
        assert (tmp_path / "l").exists()
    assert not (tmp_path / "l").exists()


def test_a_lease_of_another_machine_is_taken_over_when_it_was_not_renewed(
    tmp_path: Path, hold_elsewhere: Hold, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "part.lease"
    with hold_elsewhere(path) as other:
        other.kill()  # a power cut there, as seen from here:
    path.write_text(path.read_text().replace(socket.gethostname(), "another-machine").replace("60.0", "0.6"))
    monkeypatch.setattr(lease, "EXPIRES", 0.6)
    begun = time.monotonic()
    with pytest.raises(Taken), holding(path):
        pass
    with holding(path, lambda: None):
        assert 0.5 < time.monotonic() - begun < 10


def test_a_run_leaves_half_written_files_alone_while_workers_of_it_live(
    tmp_path: Path, hold_elsewhere: Hold
) -> None:
    with RunDir(tmp_path / "run", {"a": 1}):
        pass
    half = tmp_path / "run" / f".figures.{os.getpid()}.tmp.json"
    half.write_text("{")
    with hold_elsewhere(tmp_path / "run" / lease.FOLDER / "trials" / "x.lease") as other:
        with RunDir(tmp_path / "run", {"a": 1}):
            assert half.exists()
        other.kill()
    with RunDir(tmp_path / "run", {"a": 1}):
        assert not half.exists()


def test_exit_codes_tell_apart_what_went_wrong() -> None:
    assert (InputError.exit_code, PartFailed.exit_code, NotYet.exit_code) == (2, 3, 75)
