"""Each filter rejects what it is for, and the funnel counts it."""

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier
from evaluation.copies.detector import CopyDetector
from evaluation.filters.curation import CurationSettings, RealCells, curate, to_quota
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

    def features(self, cells: CellSet) -> NDArray[np.float32]:
        return cells.pixels[:, ::5, ::5].reshape(len(cells), -1).astype(np.float32)


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


REAL = RealCells(phantoms({CLASSES[0]: 60, CLASSES[1]: 60}, 20, 11), phantoms({CLASSES[0]: 50}, 20, 12))


def test_every_filter_says_its_rule_and_what_it_rejects_of_real_cells() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    made = MADE + MADE.subset([0]) + CellSet.from_arrays(noise, [0] * 4, CLASSES)
    turned = CellSet.from_arrays(MADE.pixels[:2, :, ::-1].copy(), MADE.labels[:2], CLASSES)
    settings = CurationSettings(realism=0.04, near_duplicates=0.02)
    accepted, funnel = curate(made + turned, judge(), settings, real=REAL)
    stages = {stage["filter"]: stage for stage in funnel}
    assert list(stages) == ["duplicates", "label agreement", "realism", "near-duplicates"]
    assert stages["duplicates"]["rejected"] == 1
    assert stages["realism"]["rejected"] >= 4 and not set(accepted.digests) & set(made.subset([19]).digests)
    assert stages["near-duplicates"]["rejected"] >= 2
    assert 0 < stages["realism"]["real_rejected"] <= 0.04 and stages["realism"]["real_n"] == 50
    assert "0.04 of 50 held-out real cells lie lower" in stages["realism"]["rule"]
    assert "below 0.2 (min_probability)" in stages["label agreement"]["rule"]
    assert stages["label agreement"]["threshold"] == 0.2
    assert stages["label agreement"]["real_rejected"] == 0


def test_the_label_threshold_is_read_on_real_cells() -> None:
    low = {str(digest): 0.6 for digest in REAL.heldout.digests[:10]}
    low |= {str(MADE.digests[0]): 0.5, str(MADE.digests[1]): 0.7}
    accepted, funnel = curate(MADE, judge(**low), CurationSettings(label_share=0.1), real=REAL)
    assert funnel[-1]["threshold"] == pytest.approx(0.6)
    assert len(accepted) == len(MADE) - 1


@pytest.mark.parametrize("key", ["realism", "near_duplicates", "label_share"])
def test_a_calibrated_filter_without_real_cells_is_refused(key: str) -> None:
    with pytest.raises(InputError, match=f"curation.{key} needs real cells"):
        curate(MADE, judge(), CurationSettings.model_validate({key: 0.05}))


def test_the_quota_is_filled_by_the_first_or_by_those_that_cover() -> None:
    first, stage = to_quota(MADE, {CLASSES[0]: 3}, judge(), CurationSettings())
    assert list(first.digests) == list(MADE.digests[:3]) and "first" in stage["rule"]
    covering, stage = to_quota(MADE, {CLASSES[0]: 3}, judge(), CurationSettings(diversity=True))
    assert covering.counts[CLASSES[0]] == 3 and list(covering.digests) != list(first.digests)
    assert (stage["filter"], stage["out"]) == ("quota", covering.counts) and "k-centre" in stage["rule"]
    uncurated, stage = to_quota(MADE, {CLASSES[0]: 3}, None, CurationSettings(diversity=True))
    assert list(uncurated.digests) == list(first.digests)
