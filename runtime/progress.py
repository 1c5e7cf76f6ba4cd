"""Progress bars that are quiet where nobody watches."""

import sys
from typing import Any

from tqdm import tqdm


def progress(total: int, description: str, start: int = 0) -> "tqdm[Any]":
    """A bar on stderr with the time left; silent unless stderr is a terminal.

    Args:
        total: Number of steps.
        description: A few words, shown at the left.
        start: Steps done before, by an earlier run.
    """
    return tqdm(
        total=total,
        desc=description,
        initial=start,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        leave=False,
        mininterval=0.5,
    )


def duration(seconds: float) -> str:
    """An estimate of time in words: ``"about 40 s"``, ``"about 25 min"``, ``"about 3.5 h"``.

    Args:
        seconds: 0 or more.
    """
    if seconds < 1:
        return "less than a second"
    if seconds < 60:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 7200 else f"about {seconds / 3600:.1f} h"
