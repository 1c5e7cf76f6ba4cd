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


class Draws:
    """Random numbers of a batch, of which a part of its images takes its own rows.

    The numbers of an image depend on its place in the whole batch only, not on how the batch is
    divided among processes or over time.

    Args:
        key: Parts of the seed, as for `seed_of`.
        batch: Images in the whole batch.
        part: Which of them are asked for; all by default.
    """

    def __init__(self, *key: int | str, batch: int, part: slice = slice(None)) -> None:
        self._generator = torch_generator(*key)
        self._batch, self._part = batch, part

    def uniform(self, *shape: int) -> torch.Tensor:
        """Float32 in [0, 1), shape (images, *shape), on the CPU."""
        return torch.rand((self._batch, *shape), generator=self._generator)[self._part]

    def normal(self, *shape: int) -> torch.Tensor:
        """Standard normal float32, shape (images, *shape), on the CPU."""
        return torch.randn((self._batch, *shape), generator=self._generator)[self._part]

    def integers(self, high: int, *shape: int) -> torch.Tensor:
        """int64 from 0 to `high` - 1, shape (images, *shape), on the CPU."""
        return torch.randint(0, high, (self._batch, *shape), generator=self._generator)[self._part]
