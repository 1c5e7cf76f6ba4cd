"""The matrix of intended against predicted class, with the ceiling of the judge."""

from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from classifiers.training import Classifier
from evaluation.quality.agreement import label_agreement
from runtime.errors import InputError

CLASSES = ("a", "b", "c")


class Reader:
    """A judge that reads its answer from the first pixel."""

    classes = CLASSES

    def predict(self, cells: CellSet) -> NDArray[np.int64]:
        return cells.pixels[:, 0, 0, 0].astype(np.int64)


JUDGE = cast(Classifier, Reader())


def cells(labels: list[int], answers: list[int], **more: Any) -> CellSet:
    pixels = np.zeros((len(labels), 4, 4, 3), np.uint8)
    pixels[:, 0, 0, 0] = answers
    return CellSet.from_arrays(pixels, labels, CLASSES, **more)


def test_share_matrix_and_confused_pairs() -> None:
    made = cells([0, 0, 0, 0, 1, 1], [0, 0, 1, 2, 1, 0], origin="synthetic")
    found = label_agreement(made, JUDGE, cells([0, 1, 2], [0, 1, 2]))
    assert found["matrix"] == [[2, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert found["share"] == pytest.approx(3 / 6)
    assert found["per_class"] == {"a": 0.5, "b": 0.5, "c": None}
    assert found["confused"][0] == {
        "intended": "b",
        "predicted": "a",
        "share": 0.5,
        "real_share": 0.0,
    }
    assert found["real_matrix"] == np.eye(3, dtype=int).tolist()
    assert (found["n"], found["ceiling_n"]) == (6, 3)


def test_the_ceiling_is_at_the_mix_of_the_synthetic_cells() -> None:
    real = cells([0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1])  # recall 0.5 and 1
    made = cells([0, 0, 0, 1], [0, 0, 0, 1], origin="synthetic")
    found = label_agreement(made, JUDGE, real)
    assert found["ceiling"] == pytest.approx((3 * 0.5 + 1 * 1.0) / 4)
    assert found["ceiling_per_class"] == {"a": 0.5, "b": 1.0, "c": None}


def test_no_ceiling_without_real_cells_of_a_class() -> None:
    made = cells([0, 2], [0, 2], origin="synthetic")
    assert label_agreement(made, JUDGE, cells([0], [0]))["ceiling"] is None


def test_two_swapped_classes_show_in_the_matrix() -> None:
    made = cells([0] * 5 + [1] * 5, [1] * 5 + [0] * 5, origin="synthetic")
    found = label_agreement(made, JUDGE, cells([0, 1], [0, 1]))
    assert found["share"] == 0
    assert {(p["intended"], p["predicted"]) for p in found["confused"]} == {("a", "b"), ("b", "a")}


def test_no_synthetic_cells() -> None:
    found = label_agreement(cells([], []), JUDGE, cells([0], [0]))
    assert (found["share"], found["ceiling"], found["n"]) == (None, None, 0)


def test_a_pair_that_real_cells_confuse_as_well_shows_so() -> None:
    real = cells([0, 0, 0, 0], [0, 1, 1, 2])
    found = label_agreement(cells([0, 0], [1, 1], origin="synthetic"), JUDGE, real)
    assert found["confused"] == [{"intended": "a", "predicted": "b", "share": 1.0, "real_share": 0.5}]


def test_other_classes_and_synthetic_ceilings_are_refused() -> None:
    other = CellSet.from_arrays(np.zeros((1, 4, 4, 3), np.uint8), [0], ["x"])
    with pytest.raises(InputError, match="same classes"):
        label_agreement(other, JUDGE, cells([0], [0]))
    with pytest.raises(InputError, match="real cells only"):
        label_agreement(cells([0], [0]), JUDGE, cells([0], [0], origin="synthetic"))
