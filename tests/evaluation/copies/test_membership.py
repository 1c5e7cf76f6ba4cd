"""Membership, authenticity and feature space: a copier shows in each, an honest generator in none."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.copies.membership import delong, membership
from evaluation.copies.memorization import near_copies
from evaluation.copies.nearest import FeatureSpace, PixelSpace, turned_cells
from evaluation.features.encoders import DomainEncoder
from evaluation.scores.scorecard import to_markdown

COUNTS = dict.fromkeys(CLASSES, 40)
TRAIN, HELD_OUT, FRESH = (phantoms(COUNTS, 20, seed) for seed in (1, 2, 3))
COPIES = CellSet.from_arrays(
    np.rot90(TRAIN.pixels, 1, (1, 2)).copy(), TRAIN.labels, CLASSES, origin="synthetic"
)


class Thumbnails:
    """An encoder that is not blind to turns: small images, flattened."""

    name = "thumbnails"

    def __init__(self, encoder: str = "thumbnails") -> None:
        self.fingerprint: dict[str, Any] = {"encoder": encoder}
        self.sizes: list[int] = []

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        self.sizes.append(len(cells))
        return cells.pixels[:, ::2, ::2].reshape(len(cells), -1).astype(np.float32)


@pytest.fixture(scope="module")
def copier() -> dict[str, Any]:
    return near_copies(COPIES, TRAIN, HELD_OUT, encoder=Thumbnails())


@pytest.fixture(scope="module")
def honest() -> dict[str, Any]:
    return near_copies(FRESH, TRAIN, HELD_OUT, encoder=Thumbnails())


def test_turned_copies_show_in_feature_space(copier: dict[str, Any], honest: dict[str, Any]) -> None:
    found = copier["features"]
    assert (found["space"], found["share"]) == ("features (thumbnails)", 1.0)
    assert found["worst"][0]["rms"] == pytest.approx(0, abs=1e-3)
    assert found["worst"][0]["train_index"] == found["worst"][0]["synthetic_index"]
    assert copier["copies"] is True and honest["copies"] is False
    assert honest["features"]["share"] < 0.05


@pytest.mark.parametrize("turn_made", [True, False])
def test_either_side_can_be_turned(turn_made: bool) -> None:
    space = FeatureSpace(Thumbnails(), turn_made)
    made, real = space.prepare(COPIES, made=True), space.prepare(TRAIN, made=False)
    assert (made.shape[1], real.shape[1]) == ((8, 1) if turn_made else (1, 8))
    assert np.allclose(np.diag(space.pairwise(made, real)), 0, atol=1e-3)


def test_the_smaller_side_is_turned() -> None:
    half = HELD_OUT.subset(np.arange(0, 240, 2))
    for count, turned in ((30, True), (150, False)):
        encoder = Thumbnails()
        near_copies(FRESH.subset(np.arange(count)), TRAIN, half, encoder=encoder)
        assert (encoder.sizes.count(count) >= 8) is turned


def test_ratio_and_authenticity(copier: dict[str, Any], honest: dict[str, Any]) -> None:
    assert copier["ratio"]["share"] == 1.0 and honest["ratio"]["share"] == 0.0
    assert copier["authenticity"]["share"] == 0.0
    assert honest["authenticity"]["share"] == pytest.approx(honest["authenticity"]["heldout"], abs=0.2)
    assert copier["ratio"]["heldout"] == honest["ratio"]["heldout"] == 0.0


def test_membership_tells_a_copier_from_an_honest_generator(
    copier: dict[str, Any], honest: dict[str, Any]
) -> None:
    for space in ("pixels", "features (thumbnails)"):
        leak, none = copier["membership"][space], honest["membership"][space]
        assert leak["auc"] == 1.0 and leak["n"] == 240
        assert leak["verdict"] == "training cells can be told from unseen ones"
        assert none["low"] < 0.5 and none["verdict"].startswith("no evidence")


def test_membership_is_matched_by_class() -> None:
    """A side with more cells of a near class would win without having been seen."""
    others = HELD_OUT.subset(np.r_[0:40, 40:50])
    found = membership(FRESH, TRAIN, others, PixelSpace())
    assert (found["n"], found["classes"]) == (50, list(CLASSES[:2]))
    few = membership(FRESH, TRAIN, HELD_OUT.subset([0, 1]), PixelSpace())
    assert few == {"reason": "not computable, n = 2 a side (at least 20)"}


def test_an_encoder_that_saw_the_members_is_no_witness() -> None:
    found = membership(FRESH, TRAIN, HELD_OUT, FeatureSpace(Thumbnails(DomainEncoder.name), True))
    assert "fitted on training cells" in found["reason"]


def test_the_area_is_that_of_scikit_learn_and_the_interval_covers() -> None:
    random, covered = np.random.default_rng(0), 0
    truth = 0.7602  # of two unit normals one apart: Phi(1 / sqrt 2)
    for _ in range(200):
        positive, negative = random.normal(1, 1, 60), random.normal(0, 1, 40).round(1)
        area, low, high = delong(positive, negative)
        covered += low <= truth <= high
    labels = np.repeat([1, 0], [60, 40])
    assert area == pytest.approx(roc_auc_score(labels, np.r_[positive, negative]))
    assert 0.88 <= covered / 200 <= 0.99


def test_turned_cells_are_the_eight_orientations() -> None:
    sets = turned_cells(FRESH.subset([0]))
    assert len({cells.digests[0] for cells in sets}) == 8
    assert sets[0].digests[0] == FRESH.digests[0]


def test_the_scorecard_opens_with_the_verdict(copier: dict[str, Any]) -> None:
    off = {"reason": "off"}
    result = {
        "fidelity": {
            "fingerprint": {},
            "left_out": {},
            "overall": {},
            "per_class": {},
            "inception_score": off,
        },
        "leaking": None,
        "label_agreement": off,
        "classification_accuracy": off,
        "near_copies": copier,
    }
    lines = to_markdown(result).splitlines()
    assert lines[2].startswith("**COPIES: this generator copies its training cells. In pixels 100.0% of 240")
    assert any(line.startswith("| authenticity, features (thumbnails) | 0 |") for line in lines)
    assert any(
        "| 1 (1 to 1): training cells can be told from unseen ones | 0.5 | 240 |" in line for line in lines
    )
