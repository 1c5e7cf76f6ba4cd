"""The one place that turns (seed, purpose, index) into random numbers.

Nothing in rarecell keeps a running generator: each step derives its own from the run's seed and
the step's number, so a resumed run draws what the uninterrupted one would have drawn.
"""

import hashlib

import numpy as np
import torch


def seed_of(*parts: int | str) -> int:
    """A stable 63-bit seed of its parts.

    Args:
        parts: Numbers and words, e.g. ``(seed, "batch", step)``. Order and type count.

    Returns:
        An integer in [0, 2**63), the same on every machine and version.
    """
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in _plain(parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _plain(parts: tuple[int | str, ...]) -> list[int | str]:
    """NumPy integers hash like Python's."""
    return [part if isinstance(part, str) else int(part) for part in parts]


def torch_generator(*parts: int | str, device: str | torch.device = "cpu") -> torch.Generator:
    """A torch generator seeded by `seed_of(*parts)`."""
    return torch.Generator(device=device).manual_seed(seed_of(*parts))


def numpy_generator(*parts: int | str) -> np.random.Generator:
    """A NumPy generator seeded by `seed_of(*parts)`."""
    return np.random.default_rng(seed_of(*parts))
