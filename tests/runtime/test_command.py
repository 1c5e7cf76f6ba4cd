import argparse
import errno
import signal
from pathlib import Path

import pytest

from runtime.command import run_command, split_arguments, take, take_required, take_switch
from runtime.errors import InputError
from runtime.termination import Terminated


@pytest.mark.parametrize(
    ("raised", "code", "words"),
    [
        (None, 0, ""),
        (InputError("data.root: no such folder."), 2, "error: data.root: no such folder."),
        (KeyboardInterrupt(), 130, "run the same command again to resume"),
        (Terminated(), 75, "stopped by SIGTERM; run the same command again to resume"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/log.jsonl"),
            2,
            "error: run/log.jsonl: No space left on device; make room and run the same command again",
        ),
    ],
)
def test_exit_codes(
    raised: BaseException | None, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(arguments: argparse.Namespace) -> None:
        if raised is not None:
            raise raised

    with pytest.raises(SystemExit) as caught:
        run_command(main, argparse.ArgumentParser(), [])
    assert caught.value.code == code
    captured = capsys.readouterr().err
    assert words in captured
    assert "Traceback" not in captured


def test_sigterm_is_as_before_once_a_command_has_ended() -> None:
    before, within = signal.getsignal(signal.SIGTERM), []

    def main(arguments: argparse.Namespace) -> None:
        within.append(signal.getsignal(signal.SIGTERM))

    with pytest.raises(SystemExit):
        run_command(main, argparse.ArgumentParser(), [])
    assert within[0] is not before and signal.getsignal(signal.SIGTERM) is before


def test_a_bug_keeps_its_traceback() -> None:
    def main(arguments: argparse.Namespace) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command(main, argparse.ArgumentParser(), [])


def test_words_are_told_apart() -> None:
    paths, overrides = split_arguments(["configs/a.yaml", "out=x", "seed=1"])
    assert paths == [Path("configs/a.yaml")]
    assert take(overrides, "out") == ("x", ["seed=1"])
    assert take(overrides, "root") == (None, overrides)
    with pytest.raises(InputError, match="'root=' is missing"):
        take_required(overrides, "root", "data/pbc")


def test_a_switch_is_true_or_false() -> None:
    assert take_switch(["a=1", "dry_run=true"], "dry_run") == (True, ["a=1"])
    assert take_switch(["dry_run=false"], "dry_run") == take_switch([], "dry_run") == (False, [])
    with pytest.raises(InputError, match="dry_run=1: is a switch"):
        take_switch(["dry_run=1"], "dry_run")
