"""Copies of training cells among synthetic ones, judged by how near unseen real cells come.

A generator that returns its training cells, turned, flipped or relit, looks perfect to every fidelity
metric. Whether a synthetic cell is *too* near is told by `evaluation.copies.detector`, from how near
unseen real cells are.

The rule of the verdict, written down before any generator is judged: a generator `copies` if so many
of its cells are flagged, in pixels or in features, that as many of as many unseen real cells would
be with a probability of at most `ALPHA`, shared out over the spaces that were looked at.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import convolve
from scipy.stats import betabinom

from cells.cellset import CellSet
from evaluation.copies.authenticity import authenticity, ratio_test
from evaluation.copies.detector import OWN_THRESHOLD, CopyDetector, Group, check_classes, score
from evaluation.copies.membership import membership
from evaluation.copies.nearest import FeatureSpace, Floats, Neighborhood, PixelSpace, Space
from evaluation.features.encoders import Encoder

ALPHA = 0.01  # of calling an honest generator a copier
WORST = 20


def near_copies(
    synthetic: CellSet,
    train: CellSet,
    heldout: CellSet,
    per_flag: float = 0.01,
    encoder: Encoder | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Whether a generator copies, by every measure: distances, ratios, authenticity, membership.

    Only the classes that have synthetic cells are looked at, where they have 100 held-out cells.

    Args:
        synthetic: Cells to judge.
        train: Real cells that the generator was trained on; same classes and image size.
        heldout: Real cells that it was not trained on.
        per_flag: Share of held-out cells that is to be flagged: what an honest generator scores.
        encoder: For the same in feature space; None looks at pixels alone.
        seed: Of the draw of cells for the membership attack.

    Returns:
        JSON values: ``copies``, the verdict by the rule at the head of this file (None without cells to
        judge), and its ``sentence``; what `judged` returns for pixels; ``features``, the same in feature
        space, or None; ``membership``, what `evaluation.copies.membership.membership` returns for each space.
    """
    for other in (train, heldout):
        check_classes(train, other)
    check_classes(train, synthetic)
    rows, unseen = _relevant(synthetic, train, heldout)
    seen = train.subset(rows)
    spaces: list[Space] = [PixelSpace()]
    if encoder is not None:
        spaces.append(FeatureSpace(encoder, turn_made=len(synthetic) + len(unseen) <= len(seen)))
    found = [judged(synthetic, CopyDetector(seen, unseen, per_flag, space), rows) for space in spaces]
    attacks = {space.name: membership(synthetic, seen, unseen, space, seed) for space in spaces}
    return {
        **verdict(found),
        **found[0],
        "features": found[1] if encoder is not None else None,
        "membership": attacks,
    }


def judged(synthetic: CellSet, detector: CopyDetector, rows: NDArray[np.int64]) -> dict[str, Any]:
    """The near-copies among synthetic cells in one space.

    Args:
        synthetic: Cells to judge.
        detector: Calibrated.
        rows: For each of the detector's training cells, the index it is reported under.

    Returns:
        JSON values: ``space``; ``share`` and ``n`` (cells whose class has two training cells, the
        others are in ``unjudged``, class -> cells); ``expected``, the share of unseen real cells that the
        thresholds flag; ``p``, the probability that as many unseen cells reach the share;
        ``calibrated_on``; ``per_class`` shares; ``thresholds``, class -> ``score``, ``n`` held-out cells and
        whether it is ``own``; ``ratio`` and ``authenticity`` (see `evaluation.copies.authenticity`);
        ``worst``, the nearest pairs first: ``synthetic_index``, ``train_index``, ``distance`` (relative:
        flagged up to 1), ``rms`` (the distance itself), ``class``, ``copy``.
    """
    found = detector.around(synthetic)
    relative = score(found) / detector.thresholds[synthetic.labels]
    known = np.isfinite(relative)
    copies = relative <= detector.threshold
    groups = detector.groups(synthetic.labels[known])
    flagged, n = int(copies.sum()), int(known.sum())
    left_out = synthetic.subset(~known).counts
    return {
        "space": detector.space.name,
        "share": flagged / n if n else None,
        "n": n,
        "expected": expected(groups) if groups else detector.expected,
        "p": chance(flagged, groups) if groups else None,
        "unjudged": {name: count for name, count in left_out.items() if count},
        "calibrated_on": detector.calibrated_on,
        "per_class": _shares(copies, synthetic),
        "thresholds": _thresholds(detector),
        "ratio": ratio_test(found, detector.unseen),
        "authenticity": authenticity(found, detector),
        "worst": _worst(found, relative, copies, synthetic, rows),
    }


