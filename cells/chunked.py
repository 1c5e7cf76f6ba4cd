"""Work on many images, a chunk at a time, on one core or on several."""

from collections.abc import Callable, Iterator
from typing import TypeVar

from cells.mapped import CHUNK, Pixels, chunks
from runtime.parallel import Each, cores
from runtime.progress import progress

Made = TypeVar("Made")

ENOUGH = 512  # images below which more processes take longer to start than they save


def processes_for(count: int) -> int:
    """How many processes are to work on so many images: one a core, or one alone for few."""
    return cores() if count >= ENOUGH else 1


def by_chunk(
    function: Callable[[Pixels], Made], pixels: Pixels, each: Each, description: str
) -> Iterator[Made]:
    """What a function makes of each chunk of images, in order, with a bar.

    Args:
        function: Of uint8 (k, h, w, 3), k at most `CHUNK`.
        pixels: uint8, shape (n, h, w, 3).
        each: Maps over the chunks; see `runtime.parallel.workers`.
        description: For the bar.
    """
    left = len(pixels)
    with progress(left, description) as bar:
        for made in each(function, chunks(pixels)):
            yield made
            bar.update(min(CHUNK, left))
            left -= CHUNK
