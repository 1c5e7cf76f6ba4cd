"""Is it the right cell? Intended against predicted class, by a classifier trained on real cells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from classifiers.training import Classifier
from runtime.errors import InputError


def label_agreement(synthetic: CellSet, judge: Classifier, real: CellSet) -> dict[str, Any]:
    """Share of synthetic cells that an independent classifier gives the intended class.

    Args:
        synthetic: Cells whose label is the class they were made for.
        judge: Trained on real cells, apart from every other network of the study.
        real: Real cells that the judge has not seen, for its ceiling.

    Returns:
        See `agreement`; ``judge`` says "one net".

    Raises:
        InputError: If the classes differ from the judge's, or `real` holds a synthetic cell.
    """
    for cells, role in ((synthetic, "synthetic set"), (real, "real set")):
        if cells.classes != tuple(judge.classes):
            raise InputError(
                f"the judge knows {list(judge.classes)}, the {role} has {list(cells.classes)}; "
                "train the judge on the same classes."
            )
    predicted = judge.predict(synthetic) if len(synthetic) else np.zeros(0, np.int64)
    found = agreement(synthetic, predicted, real, judge.predict(real) if len(real) else predicted[:0])
    return {**found, "judge": "one net, trained on other real cells", "trainings": 1}


def agreement(
    synthetic: CellSet, predicted: NDArray[np.int64], real: CellSet, real_predicted: NDArray[np.int64]
) -> dict[str, Any]:
    """Intended against predicted class of synthetic cells, beside the same of real cells.

    Args:
        synthetic: Cells whose label is the class they were made for.
        predicted: The class that each was given, shape (n,).
        real: Real cells; each was judged by a net that has not seen it.
        real_predicted: The class that each was given, shape (m,).

    Returns:
        JSON values: ``share`` and ``n``; ``per_class`` shares, None for a class without cells;
        ``classes``; ``matrix`` and ``real_matrix`` of counts, rows intended, columns predicted;
        ``ceiling``, the recall on `real` at the synthetic cells' class mix (None where `real` lacks a
        class), ``ceiling_per_class`` and ``ceiling_n``; ``confused``, the off-diagonal pairs with
        the largest share of their row: ``intended``, ``predicted``, ``share`` and ``real_share``, that
        of real cells of the intended class (None without any).

    Raises:
        InputError: If `real` holds a synthetic cell.
    """
    if real.is_synthetic.any():
        raise InputError("the judge's ceiling is read on real cells only; leave synthetic ones out.")
    matrix, real_matrix = counted(synthetic, predicted), counted(real, real_predicted)
    ceiling, counts = _recalls(real_matrix), matrix.sum(axis=1)
    return {
        "share": float(np.trace(matrix) / counts.sum()) if counts.sum() else None,
        "n": len(synthetic),
        "per_class": dict(zip(synthetic.classes, _recalls(matrix), strict=True)),
        "classes": list(synthetic.classes),
        "matrix": matrix.tolist(),
        "real_matrix": real_matrix.tolist(),
        "ceiling": _mixed(ceiling, counts),
        "ceiling_per_class": dict(zip(synthetic.classes, ceiling, strict=True)),
        "ceiling_n": len(real),
        "confused": _confused(matrix, real_matrix, synthetic.classes),
    }


def confusion(judge: Classifier, cells: CellSet) -> NDArray[np.int64]:
    """Counts of intended (rows) against predicted (columns) class, shape (C, C)."""
    return counted(cells, judge.predict(cells) if len(cells) else np.zeros(0, np.int64))


def counted(cells: CellSet, predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts of intended (rows) against predicted (columns) class, shape (C, C)."""
    matrix = np.zeros((len(cells.classes), len(cells.classes)), dtype=np.int64)
    np.add.at(matrix, (cells.labels, predicted), 1)
    return matrix


def _recalls(matrix: NDArray[np.int64]) -> list[float | None]:
    return [float(row[label] / row.sum()) if row.sum() else None for label, row in enumerate(matrix)]


def _mixed(recalls: list[float | None], counts: NDArray[np.int64]) -> float | None:
    """Recall on real cells as it would be at the synthetic cells' class mix."""
    total = 0.0
    for recall, count in zip(recalls, counts.tolist(), strict=True):
        if count and recall is None:
            return None
        total += (recall or 0.0) * count
    return float(total / counts.sum()) if counts.sum() else None


def _confused(
    matrix: NDArray[np.int64], real: NDArray[np.int64], classes: tuple[str, ...], most: int = 5
) -> list[dict[str, Any]]:
    """The pairs that are mistaken most, as a share of the intended class, beside real cells."""
    pairs = [
        {
            "intended": classes[i],
            "predicted": classes[j],
            "share": float(row[j] / row.sum()),
            "real_share": float(real[i, j] / real[i].sum()) if real[i].sum() else None,
        }
        for i, row in enumerate(matrix)
        for j in range(len(classes))
        if i != j and row[j]
    ]
    return sorted(pairs, key=lambda pair: -float(str(pair["share"])))[:most]
