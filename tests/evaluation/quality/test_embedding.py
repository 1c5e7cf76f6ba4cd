"""Maps and neighbors: the same each time, true to what they are drawn from."""

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from evaluation.quality.embedding import embedding_map, even_rows, nearest_cells


class Colors:
    """Mean color of each image as its features."""

    name = "colors"

    @property
    def fingerprint(self) -> dict[str, str]:
        return {"encoder": self.name}

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        return cells.pixels.mean(axis=(1, 2)).astype(np.float32)


def cells(red: list[int], labels: list[int]) -> CellSet:
    pixels = np.zeros((len(red), 4, 4, 3), np.uint8)
    pixels[..., 0] = np.array(red)[:, None, None]
    pixels[:, 0, 0, 1] = np.arange(len(red))
    return CellSet.from_arrays(pixels, labels, ("a", "b"))


def test_groups_of_features_are_groups_of_points() -> None:
    near, far = cells([10] * 20, [0] * 20), cells([240] * 20, [1] * 20)
    found = embedding_map(near, far, Colors(), seed=1)
    assert found is not None and found.points.shape == (40, 2)
    assert found.made.tolist() == [False] * 20 + [True] * 20
    assert found.labels.tolist() == [0] * 20 + [1] * 20
    one, other = found.points[:20], found.points[20:]
    gaps = np.linalg.norm(one[:, None] - other[None], axis=2)
    within = np.linalg.norm(one[:, None] - one[None], axis=2)
    np.fill_diagonal(within, np.inf)
    assert gaps.min() > within.min(axis=1).max()
    again = embedding_map(near, far, Colors(), seed=1)
    assert again is not None
    np.testing.assert_array_equal(again.points, found.points)


def test_too_few_different_cells_have_no_map() -> None:
    same = CellSet.from_arrays(np.zeros((30, 4, 4, 3), np.uint8), [0] * 30, ("a",))
    assert embedding_map(same, same, Colors(), seed=1) is None


def test_rows_are_drawn_evenly_and_small_classes_whole() -> None:
    many = cells([0] * 100, [0] * 95 + [1] * 5)
    rows = even_rows(many, 30, seed=1, name="x")
    assert (many.labels[rows] == 1).sum() == 5 and len(rows) == 30
    assert sorted(set(rows.tolist())) == rows.tolist()
    np.testing.assert_array_equal(rows, even_rows(many, 30, seed=1, name="x"))
    assert not np.array_equal(rows, even_rows(many, 30, seed=2, name="x"))
    assert even_rows(many, 100, seed=1, name="x").tolist() == list(range(100))


def test_the_nearest_come_first() -> None:
    bank = np.array([[0.0], [10.0], [4.0]])
    assert nearest_cells(np.array([[9.0]]), bank, 2).tolist() == [[1, 2]]
    assert nearest_cells(np.array([[1.0]]), bank, 9).tolist() == [[0, 2, 1]]
