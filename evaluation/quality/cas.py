"""Classification accuracy score: what a network learns from synthetic cells alone, in real ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from classifiers.training import Classifier, ClassifierSettings
from runtime.errors import InputError
from runtime.seeds import numpy_generator, seed_of

DRAWS = 1000  # of the bootstrap

Correct = dict[str, NDArray[np.float64]]  # class -> 1 for each of its cells that was recognized, else 0


def classification_accuracy(
    real: CellSet, synthetic: CellSet, holdout: CellSet, settings: ClassifierSettings, seed: int
) -> dict[str, Any]:
    """Train on synthetic and test on real cells, and the converse, beside the ceiling.

    Two networks of one recipe: one learns from synthetic cells, one from as many real cells of each
    class. Both are tested on the holdout, the second on the synthetic cells, too. A class that lacks
    cells on one of the three sides is left out.

    Args:
        real: Real training cells.
        synthetic: Cells whose label is the class they were made for.
        holdout: Real cells that neither generator nor `real` has.
        settings: What both networks are.
        seed: Of the draws and of both trainings.

    Returns:
        JSON values: ``synthetic_to_real`` (the score), ``real_to_real`` (its ceiling), ``gap`` (the first
        less the second, on the same cells), ``real_to_synthetic`` (the converse). Each has ``value``, the
        mean over classes of the share recognized, ``low``, ``high``, and ``per_class`` of the same with
        ``n``. And ``n_train`` by class, the same for both networks, ``classes``, and ``left_out`` as
        class -> why. Or ``{"reason": …}`` where fewer than two classes are left.
        The intervals are those of a bootstrap over test cells; another training may differ by more.

    Raises:
        InputError: If the sides are of different classes, or a side that must be real is not.

    Source:
        Ravuri and Vinyals, 1905.10887, section 3. Theirs is the accuracy on all test images; ours the
        mean over classes, which is the same where these are equally frequent.
    """
    _check(real, synthetic, holdout)
    left_out = _left_out(real, synthetic, holdout)
    classes = [name for name in real.classes if name not in left_out]
    if len(classes) < 2:
        return {"reason": f"not computable: {len(classes)} class(es) with cells on every side"}
    counts = {name: min(real.counts[name], synthetic.counts[name]) for name in classes}
    from_synthetic = _fitted(_part(synthetic, counts, seed), settings, seed, "synthetic")
    from_real = _fitted(_part(real, counts, seed), settings, seed, "real")
    tests = {
        name: cells.subset(np.isin(cells.labels, [cells.classes.index(c) for c in classes]))
        for name, cells in (("real", holdout), ("synthetic", synthetic))
    }
    learned, ceiling = _correct(from_synthetic, tests["real"]), _correct(from_real, tests["real"])
    return {
        "classes": classes,
        "left_out": left_out,
        "n_train": counts,
        "synthetic_to_real": _summary(learned, seed),
        "real_to_real": _summary(ceiling, seed),
        "gap": _summary({name: learned[name] - ceiling[name] for name in classes}, seed),
        "real_to_synthetic": _summary(_correct(from_real, tests["synthetic"]), seed),
    }


def _left_out(real: CellSet, synthetic: CellSet, holdout: CellSet) -> dict[str, str]:
    """Classes that a side has no cell of, and why."""
    sides = (side.counts.values() for side in (real, synthetic, holdout))
    return {
        name: f"{n} real, {m} synthetic, {h} holdout cells"
        for name, n, m, h in zip(real.classes, *sides, strict=True)
        if min(n, m, h) == 0
    }


def _check(real: CellSet, synthetic: CellSet, holdout: CellSet) -> None:
    if not real.classes == synthetic.classes == holdout.classes:
        raise InputError(
            f"the real classes {list(real.classes)} are not those of the synthetic or the holdout set; "
            "give all three the same classes."
        )
    if real.is_synthetic.any() or holdout.is_synthetic.any():
        raise InputError(
            "the accuracy score needs real cells in real= and holdout=; leave synthetic ones out."
        )


def _part(cells: CellSet, counts: Mapping[str, int], seed: int) -> CellSet:
    """So many random cells of each class."""
    random = numpy_generator(seed, "accuracy score")
    rows = [
        random.permutation(np.flatnonzero(cells.labels == cells.classes.index(name)))[:count]
        for name, count in counts.items()
    ]
    return cells.subset(np.concatenate(rows))


def _fitted(cells: CellSet, settings: ClassifierSettings, seed: int, of: str) -> Classifier:
    """Both networks start from the same weights: they differ in their cells alone."""
    classifier = Classifier(cells.classes, settings)
    return classifier.fit(
        cells, seed=seed_of(seed, "accuracy score"), description=f"learning from {of} cells"
    )


def _correct(classifier: Classifier, cells: CellSet) -> Correct:
    hits = (classifier.predict(cells) == cells.labels).astype(np.float64)
    return {
        name: hits[cells.labels == label] for label, name in enumerate(cells.classes) if cells.counts[name]
    }


def _summary(values: Correct, seed: int) -> dict[str, Any]:
    """Mean of each class and over classes, with percentile intervals over cells redrawn within classes."""
    random = numpy_generator(seed, "bootstrap")
    draws = {name: random.choice(of, (DRAWS, len(of))).mean(axis=1) for name, of in values.items()}
    per_class = {
        name: {"value": float(of.mean()), **_quantiles(draws[name]), "n": len(of)}
        for name, of in values.items()
    }
    mean = float(np.mean([one["value"] for one in per_class.values()]))
    return {"value": mean, **_quantiles(np.mean(list(draws.values()), axis=0)), "per_class": per_class}


def _quantiles(draws: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(draws, [0.025, 0.975])
    return {"low": float(low), "high": float(high)}
