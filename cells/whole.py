"""Files and folders that are whole or absent, whoever is interrupted or comes second."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.errors import InputError


def make_whole(path: Path, make: Callable[[Path], Path]) -> Path:
    """A file or folder that is whole or absent: made in a temporary folder beside it, then renamed.

    Another process that makes it is waited for.

    Args:
        path: Where; what is there already is whole and stays.
        make: Is given an empty folder, and returns what is to be `path`: a file that it wrote in it,
            or the folder itself.

    Raises:
        InputError: If it cannot be written.
    """
    if path.exists():
        return path
    with _locked(path):
        if not path.exists():
            aside = path.with_name(f".{path.name}.tmp")
            shutil.rmtree(aside, ignore_errors=True)  # what an interrupted start left
            try:
                aside.mkdir()
                make(aside).replace(path)
            except OSError as error:
                raise _unwritable(path, error) from None
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the right to make `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.with_name(f".{path.name}.lock").open("w")
    except OSError as error:
        raise _unwritable(path, error) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path.parent}: cannot be written ({error.strerror}); make room or allow writing there."
    )
