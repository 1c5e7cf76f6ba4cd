"""The one exception that means: the input is wrong and a person can mend it."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something that the user can fix: the message is one sentence with the file or key and the fix.

    Scripts print it without a traceback and exit with `exit_code`. Any other exception is a bug of ours.
    """

    exit_code = 2


class PartFailed(InputError):
    """Parts of a run failed; the others are kept, and the same command tries the failed ones again."""

    exit_code = 3


class NotYet(InputError):
    """Nothing is wrong, but a cluster has not done it yet: the same command again goes on."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h, as after SIGTERM


def suggest(word: str, options: Iterable[str]) -> str:
    """A hint at the nearest of the valid words.

    Args:
        word: What was given.
        options: What is valid.

    Returns:
        ``" Did you mean 'x'?"``, or the options where none is near.
    """
    known = [str(option) for option in options]
    near = difflib.get_close_matches(word, known, n=1)
    if near:
        return f" Did you mean '{near[0]}'?"
    return f" Valid: {', '.join(sorted(known))}." if known else ""
