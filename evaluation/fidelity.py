"""How near synthetic cells are to real ones, overall and per class, and how near real ones are.

Every figure comes with n of both sides and a floor: what disjoint halves of the real reference
score against each other, and what the synthetic cells score at that same n. Where n is too small
for a metric there is no number, only the reason.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.cellset import CellSet
from evaluation.encoders import Encoder
from evaluation.metrics import (
    NEIGHBOURS,
    Factor,
    Features,
    Pairwise,
    Rows,
    coverage,
    density,
    frechet,
    kid,
    precision_recall,
)
from runtime.config import digest
from runtime.errors import InputError
from runtime.seeds import numpy_generator, seed_of

__all__ = [
    "METRICS",
    "comparison_key",
    "coverage",
    "density",
    "fidelity",
    "frechet",
    "kid",
    "precision_recall",
]

MANIFOLD = ("precision", "recall", "density", "coverage")
METRICS = ("frechet", "kid", *MANIFOLD)

# Least cells of either side. Per class: DESIGN.md, point 10. Overall: what the formula needs.
PER_CLASS_MINIMUM = {"frechet": 500, "kid": 20, **dict.fromkeys(MANIFOLD, 50)}
OVERALL_MINIMUM = {"frechet": 2, "kid": 2, **dict.fromkeys(MANIFOLD, NEIGHBOURS + 1)}
MIX_MINIMUM = 20  # a class below it on either side would shrink the whole mix: it is left out
PAIRWISE_CELLS = 2500  # kernels and distances are square in n: 0.3 GB at this many a side
WIDE = 256  # features wider than this get fewer repeats of the Fréchet distance
WIDE_REPEATS = {"overall": 5, "class": 3}

Entry = dict[str, Any]


@dataclass(frozen=True)
class _Side:
    """Features of one side and the class of each row."""

    features: Features  # (n, d)
    labels: NDArray[np.int64]  # (n,)

    def at(self, rows: Rows) -> "_Side":
        return _Side(self.features[rows], self.labels[rows])

    def __len__(self) -> int:
        return len(self.labels)


def fidelity(
    reference: CellSet,
    synthetic: CellSet,
    encoder: Encoder,
    *,
    floor_repeats: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Score synthetic cells against real ones that neither generator nor encoder has seen.

    Overall, both sides are drawn to the same class mix, equally many of every class that both
    have. The synthetic side is drawn down to the reference's n, so that figures of different
    generators share a fingerprint.

    Args:
        reference: Real cells.
        synthetic: Any cells of the same classes and image size.
        encoder: What the features are.
        floor_repeats: Random halvings of the reference.
        seed: Of all draws.

    Returns:
        JSON values: ``fingerprint``; ``name`` of the Fréchet distance, "FID" only with Inception;
        ``overall`` as metric -> entry; ``per_class`` as class -> metric -> entry; ``left_out`` as
        class -> why it is not in the overall mix. An entry is ``{"value", "n_reference",
        "n_synthetic", "matched", "floor"}``, the last two ``{"value", "low", "high", "n",
        "repeats"}`` with the mean and the 2.5 and 97.5 % quantiles over the halvings, or
        ``{"reason": "not computable, n = 12"}``.

    Raises:
        InputError: If a synthetic cell is in the reference, or the sides share no class or size.
    """
    _check(reference, synthetic)
    real = _Side(encoder.encode(reference), reference.labels)
    made = _Side(encoder.encode(synthetic), synthetic.labels)
    mix, left_out = _mix(reference, synthetic)
    overall_real = _draw(real, mix, len(real), seed)
    overall_made = _draw(made, mix, _least(real, mix), seed_of(seed, "synthetic"))
    per_class = {}
    for label, name in enumerate(reference.classes):
        one = _draw(real, [label], len(real), seed_of(seed, name))
        other = _draw(made, [label], len(one), seed_of(seed, name, "synthetic"))
        per_class[name] = _scores(one, other, PER_CLASS_MINIMUM, "class", floor_repeats, seed)
    return {
        "fingerprint": {
            **encoder.fingerprint,
            "image_size": reference.image_size,
            "n_reference": len(overall_real),
            "n_synthetic": len(overall_made),
            "reference_split": _split_name(reference),
            "reference": reference.digest,
            "classes": [reference.classes[label] for label in mix],
        },
        "name": "FID" if encoder.name == "Inception" else f"Fréchet distance ({encoder.name})",
        "overall": _scores(overall_real, overall_made, OVERALL_MINIMUM, "overall", floor_repeats, seed),
        "per_class": per_class,
        "left_out": left_out,
    }


