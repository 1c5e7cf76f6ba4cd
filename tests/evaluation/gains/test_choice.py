"""The test that knows of the choice: against the plain one, by hand, and on strategies that are all alike."""

import numpy as np
import pytest

from evaluation.gains.choice import chosen, contenders, sign_flip_of_chosen
from evaluation.gains.statistics import sign_flip


@pytest.mark.parametrize("n", [1, 6, 11])
def test_one_candidate_is_the_plain_test(n: int) -> None:
    values = np.random.default_rng(n).normal(0.3, 1.0, (2, 1, n))
    assert sign_flip_of_chosen(values[0], values[1]) == pytest.approx(sign_flip(values[1, 0]))


def test_many_units_are_drawn() -> None:
    values = np.random.default_rng(1).normal(0.2, 1.0, (1, 21))
    assert sign_flip_of_chosen(values, values) == pytest.approx(sign_flip(values[0]), rel=0.05)


def test_the_choice_is_repeated_by_hand() -> None:
    # Patterns ++, +-, -+, --. Validation sums of the first: 3, -1, 1, -3; of the second: 2, 0, 0, -2.
    # Chosen: first, second, first, second. Test sums of these: 4, 1, 2, -1.
    validation, test = np.array([[1.0, 2.0], [1.0, 1.0]]), np.array([[1.0, 3.0], [1.0, 0.0]])
    assert chosen(validation) == 0
    assert sign_flip_of_chosen(validation, test) == 1 / 4


def test_of_equals_the_first_is_chosen_whatever_the_last_digit() -> None:
    assert chosen(np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1]])) == 0


def test_what_is_clearly_worse_is_no_contender() -> None:
    random = np.random.default_rng(0)
    validation = np.array([[0.80], [0.90], [0.89], [0.60]]) + random.normal(0, 0.02, (4, 6))
    assert contenders(validation) == [1, 2]
    assert contenders(validation[:, :1]) == [0, 1, 2, 3]  # of one unit nothing can be told


def test_of_many_alike_the_lucky_one_is_no_finding() -> None:
    """Nine strategies as good as the rival; what a seed brings shows on validation and on test."""
    random = np.random.default_rng(5)
    plain = knowing = 0
    for _ in range(400):
        luck = random.normal(size=(9, 8)) - random.normal(size=8)
        validation, test = (luck + random.normal(0, 0.5, (9, 8)) for _ in range(2))
        best = chosen(validation)
        up = test[best].sum() > 0
        plain += up and sign_flip(test[best]) <= 0.05
        rows = contenders(validation)
        knowing += up and sign_flip_of_chosen(validation[rows], test[rows]) <= 0.05
    assert plain > 28 >= knowing, "5% of 400 and two standard errors"
