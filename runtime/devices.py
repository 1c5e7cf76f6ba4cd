"""Where tensors live, and the processor settings that every run shares."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

# glibc's malloc.h
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU (``RARECELL_DEVICE`` overrides)."""
    name = os.environ.get("RARECELL_DEVICE")
    if name is None and torch.cuda.is_available():
        # Of several processes on a machine, each has its own GPU.
        number = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
        return torch.device("cuda", number)
    return torch.device(name or "cpu")


def prepare_processor() -> None:
    """Have a CPU compute without needless waits; call it before any other thread begins.

    Denormal numbers become zero: networks near convergence run several times faster. And memory that is
    freed stays with the process: a training step asks for the same again, and to take it from the
    system anew, page by page, costs a fifth of the step (docs/results/throughput.md).
    """
    torch.set_flush_denormal(True)
    _keep_freed_memory()


@contextmanager
def with_denormals() -> Iterator[None]:
    """Within, this thread computes with denormal numbers, as if `prepare_processor` had not been called.

    SciPy's cKDTree needs them: where most coordinates are 0 it divides at the smallest number above, and with
    that one taken for 0 it divides without end until the stack is full and the process dies.
    """
    flushed = bool(np.nextafter(0.0, 1.0) == 0.0)
    torch.set_flush_denormal(False)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def _keep_freed_memory() -> None:
    """Where the C library is glibc; others have no such switch, and nothing is lost but time."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(_TOP_PAD, 2**26)  # asked for at a time
    mallopt(_MMAP_THRESHOLD, 2**25)  # the most there is: what is larger has pages of its own
    mallopt(_ARENA_MAX, 1)  # threads with memory of their own would give it back, too


def is_main_process() -> bool:
    """True but for the second and later processes of `accelerate launch`: only the first one writes."""
    return os.environ.get("RANK", "0") == "0"
