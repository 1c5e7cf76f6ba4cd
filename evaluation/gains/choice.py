"""The choice on validation, and a sign-flip test that knows of it.

The classifiers whose validation figures choose a strategy are those that are then tested. Of several
strategies that are equally good the choice takes the one whose seeds were lucky, and luck that lies in
a seed's weights shows on test, too. The test takes this into account: it repeats the choice in every
sign pattern.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evaluation.gains.intervals import interval

ENUMERATED = 20  # up to 2^20 sign patterns are all tried; beyond, that many are drawn
SURE = 0.99  # a candidate that is worse with this certainty is no contender
PART = 1 << 14  # patterns at a time, to keep the memory small

Floats = NDArray[np.float64]


def contenders(validation: Floats) -> list[int]:
    """The candidates that could as well have been chosen: the best, and what cannot be told from it.

    Args:
        validation: Figures on validation, shape (k, n): k candidates, n units.

    Returns:
        Their rows, in order: those whose paired difference from the best has a 99% t interval that
        holds zero. With one unit nothing can be told apart.

    Source:
        That clearly worse candidates must not count: Hansen, A test for superior predictive ability,
        Journal of Business & Economic Statistics 23, 2005.
    """
    best = chosen(validation)
    lows = [interval(validation[best] - row, SURE)[0] for row in validation]
    return [i for i, low in enumerate(lows) if i == best or low is None or low <= 0]


def chosen(validation: Floats) -> int:
    """The row with the largest mean, the first of equals. `validation`: shape (k, n)."""
    return int(_first_largest(validation.mean(axis=1)[None])[0])


def sign_flip_of_chosen(validation: Floats, test: Floats) -> float:
    """Two-sided sign-flip test of the candidate that validation chooses.

    Under the null hypothesis candidates and rival are alike, so that a unit's differences, on
    validation and on test and of all candidates together, could as well have had the other sign. In
    every sign pattern the candidate with the largest validation sum is chosen anew, and its sum on
    test is compared with the observed one. With one candidate this is the plain sign-flip test.

    Args:
        validation: Differences from the rival on validation, shape (k, n): k candidates, n units.
        test: The same on test, shape (k, n).

    Returns:
        The share of sign patterns whose chosen candidate's absolute sum reaches the observed one, in
        (0, 1]. All 2^n patterns are tried up to n = 20; beyond, 2^20 are drawn from a fixed seed.

    Source:
        Fisher, The Design of Experiments, 1935, section 21; the choice inside the test as in
        White, A reality check for data snooping, Econometrica 68, 2000.
    """
    n = test.shape[1]
    observed = abs(test[chosen(validation)].sum())
    slack = 1e-9 * max(float(np.abs(test).sum()), 1e-300)
    hits = 0 if n <= ENUMERATED else 1  # of drawn patterns the observed one counts besides
    total = hits
    for signs in _patterns(n):  # (patterns, n)
        picked = _first_largest(signs @ validation.T)
        sums = np.take_along_axis(signs @ test.T, picked[:, None], axis=1)
        hits += int(np.sum(np.abs(sums) >= observed - slack))
        total += len(signs)
    return hits / total


def _first_largest(sums: Floats) -> NDArray[np.intp]:
    """The first of the largest of each row, where equal sums may differ in their last digits."""
    largest = sums.max(axis=1, keepdims=True)
    return np.argmax(sums >= largest - 1e-9 * (1 + np.abs(largest)), axis=1)


def _patterns(n: int) -> Iterator[Floats]:
    """All sign patterns of n units, or 2^20 drawn ones, in parts of shape (patterns, n)."""
    random = np.random.default_rng(0)
    total = 1 << min(n, ENUMERATED)
    for first in range(0, total, PART):
        rows = np.arange(first, min(first + PART, total))
        if n <= ENUMERATED:
            yield np.where((rows[:, None] >> np.arange(n)) & 1, 1.0, -1.0)
        else:
            yield np.where(random.integers(0, 2, size=(len(rows), n)), 1.0, -1.0)
