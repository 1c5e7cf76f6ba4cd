"""What every script does alike: parse, run, and end with one clear sentence when the input is wrong."""

import argparse
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from runtime.devices import is_main_process, prepare_processor
from runtime.errors import InputError, NotYet
from runtime.termination import EXIT_CODE as TERMINATED
from runtime.termination import Terminated, terminate_on_sigterm

INTERRUPTED = 130
BAD_INPUT = 2
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run_command(
    main: Callable[[argparse.Namespace], None],
    parser: argparse.ArgumentParser,
    argv: list[str] | None = None,
) -> NoReturn:
    """Parse the command line, run `main` with it, and exit.

    Exit codes: 0 done; 2 bad input or a full disk, said in one sentence on stderr; 3 parts failed, the
    others are done; 75 stopped by SIGTERM, with what was done saved, or left to a cluster; 130
    interrupted by Ctrl-C. After 3, 75 and 130 the same command goes on.

    Args:
        main: The script's work, given the parsed arguments.
        parser: Its arguments.
        argv: Words after the script's name; the process's own when None.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    arguments = parser.parse_args(argv)
    prepare_processor()
    if not is_main_process():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (for as long as the process lives)
    try:
        with terminate_on_sigterm():
            main(arguments)
    except InputError as error:
        print(f"{'' if isinstance(error, NotYet) else 'error: '}{error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(
            f"error: {where}{error.strerror}; make room and run the same command again: it goes on.",
            file=sys.stderr,
        )
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Terminated:
        print("stopped by SIGTERM; run the same command again to resume", file=sys.stderr)
        sys.exit(TERMINATED)
    sys.exit(0)


def words_parser(description: str | None, shape: str, about: str) -> argparse.ArgumentParser:
    """The parser of a command whose arguments are paths and ``key=value`` words.

    Args:
        description: The script's docstring, shown as it is.
        shape: How the words look, e.g. ``CONFIG [out=DIR] [key=value ...]``.
        about: What they are, in a few words.

    Returns:
        A parser that leaves them in ``words``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # "*": a script says itself, in its own words, what is missing.
    parser.add_argument("words", nargs="*", metavar=shape, help=about)
    return parser


def split_arguments(words: list[str]) -> tuple[list[Path], list[str]]:
    """Tell paths from ``key=value`` overrides.

    Args:
        words: The command's positional words, in any order.

    Returns:
        The paths and the overrides, each in order.
    """
    overrides = [word for word in words if "=" in word]
    return [Path(word) for word in words if "=" not in word], overrides


def take(overrides: list[str], key: str) -> tuple[str | None, list[str]]:
    """Take one key out of the overrides.

    Returns:
        Its last value, or None where it is absent, and the overrides without it.
    """
    values = [word.partition("=")[2] for word in overrides if word.partition("=")[0] == key]
    rest = [word for word in overrides if word.partition("=")[0] != key]
    return (values[-1] if values else None), rest


def take_required(overrides: list[str], key: str, example: str) -> tuple[str, list[str]]:
    """Take a key that must be there.

    Raises:
        InputError: If it is absent or empty.
    """
    value, rest = take(overrides, key)
    if not value:
        raise InputError(f"'{key}=' is missing: add it, e.g. {key}={example}.")
    return value, rest


def take_switch(overrides: list[str], key: str) -> tuple[bool, list[str]]:
    """Take a key that is ``true`` or ``false``; false where it is absent.

    Raises:
        InputError: If it is anything else.
    """
    value, rest = take(overrides, key)
    if value not in (None, "true", "false"):
        raise InputError(f"{key}={value}: is a switch; set it to true or false.")
    return value == "true", rest
