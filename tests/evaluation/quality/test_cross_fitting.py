"""The cross-fitted judge: no real cell is judged by a net that has seen it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import ClassifierSettings
from evaluation.quality import cross_fitting
from evaluation.quality.cross_fitting import cross_fitted_agreement, real_folds
from runtime.errors import InputError

QUICK = ClassifierSettings(network="fast", width=4, steps=2, batch=8)


class Remembering:
    """A net that knows the class of each cell that it has seen, and says class 0 of all others."""

    fitted: list[set[str]] = []  # noqa: RUF012 - shared on purpose: the test looks into it

    def __init__(self, classes: tuple[str, ...], settings: ClassifierSettings) -> None:
        self.classes = classes

    def fit(self, train: CellSet, **_: Any) -> None:
        self.known = dict(zip(train.digests, train.labels, strict=True))
        self.fitted.append(set(train.digests))

    def probabilities(self, cells: CellSet) -> NDArray[np.float32]:
        found = [self.known.get(digest, 0) for digest in cells.digests]
        return np.eye(len(self.classes), dtype=np.float32)[found]


def test_each_real_cell_is_judged_by_a_net_that_has_not_seen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_fitting, "Classifier", Remembering)
    monkeypatch.setattr(Remembering, "fitted", [])
    real = phantoms({CLASSES[1]: 12, CLASSES[2]: 9}, 16, 1)
    real = CellSet.from_arrays(real.pixels, real.labels - 1, CLASSES[1:3])
    found = cross_fitted_agreement(real.subset([0, 1, 12, 20]), real, QUICK, 4, 0)
    assert found["ceiling_per_class"] == {CLASSES[1]: 1.0, CLASSES[2]: 0.0}  # unseen: class 0 of all
    assert found["real_matrix"] == [[12, 0], [9, 0]] and found["ceiling_n"] == 21
    assert found["share"] == 1.0  # three nets in four have seen each: the mean says so
    assert found["trainings"] == 4 and "4 nets, cross-fitted" in found["judge"]
    seen = [sum(digest in net for net in Remembering.fitted) for digest in real.digests]
    assert seen == [3] * 21


def test_folds_keep_groups_and_equal_pixels_together() -> None:
    cells = phantoms(dict.fromkeys(CLASSES[:2], 12), 16, 1)
    cells = CellSet.from_arrays(
        cells.pixels, cells.labels, CLASSES[:2], groups=[f"patient {i % 8}" for i in range(24)]
    )
    twice = cells + cells.subset([0, 13])
    fold = real_folds(twice, 5, 0)
    assert set(fold) == set(range(5))
    for group in set(twice.groups):
        assert len(set(fold[twice.groups == group])) == 1
    assert (fold[24], fold[25]) == (fold[0], fold[13])


def test_a_small_class_makes_fewer_folds_and_too_small_a_one_is_named() -> None:
    few = phantoms({CLASSES[0]: 20, CLASSES[1]: 4}, 16, 1)
    few = CellSet.from_arrays(few.pixels, few.labels, CLASSES[:2])
    assert set(real_folds(few, 10, 0)) == set(range(4))
    with pytest.raises(InputError, match=f"class '{CLASSES[1]}' has 2 groups"):
        real_folds(few.subset(range(22)), 10, 0)
    with pytest.raises(InputError, match="same classes"):
        cross_fitted_agreement(phantoms({CLASSES[0]: 2}, 16, 1), few, QUICK, 3, 0)


def test_swapped_classes_show_without_a_holdout() -> None:
    learned = ClassifierSettings(network="fast", width=8, steps=60, batch=32, augmentation="none")
    real = phantoms(dict.fromkeys(CLASSES[:2], 40), 16, 1)
    real = CellSet.from_arrays(real.pixels, real.labels, CLASSES[:2])
    made = phantoms(dict.fromkeys(CLASSES[:2], 10), 16, 2)
    swapped = CellSet.from_arrays(made.pixels, 1 - made.labels, CLASSES[:2], origin="synthetic")
    found = cross_fitted_agreement(swapped, real, learned, 3, 0)
    assert found["ceiling"] > 0.8 > 0.2 > found["share"]
    assert found["confused"][0]["share"] > 0.8 > 0.2 > found["confused"][0]["real_share"]