def comparison_key(result: Mapping[str, Any]) -> str:
    """16 hex digits of a result's fingerprint: only results of equal key share a table.

    Args:
        result: What `fidelity` returned.
    """
    return digest(result["fingerprint"])


def _check(reference: CellSet, synthetic: CellSet) -> None:
    if reference.is_synthetic.any():
        raise InputError("the reference holds synthetic cells; score against real cells only.")
    if reference.classes != synthetic.classes:
        raise InputError(
            f"reference classes {list(reference.classes)} are not the synthetic set's "
            f"{list(synthetic.classes)}; give both the same classes."
        )
    if len(reference) and len(synthetic) and reference.image_size != synthetic.image_size:
        raise InputError(
            f"reference cells are {reference.image_size} px and synthetic ones "
            f"{synthetic.image_size} px; resize one side."
        )
    shared = set(reference.labels.tolist()) & set(synthetic.labels.tolist())
    if not shared:
        raise InputError("the reference and the synthetic set have no class in common.")


def _mix(reference: CellSet, synthetic: CellSet) -> tuple[list[int], dict[str, str]]:
    """Classes of the overall mix, and why the others are not in it."""
    counts = list(zip(reference.classes, reference.counts.values(), synthetic.counts.values(), strict=True))
    shared = [label for label, (_, n, m) in enumerate(counts) if min(n, m) > 0]
    plenty = [label for label in shared if min(counts[label][1:]) >= MIX_MINIMUM]
    mix = plenty or shared
    left_out = {
        name: f"{n} reference and {m} synthetic cells"
        for label, (name, n, m) in enumerate(counts)
        if label not in mix
    }
    return mix, left_out


def _least(side: _Side, labels: Sequence[int]) -> int:
    return min(int((side.labels == label).sum()) for label in labels)


def _draw(side: _Side, labels: Sequence[int], most: int, seed: int) -> _Side:
    """Equally many random rows of each class, as many as the smallest has, at most `most`."""
    each = min(most, _least(side, labels))
    random = numpy_generator(seed, "draw")
    rows = [random.permutation(np.flatnonzero(side.labels == label))[:each] for label in labels]
    return side.at(np.concatenate(rows))


def _split_name(reference: CellSet) -> str:
    return "+".join(sorted(set(map(str, reference.splits)) - {""})) or "unnamed"


def _scores(
    real: _Side, made: _Side, minimum: Mapping[str, int], scope: str, repeats: int, seed: int
) -> dict[str, Entry]:
    """All metrics of one scope, each a number with its floor, or the reason why there is none."""
    found: dict[str, Entry] = {}
    if min(len(real), len(made)) >= minimum["frechet"]:
        wide = real.features.shape[1] > WIDE
        fewer = min(repeats, WIDE_REPEATS[scope]) if wide else repeats
        found |= _frechet_scores(real, made, fewer, seed)
    few_real = _thinned(real, seed_of(seed, "real"))
    few_made = _thinned(made, seed_of(seed, "made"))
    least = min(len(few_real), len(few_made))
    if least >= min(minimum[metric] for metric in METRICS if metric != "frechet"):
        found |= _pairwise_scores(few_real, few_made, least >= minimum["density"], repeats, seed)
    missing = {"reason": f"not computable, n = {min(len(real), len(made))}"}
    return {metric: found.get(metric, missing) for metric in METRICS}


