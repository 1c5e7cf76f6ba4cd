"""Where tensors live, and the processor settings that every run shares."""

import os

import torch


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU (``RARECELL_DEVICE`` overrides)."""
    name = os.environ.get("RARECELL_DEVICE")
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def prepare_processor() -> None:
    """Flush denormal numbers to zero: networks near convergence run several times faster on CPUs."""
    torch.set_flush_denormal(True)


def is_main_process() -> bool:
    """True but for the second and later processes of `accelerate launch`: only the first one writes."""
    return os.environ.get("RANK", "0") == "0"
