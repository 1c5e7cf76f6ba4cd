"""SMOTE in the space of pixels' components, held against imbalanced-learn's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from imblearn.over_sampling import SMOTE
from numpy.typing import NDArray

from cells.cellset import CellSet
from generators import build
from generators.smote import NONE, Smote, SmoteSettings, neighbors_within
from runtime.errors import InputError
from runtime.rundir import RunDir

RARE, K = 2, 4


@pytest.fixture(scope="module")
def points() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Forty common points and eleven rare ones, in the plane."""
    random = np.random.default_rng(3)
    return random.normal(size=(51, 2)).astype(np.float32), np.repeat([0, 1], [40, 11])


def segment(
    point: NDArray[np.float64], scores: NDArray[np.float32], table: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[int, int, float] | None:
    """Cell, neighbor and share of the way between them at which a point lies; None if on no segment."""
    for own in rows:
        for other in table[own][table[own] != NONE]:
            way = (scores[other] - scores[own]).astype(np.float64)
            share = float((point - scores[own]) @ way / (way @ way))
            if 0 <= share <= 1 and np.abs(scores[own] + share * way - point).max() < 1e-4:
                return int(own), int(other), share
    return None


def fitted(cells: CellSet, folder: Path, **settings: int) -> Smote:
    made = build(SmoteSettings(**settings), cells.classes, cells.image_size).fit(cells, RunDir(folder))
    assert isinstance(made, Smote)
    return made


def test_neighbors_are_those_of_imbalanced_learn(
    points: tuple[NDArray[np.float32], NDArray[np.int64]],
) -> None:
    """Each sample of imbalanced-learn lies between a rare point and one of our neighbors of it."""
    known, labels = points
    theirs, classes = SMOTE(k_neighbors=K, random_state=0).fit_resample(known, labels)
    made, rows = theirs[51:], np.flatnonzero(labels == 1)
    assert len(made) == 29 and set(classes[51:]) == {1}
    table = neighbors_within(known, labels, K)
    found = [segment(point, known, table, rows) for point in made]
    assert None not in found
    fewer = neighbors_within(known, labels, 1)
    assert None in [segment(point, known, fewer, rows) for point in made], "so the test would notice"


def test_samples_lie_between_a_cell_and_a_neighbor_of_its_class(cells: CellSet, tmp_path: Path) -> None:
    generator = fitted(cells, tmp_path, neighbors=K, components=6)
    scores, table = generator._scores, generator._neighbors
    for label in (0, RARE):
        rows = np.flatnonzero(cells.labels == label)
        drawn = [generator._between(label, seed) for seed in range(80)]
        found = [segment(point.astype(np.float64), scores, table, rows) for point in drawn]
        assert None not in found
        pairs = {frozenset(pair[:2]) for pair in found if pair is not None}
        possible = {frozenset((own, other)) for own in rows for other in table[own] if other != NONE}
        assert pairs <= possible and len(pairs) > 0.6 * len(possible)
        assert 0.35 < np.mean([pair[2] for pair in found if pair is not None]) < 0.65


def test_all_components_make_it_smote_in_pixels(cells: CellSet, tmp_path: Path) -> None:
    """A sample is then a cross-fade of two training cells, to within a level of rounding."""
    generator = fitted(cells, tmp_path, components=500)
    flat = cells.pixels.transpose(0, 3, 1, 2).reshape(len(cells), -1).astype(np.float32)
    table = neighbors_within(flat, cells.labels, 5)
    assert np.array_equal(table, generator._neighbors)
    drawn = generator.sample(torch.full((20,), RARE), torch.arange(20)).flatten(1).numpy()
    rows = np.flatnonzero(cells.labels == RARE)
    for image in drawn.astype(np.float64):
        errors = []
        for own in rows:
            for other in rows[rows != own]:
                way = flat[other] - flat[own]
                share = np.clip((image - flat[own]) @ way / (way @ way), 0, 1)
                errors.append(np.abs(flat[own] + share * way - image).max())
        assert min(errors) <= 1


def test_fewer_components_are_smoother(cells: CellSet, tmp_path: Path) -> None:
    few, many = (fitted(cells, tmp_path / str(n), components=n) for n in (2, 500))
    request = (torch.zeros(30, dtype=torch.int64), torch.arange(30))
    variance = [made.sample(*request).float().var(dim=(1, 2, 3)).mean() for made in (few, many)]
    assert variance[0] < variance[1]


def test_twins_are_neighbors_and_a_small_class_has_fewer() -> None:
    points = np.array([[0, 0], [0, 0], [5, 4], [9, 9], [9, 8]], np.float32)
    table = neighbors_within(points, np.array([0, 0, 0, 1, 1]), 3)
    table[2, :2].sort()  # its two neighbors are equally near
    assert table.tolist() == [[1, 2, NONE], [0, 2, NONE], [0, 1, NONE], [4, NONE, NONE], [3, NONE, NONE]]


def test_a_class_of_one_cell_is_refused_when_asked_for(cells: CellSet, tmp_path: Path) -> None:
    alone = cells.subset(np.r_[0:21])
    assert alone.counts["rare"] == 1
    generator = fitted(alone, tmp_path)
    assert generator.sample(torch.tensor([0]), torch.tensor([1])).shape == (1, 3, 8, 8)
    with pytest.raises(InputError, match="'rare' has one training cell"):
        generator.sample(torch.tensor([RARE]), torch.tensor([1]))


def test_weights_of_another_size_are_refused(cells: CellSet, tmp_path: Path) -> None:
    generator = fitted(cells, tmp_path)
    other = Smote(SmoteSettings(), cells.classes, 12)
    with pytest.raises(InputError, match="no components of 12 px"):
        other._take(generator._tensors(), tmp_path)
