"""Each filter rejects what it is for, and the funnel counts it."""

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier
from evaluation.curation import CurationSettings, curate
from evaluation.memorization import CopyDetector
from runtime.errors import InputError

MADE = phantoms({CLASSES[0]: 12, CLASSES[1]: 6}, 20, 5)


class Doubtful:
    """Gives the intended class the probability that the test set for the cell's pixels."""

    classes = CLASSES

    def __init__(self, low: dict[str, float]) -> None:
        self.low = low

    def probabilities(self, cells: CellSet) -> NDArray[np.float32]:
        found = np.zeros((len(cells), len(CLASSES)), np.float32)
        for row, digest in enumerate(cells.digests):
            found[row, cells.labels[row]] = self.low.get(str(digest), 0.9)
        return found


def judge(**low: float) -> Classifier:
    return cast(Classifier, Doubtful(low))


def test_label_agreement_rejects_below_the_threshold_only() -> None:
    low = {str(MADE.digests[0]): 0.1, str(MADE.digests[1]): 0.5, str(MADE.digests[13]): 0.499}
    accepted, funnel = curate(MADE, judge(**low), CurationSettings(min_probability=0.5))
    assert accepted.counts == {**MADE.counts, CLASSES[0]: 11, CLASSES[1]: 5}
    assert [stage["filter"] for stage in funnel] == ["duplicates", "label agreement"]
    assert funnel[1]["in"] == MADE.counts
    assert funnel[1]["out"] == accepted.counts
    assert funnel[1]["rejected"] == 2


def test_duplicates_keep_their_first() -> None:
    doubled = MADE + MADE.subset([3, 3, 14])
    accepted, funnel = curate(doubled, judge(), CurationSettings())
    assert list(accepted.digests) == list(MADE.digests)
    assert funnel[0]["rejected"] == 3


def test_near_copies_are_rejected_where_a_detector_is_given() -> None:
    counts = {CLASSES[0]: 40, CLASSES[1]: 40}
    train = phantoms(counts, 20, 1)
    detector = CopyDetector(train, phantoms(counts, 20, 2))
    copies = CellSet.from_arrays(train.pixels[:5, ::-1].copy(), train.labels[:5], CLASSES)
    accepted, funnel = curate(MADE + copies, judge(), CurationSettings(), detector)
    stage = funnel[1]
    assert stage["filter"] == "near-copies"
    assert stage["rejected"] >= 5
    assert not set(copies.digests) & set(accepted.digests)
    without = curate(MADE + copies, judge(), CurationSettings(copies=False), detector)[0]
    assert len(without) == len(MADE) + 5


def test_an_emptied_class_is_named() -> None:
    low = {str(digest): 0.0 for digest in MADE.of_class(CLASSES[1]).digests}
    accepted, funnel = curate(MADE, judge(**low), CurationSettings())
    assert accepted.counts[CLASSES[1]] == 0
    assert funnel[-1]["emptied"] == [CLASSES[1]]
    assert funnel[0]["emptied"] == []


def test_everything_rejected_leaves_an_empty_set() -> None:
    low = {str(digest): 0.0 for digest in MADE.digests}
    accepted, funnel = curate(MADE, judge(**low), CurationSettings())
    assert len(accepted) == 0
    assert accepted.classes == MADE.classes
    assert funnel[-1]["emptied"] == list(CLASSES[:2])


def test_switches() -> None:
    low = {str(digest): 0.0 for digest in MADE.digests}
    assert curate(MADE, judge(**low), CurationSettings(enabled=False)) == (MADE, [])
    off = CurationSettings(min_probability=0, duplicates=False)
    accepted, funnel = curate(MADE + MADE, judge(**low), off)
    assert (len(accepted), funnel) == (2 * len(MADE), [])


def test_a_classifier_of_other_classes_is_refused() -> None:
    other = CellSet.from_arrays(MADE.pixels, MADE.labels, ("x", "y"))
    with pytest.raises(InputError, match="same classes"):
        curate(other, judge(), CurationSettings())
