"""Preprocessing: named steps, fitted on the training cells alone, then applied to any cells."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from cells.fitted_steps import FILE, Preprocessing
from cells.split_types import Split
from cells.steps import StepSettings

__all__ = ["FILE", "Preprocessing", "preprocessed"]


def preprocessed(split: Split, steps: Sequence[StepSettings], processes: int | None = None) -> Split:
    """A split whose three sides went through steps that were fitted to its training cells.

    Args:
        split: As `divide` returns it.
        steps: None: the split is returned as it is.
        processes: How many work at a time, which changes nothing in the result; None for one a core,
            or one alone for few cells.

    Returns:
        A split with another digest; `preprocessing` says what was done.

    Raises:
        InputError: If a step does not suit the training cells.
    """
    if not steps:
        return split
    others = [split.val, split.test]
    fitted, (train, val, test) = Preprocessing.of_sides(tuple(steps), split.train, others, processes)
    digest = hashlib.sha256(f"{split.digest} {fitted.digest}".encode()).hexdigest()[:16]
    return replace(split, train=train, val=val, test=test, digest=digest, preprocessing=fitted)