def expected(groups: Sequence[Group]) -> float:
    """The share of unseen cells that would be flagged, at the judged cells' mix of thresholds."""
    return sum(g.asked * g.rank / (g.heldout + 1) for g in groups) / sum(g.asked for g in groups)


def chance(flagged: int, groups: Sequence[Group]) -> float:
    """Probability that unseen real cells, as many as were judged, are flagged as often or more often.

    Of m new cells the number below the k-th smallest of n exchangeable ones is beta-binomial with m, k and
    n + 1 - k (Wilks, Annals of Mathematical Statistics 13, 1942): the exact binomial test, with the
    uncertainty of a threshold that was itself read on n cells. Groups are added as if independent.

    Args:
        flagged: Cells at or below their threshold.
        groups: At least one.
    """
    counts = np.ones(1)
    for g in groups:
        of_group = betabinom.pmf(np.arange(g.asked + 1), g.asked, g.rank, g.heldout + 1 - g.rank)
        counts = convolve(counts, of_group)
    return float(np.clip(counts[flagged:].sum(), 0, 1))


def verdict(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``copies`` and ``sentence``, from what `judged` returned for each space."""
    tested = [one for one in found if one["p"] is not None]
    if not tested:
        return {
            "copies": None,
            "sentence": "Not judged for copies: no cell to judge.",
        }
    worst = min(tested, key=lambda one: float(one["p"]))
    p = min(1.0, float(worst["p"]) * len(tested))  # Bonferroni
    copies = p <= ALPHA
    said = "COPIES: this generator copies its training cells." if copies else "No evidence of copying."
    shares = "; ".join(
        f"in {one['space']} {one['share']:.1%} of {one['n']:,} cells are near-copies "
        f"(of unseen real cells {one['expected']:.1%})"
        for one in tested
    )
    return {"copies": copies, "sentence": f"{said} {shares[0].upper()}{shares[1:]}; p {_small(p)}."}


def _relevant(synthetic: CellSet, train: CellSet, heldout: CellSet) -> tuple[NDArray[np.int64], CellSet]:
    """Rows of the training cells and the held-out cells that are worth a look: encoding takes time."""
    unseen = heldout.subset(np.isin(heldout.labels, synthetic.labels))
    if len(unseen) < OWN_THRESHOLD:
        return np.arange(len(train)), heldout
    return np.flatnonzero(np.isin(train.labels, synthetic.labels)), unseen


def _small(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"


def _shares(copies: NDArray[np.bool_], cells: CellSet) -> dict[str, float]:
    return {
        name: float(copies[cells.labels == label].mean())
        for label, name in enumerate(cells.classes)
        if (cells.labels == label).any()
    }


def _thresholds(detector: CopyDetector) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "score": float(detector.thresholds[label]),
            "n": int(detector.per_class[label]),
            "own": bool(detector.own[label]),
        }
        for label, name in enumerate(detector.train.classes)
        if (detector.train.labels == label).any()
    }


def _worst(
    found: Neighborhood,
    relative: Floats,
    copies: NDArray[np.bool_],
    cells: CellSet,
    rows: NDArray[np.int64],
) -> list[dict[str, Any]]:
    order = np.argsort(relative, kind="stable")[:WORST]
    return [
        {
            "synthetic_index": row,
            "train_index": int(rows[found.row[row]]),
            "distance": float(relative[row]),
            "rms": float(found.nearest[row]),
            "class": cells.classes[int(cells.labels[row])],
            "copy": bool(copies[row]),
        }
        for row in order.tolist()
        if np.isfinite(relative[row])
    ]
