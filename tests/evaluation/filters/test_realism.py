"""The calibrated filters, each on cells whose truth is known."""

from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier
from evaluation.filters.calibration import calibrate
from evaluation.filters.diversity import covering, k_centre, within
from evaluation.filters.realism import Realism, balls, realism
from evaluation.filters.repeats import Repeats
from runtime.errors import InputError


class Plane:
    """A classifier whose two features are the first two color values of a cell, in units of 100."""

    classes = ("a", "b")

    def features(self, cells: CellSet) -> NDArray[np.float32]:
        return (cells.pixels[:, 0, 0, :2] / 100).astype(np.float32)


PLANE = cast(Classifier, Plane())


def at(points: NDArray[np.integer], label: int = 0) -> CellSet:  # type: ignore[type-arg]
    pixels = np.zeros((len(points), 2, 2, 3), np.uint8)
    pixels[:, 0, 0, :2] = points
    return CellSet.from_arrays(pixels, [label] * len(points), Plane.classes)


def cloud(seed: int, count: int = 100) -> CellSet:
    return at(np.clip(np.random.default_rng(seed).normal(60, 10, (count, 2)), 0, 255).astype(int))


def test_realism_is_equation_3_of_the_paper() -> None:
    real = np.array([[0.0], [1.0], [2.0], [4.0], [9.0]])
    centers, radii = balls(real.astype(np.float32), neighbours=1)  # radii 1, 1, 1, 2, 5: the median is 1
    assert centers[:, 0].tolist() == [0, 1, 2] and radii.tolist() == [1, 1, 1]
    found = realism(np.array([[0.5], [4.0], [102.0]], np.float32), centers, radii)
    assert found == pytest.approx([1 / 0.5, 1 / 2, 1 / 100])


def test_realism_rejects_what_lies_outside_and_at_most_its_share_of_real_cells() -> None:
    judge = Realism(PLANE, cloud(1), cloud(2), share=0.05)
    assert judge.calibration is not None and judge.calibration.n == 100
    assert 0.9 <= judge.keeps(cloud(2)).mean() < 1  # what it was calibrated on: 95 and no fewer
    assert judge.keeps(cloud(3)).mean() > 0.85
    assert not judge.keeps(at(np.array([[200, 200], [60, 160]]))).any()


def test_realism_keeps_what_it_cannot_judge() -> None:
    judge = Realism(PLANE, cloud(1), cloud(2), share=0.05)
    assert judge.keeps(at(np.array([[200, 200]]), label=1)).all()  # no real cell of that class
    few = Realism(PLANE, cloud(1, 3), cloud(2), share=0.05)  # three cells have no third neighbor
    assert few.calibration is None and few.keeps(at(np.array([[200, 200]]))).all()
    with pytest.raises(InputError, match="other classes"):
        Realism(PLANE, cloud(1), phantoms({CLASSES[0]: 4}, 16, 1), 0.05)


def test_a_threshold_rejects_at_most_its_share() -> None:
    scores, labels = np.arange(1.0, 101.0), np.zeros(100, np.int64)
    found = calibrate(scores, labels, 2, 0.05)
    assert found is not None and (found.relative(scores, labels) < found.threshold).sum() in (4, 5)
    few = calibrate(scores[:4], labels[:4], 2, 0.05)
    assert few is not None and not (few.relative(scores[:4], labels[:4]) < few.threshold).any()
    assert calibrate(np.full(3, np.nan), labels[:3], 2, 0.05) is None


def test_a_class_is_measured_against_itself() -> None:
    scores = np.concatenate([np.full(20, 1.0), np.full(20, 10.0)])
    labels = np.repeat([0, 1], 20)
    found = calibrate(scores, labels, 3, 0.05)
    assert found is not None and found.scales.tolist() == [1.0, 10.0, 5.5]


def test_repeats_finds_turned_and_noisy_doubles_and_no_others() -> None:
    real = phantoms({CLASSES[0]: 60}, 24, 1)
    made = phantoms({CLASSES[0]: 30}, 24, 2)
    noise = np.random.default_rng(0).integers(-4, 5, made.pixels[:3].shape)
    doubles = np.clip(np.rot90(made.pixels[:3], 1, (1, 2)) + noise, 0, 255).astype(np.uint8)
    both = made + CellSet.from_arrays(doubles, made.labels[:3], CLASSES)
    keep = Repeats(real, share=0.02).keeps(both)
    assert keep[:30].sum() >= 28 and not keep[30:].any()


def test_repeats_without_two_real_cells_rejects_nothing() -> None:
    repeats = Repeats(phantoms({CLASSES[0]: 1}, 16, 1), 0.02)
    made = phantoms({CLASSES[0]: 2}, 16, 2)
    assert repeats.calibration is None and repeats.keeps(made + made).all()


def test_k_centre_covers_with_at_most_twice_the_least_radius() -> None:
    groups = np.array([[0.0, 0], [0.1, 0], [0, 0.1], [5, 0], [5.1, 0], [0, 5], [0, 5.1], [5, 5]])
    chosen = k_centre(groups, 4)
    radius = np.linalg.norm(groups[:, None] - groups[chosen], axis=2).min(axis=1).max()
    assert radius <= 0.2  # one of each corner; the best four leave 0.1
    assert sorted(k_centre(np.zeros((5, 2)), 5).tolist()) == [0, 1, 2, 3, 4]  # none twice
    assert len(k_centre(np.zeros((0, 2)), 3)) == 0


def test_covering_takes_the_far_cells_and_within_the_first() -> None:
    cells = at(np.array([[60, 60]] * 8 + [[61, 60], [200, 200]])) + at(np.array([[1, 1]] * 3), label=1)
    asked = {"a": 2, "b": 5}
    assert within(cells, asked).pixels[:2, 0, 0, 0].tolist() == [60, 60]
    chosen = covering(cells, asked, PLANE)
    assert chosen.counts == {"a": 2, "b": 3} and 200 in chosen.pixels[:2, 0, 0, 0]
