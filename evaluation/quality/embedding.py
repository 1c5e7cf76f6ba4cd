"""Where real and synthetic cells lie in an encoder's features, in two dimensions, and who is nearest."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from cells.cellset import CellSet
from evaluation.features.encoders import Encoder
from runtime.seeds import numpy_generator

POINTS = 700  # of either side on a map: enough to see, and t-SNE takes seconds
LEAST = 10  # distinct cells below which there is no map
COMPONENTS = 50  # t-SNE on the first principal components, as its authors do
PERPLEXITY = 30.0
BANK = 4000  # training cells that are looked through for neighbors

Features = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class EmbeddingMap:
    """Cells as points.

    Attributes:
        points: Shape (n, 2).
        labels: Class of each, shape (n,).
        made: True for synthetic ones, shape (n,).
    """

    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    made: NDArray[np.bool_]


def embedding_map(
    reference: CellSet, synthetic: CellSet, encoder: Encoder, seed: int, most: int = POINTS
) -> EmbeddingMap | None:
    """Reference and synthetic cells on one map: PCA, then t-SNE.

    Near points are alike in the encoder's features; the size of a cluster, the distance between two
    of them and the axes mean nothing.

    Args:
        reference: Real cells.
        synthetic: Cells of the same classes and image size.
        encoder: What the features are.
        seed: Of the draw and of t-SNE.
        most: Cells of either side that are drawn, in equal shares of the classes.

    Returns:
        The map, the same for the same cells and seed; None where fewer than 10 cells differ in their
        features.

    Source:
        van der Maaten and Hinton, Visualizing data using t-SNE, JMLR 9, 2008; scikit-learn's.
    """
    sides, labels = [], []
    for cells, name in ((reference, "reference"), (synthetic, "synthetic")):
        rows = even_rows(cells, most, seed, name)
        sides.append(np.asarray(encoder.encode(cells), dtype=np.float64)[rows])
        labels.append(cells.labels[rows])
    features = np.concatenate(sides)  # (n, d)
    if len(np.unique(features, axis=0)) < LEAST:
        return None
    made = np.repeat([False, True], [len(side) for side in sides])
    return EmbeddingMap(_flat(features, seed), np.concatenate(labels), made)


def even_rows(cells: CellSet, most: int, seed: int, name: str) -> NDArray[np.int64]:
    """At most so many random rows, shared out evenly: small classes whole, large ones thinned.

    Args:
        cells: What to draw from.
        most: Rows in all.
        seed: Of the draw.
        name: Of the draw, so that sides of one seed differ.

    Returns:
        Indices in ascending order.
    """
    if len(cells) <= most:
        return np.arange(len(cells))
    random = numpy_generator(seed, "rows", name)
    order = random.permutation(len(cells))
    place = np.zeros(len(cells), dtype=np.int64)  # the how-manieth of its class each cell is
    for label in range(len(cells.classes)):
        rows = order[cells.labels[order] == label]
        place[rows] = np.arange(len(rows))
    return np.sort(order[np.argsort(place[order], kind="stable")[:most]])


def nearest_cells(queries: Features, bank: Features, count: int) -> NDArray[np.int64]:
    """The nearest cells by Euclidean distance of features.

    Args:
        queries: Shape (n, d).
        bank: Shape (m, d), m >= 1.
        count: Neighbors of each; fewer where the bank is smaller.

    Returns:
        Indices into the bank, nearest first, shape (n, min(count, m)).
    """
    index = NearestNeighbors(n_neighbors=min(count, len(bank))).fit(bank)
    return np.asarray(index.kneighbors(queries, return_distance=False), dtype=np.int64)


def _flat(features: Features, seed: int) -> NDArray[np.float64]:
    count, width = features.shape
    parts = PCA(min(COMPONENTS, count, width), random_state=seed).fit_transform(features)  # (n, c)
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    start = "pca" if parts.shape[1] > 1 else "random"
    placed = TSNE(2, perplexity=perplexity, init=start, random_state=seed).fit_transform(parts)
    return np.asarray(placed, dtype=np.float64)