def _thinned(side: _Side, seed: int) -> _Side:
    labels = np.unique(side.labels).tolist()
    if len(side) <= PAIRWISE_CELLS:
        return side
    return _draw(side, labels, PAIRWISE_CELLS // len(labels), seed)


def _frechet_scores(real: _Side, made: _Side, repeats: int, seed: int) -> dict[str, Entry]:
    def halves(rows: Rows, others: Rows, columns: Rows) -> tuple[dict[str, float], dict[str, float]]:
        first = Factor.of(real.features[rows])
        matched = first.frechet(Factor.of(made.features[columns]))
        floor = first.frechet(Factor.of(real.features[others]))
        return {"frechet": matched}, {"frechet": floor}

    # Not `frechet` itself: on 2048 features its general eigenproblem takes half a minute a call.
    values = {"frechet": Factor.of(real.features).frechet(Factor.of(made.features))}
    return _entries(values, real, made, halves, 2, repeats, seed)


def _pairwise_scores(real: _Side, made: _Side, manifold: bool, repeats: int, seed: int) -> dict[str, Entry]:
    """KID, and with enough cells the four manifold metrics, from one set of distances."""
    pairs = Pairwise(real.features, made.features)

    def kid_halves(rows: Rows, others: Rows, columns: Rows) -> tuple[dict[str, float], dict[str, float]]:
        matched, floor = pairs.kid_matched(rows, columns), pairs.kid_halves(rows, others)
        return {"kid": matched}, {"kid": floor}

    def manifold_halves(rows: Rows, others: Rows, columns: Rows) -> tuple[dict[str, float], dict[str, float]]:
        return pairs.manifold(rows, columns), pairs.manifold_halves(rows, others)

    entries = _entries({"kid": pairs.kid(seed)}, real, made, kid_halves, 2, repeats, seed)
    if manifold:
        values = pairs.manifold()
        entries |= _entries(values, real, made, manifold_halves, NEIGHBOURS + 1, repeats, seed)
    return entries


Halves = Callable[[Rows, Rows, Rows], tuple[dict[str, float], dict[str, float]]]


def _entries(
    values: Mapping[str, float],
    real: _Side,
    made: _Side,
    halves: Halves,
    least: int,
    repeats: int,
    seed: int,
) -> dict[str, Entry]:
    """Each value with its matched score and floor over random halvings of the reference."""
    splits = [_halved(real, made, seed_of(seed, "halves", i)) for i in range(repeats)]
    n = len(splits[0][0]) if splits else 0
    pairs = [halves(*split) for split in splits] if n >= least else []

    def summary(side: int, metric: str) -> Entry:
        if not pairs:
            return {"reason": f"not computable, n = {n}"}
        scores = [pair[side][metric] for pair in pairs]
        low, high = np.quantile(scores, [0.025, 0.975])
        return {
            "value": float(np.mean(scores)),
            "low": float(low),
            "high": float(high),
            "n": n,
            "repeats": len(scores),
        }

    return {
        metric: {
            "value": value,
            "n_reference": len(real),
            "n_synthetic": len(made),
            "matched": summary(0, metric),
            "floor": summary(1, metric),
        }
        for metric, value in values.items()
    }


def _halved(real: _Side, made: _Side, seed: int) -> tuple[Rows, Rows, Rows]:
    """Two disjoint halves of the reference and as many synthetic rows, equal in every class."""
    random = numpy_generator(seed)
    rows, others, columns = [], [], []
    for label in np.unique(real.labels):
        of_real = random.permutation(np.flatnonzero(real.labels == label))
        of_made = random.permutation(np.flatnonzero(made.labels == label))
        half = min(len(of_real) // 2, len(of_made))
        rows.append(of_real[:half])
        others.append(of_real[half : 2 * half])
        columns.append(of_made[:half])
    return np.concatenate(rows), np.concatenate(others), np.concatenate(columns)
