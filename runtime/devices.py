"""Where tensors live, and the processor settings that every run shares."""

import os

import torch


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU (``RARECELL_DEVICE`` overrides)."""
    name = os.environ.get("RARECELL_DEVICE")
    if name is None and torch.cuda.is_available():
        # Of several processes on a machine, each has its own GPU.
        number = int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count()
        return torch.device("cuda", number)
    return torch.device(name or "cpu")


def prepare_processor() -> None:
    """Flush denormal numbers to zero: networks near convergence run several times faster on CPUs."""
    torch.set_flush_denormal(True)


def is_main_process() -> bool:
    """True but for the second and later processes of `accelerate launch`: only the first one writes."""
    return os.environ.get("RANK", "0") == "0"
