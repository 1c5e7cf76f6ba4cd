"""How near synthetic cells are to real ones, overall and per class, and how near real ones are.

Every figure comes with n of both sides, an interval and a floor: what disjoint halves of the real
reference score against each other, and what the synthetic cells score at that same n. Where n is too
small for a metric there is no number, only the reason.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cells.cellset import CellSet
from evaluation.features.encoders import Encoder
from evaluation.quality.blocks import manifold
from evaluation.quality.distances import NEIGHBOURS, Rows
from evaluation.quality.extrapolation import enough, frechet_at_infinity
from evaluation.quality.halves import Entry, Halving, Side, Values, around, class_means, entries
from evaluation.quality.metrics import (
    SCORE_SPLITS,
    Factor,
    coverage,
    density,
    frechet,
    inception_score,
    kid,
    precision_recall,
)
from evaluation.quality.pairwise import Pairwise
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
PAIRWISE_CELLS = 2500  # kernels and distances are square in n: 0.6 GB at this many a side
SCORE_MINIMUM = 100  # cells for an inception score: ten in each of its parts
WIDE = 256  # features wider than this get fewer repeats of the Fréchet distance
WIDE_REPEATS = {"overall": 5, "class": 3}


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
        ``overall`` as metric -> entry; ``per_class`` as class -> metric -> entry; ``class_mean`` as
        metric -> what `evaluation.quality.halves.class_means` returns; ``inception_score``, or a ``reason``;
        ``left_out`` as class -> why it is not in the overall mix. An entry is ``{"value", "low", "high",
        "error", "n_reference", "n_synthetic", "matched", "floor"}``, or ``{"reason": "not
        computable, n = 12"}``. ``low`` to ``high`` is the 95 % interval of
        `evaluation.quality.halves.interval`, None where a half is too small. ``matched`` and ``floor``
        are ``{"value", "low", "high", "n", "repeats"}``, the mean and the 2.5 and 97.5 % quantiles over
        the halvings. The overall Fréchet entry has ``infinite``: ``value``, ``low``, ``high`` at 1/n = 0,
        the ``points`` behind it, and ``rough``, whether a subset has fewer cells than features.

    Raises:
        InputError: If a synthetic cell is in the reference, or the sides share no class or size.
    """
    _check(reference, synthetic)
    real = Side(encoder.encode(reference), reference.labels)
    made = Side(encoder.encode(synthetic), synthetic.labels)
    mix, left_out = _mix(reference, synthetic)
    overall_real = _draw(real, mix, len(real), seed)
    overall_made = _draw(made, mix, _least(real, mix), seed_of(seed, "synthetic"))
    per_class = {
        name: _class_scores(real, made, label, name, floor_repeats, seed)
        for label, name in enumerate(reference.classes)
    }
    return {
        "fingerprint": _fingerprint(encoder, reference, mix, len(overall_real), len(overall_made)),
        "name": "FID" if encoder.name == "Inception" else f"Fréchet distance ({encoder.name})",
        "overall": _scores(overall_real, overall_made, OVERALL_MINIMUM, "overall", floor_repeats, seed),
        "per_class": per_class,
        "class_mean": class_means(per_class),
        "inception_score": _inception_score(encoder, overall_real, overall_made),
        "left_out": left_out,
    }


def _fingerprint(
    encoder: Encoder, reference: CellSet, mix: Sequence[int], n_reference: int, n_synthetic: int
) -> dict[str, Any]:
    """What two results must have in common to stand in one column."""
    return {
        **encoder.fingerprint,
        "image_size": reference.image_size,
        "n_reference": n_reference,
        "n_synthetic": n_synthetic,
        "reference_split": _split_name(reference),
        "reference": reference.digest,
        "classes": [reference.classes[label] for label in mix],
    }


def _class_scores(
    real: Side, made: Side, label: int, name: str, floor_repeats: int, seed: int
) -> dict[str, Entry]:
    one = _draw(real, [label], len(real), seed_of(seed, name))
    other = _draw(made, [label], len(one), seed_of(seed, name, "synthetic"))
    return _scores(one, other, PER_CLASS_MINIMUM, "class", floor_repeats, seed)


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


def _least(side: Side, labels: Sequence[int]) -> int:
    return min(int((side.labels == label).sum()) for label in labels)


def _draw(side: Side, labels: Sequence[int], most: int, seed: int) -> Side:
    """Equally many random rows of each class, as many as the smallest has, at most `most`; in order."""
    each = min(most, _least(side, labels))
    random = numpy_generator(seed, "draw")
    rows = [np.sort(random.permutation(np.flatnonzero(side.labels == label))[:each]) for label in labels]
    return side.at(np.concatenate(rows))


def _split_name(reference: CellSet) -> str:
    return "+".join(sorted(set(map(str, reference.splits)) - {""})) or "unnamed"


def _scores(
    real: Side, made: Side, minimum: Mapping[str, int], scope: str, repeats: int, seed: int
) -> dict[str, Entry]:
    """All metrics of one scope, each a number with its floor, or the reason why there is none."""
    found: dict[str, Entry] = {}
    least = min(len(real), len(made))
    if least >= minimum["frechet"]:
        wide = real.features.shape[1] > WIDE
        fewer = min(repeats, WIDE_REPEATS[scope]) if wide else repeats
        found |= _frechet_scores(real, made, scope == "overall", fewer, seed)
    if least >= min(minimum["kid"], minimum["density"]):
        found |= _pairwise_scores(real, made, least >= minimum["density"], repeats, seed)
    missing = {"reason": f"not computable, n = {least}"}
    return {metric: found.get(metric, missing) for metric in METRICS}


def _frechet_scores(real: Side, made: Side, extrapolate: bool, repeats: int, seed: int) -> dict[str, Entry]:
    """The Fréchet distance, with its value at 1/n = 0 if that is asked for."""

    def score(h: Halving) -> tuple[Values, Values, Values]:
        first = Factor.of(real.features[h.rows])
        matched = first.frechet(Factor.of(made.features[h.columns]))
        floor = first.frechet(Factor.of(real.features[h.others]))
        spread = matched if h.alike else first.frechet(Factor.of(made.features[h.half]))
        parts = real.at(h.rows), made.at(h.half)
        at_infinity = {}
        if extrapolate and enough(*parts):
            at_infinity["infinite"] = frechet_at_infinity(*parts, spread, 1, seed)[0]
        return {"frechet": matched}, {"frechet": floor}, {"frechet": spread, **at_infinity}

    # Not `frechet` itself: on 2048 features its general eigenproblem takes half a minute a call.
    values = {"frechet": Factor.of(real.features).frechet(Factor.of(made.features))}
    points: list[tuple[int, float]] = []
    if extrapolate and enough(real, made):
        values["infinite"], points = frechet_at_infinity(real, made, values["frechet"], repeats, seed)
    found = entries(values, real, made, score, 2, repeats, seed)
    if extrapolate:
        missing = {"reason": f"not computable, n = {min(len(real), len(made))}"}
        infinite = found.pop("infinite", missing)
        if points:
            rough = points[-1][0] <= real.features.shape[1]
            infinite = {key: infinite[key] for key in ("value", "low", "high", "error")}
            infinite |= {"points": [list(point) for point in points], "rough": rough}
        found["frechet"]["infinite"] = infinite
    return found


def _pairwise_scores(real: Side, made: Side, balls: bool, repeats: int, seed: int) -> dict[str, Entry]:
    """KID, and with enough cells the four manifold metrics, from one set of distances.

    On large sides KID is that of `PAIRWISE_CELLS` of them; the four are exact on all cells, with matched
    score and floor of those `PAIRWISE_CELLS`.
    """
    whole = len(real), len(made)
    few_real, few_made = _thinned(real, seed_of(seed, "real")), _thinned(made, seed_of(seed, "made"))
    pairs = Pairwise(few_real.features, few_made.features)

    def kid_score(h: Halving) -> tuple[Values, Values, Values]:
        matched, floor = pairs.kid_matched(h.rows, h.columns), pairs.kid_halves(h.rows, h.others)
        return {"kid": matched}, {"kid": floor}, {"kid": pairs.kid_parts(h.rows, h.half)}

    def balls_score(h: Halving) -> tuple[Values, Values, Values]:
        matched = pairs.manifold(h.rows, h.columns)
        spread = matched if h.alike else pairs.manifold(h.rows, h.half)
        return matched, pairs.manifold_halves(h.rows, h.others), spread

    found = entries({"kid": pairs.kid(seed)}, few_real, few_made, kid_score, 2, repeats, seed)
    if balls:
        large = max(whole) > PAIRWISE_CELLS
        values = manifold(real.features, made.features) if large else pairs.manifold()
        least = NEIGHBOURS + 1
        found |= entries(values, few_real, few_made, balls_score, least, repeats, seed, whole)
    return found


def _thinned(side: Side, seed: int) -> Side:
    labels = np.unique(side.labels).tolist()
    if len(side) <= PAIRWISE_CELLS:
        return side
    return _draw(side, labels, PAIRWISE_CELLS // len(labels), seed)


def _inception_score(encoder: Encoder, real: Side, made: Side) -> Entry:
    """The score of the synthetic cells, and of as many real ones beside it."""
    logits = getattr(encoder, "logits", None)
    n = min(len(real), len(made))
    if logits is None or logits(made.features[:1]) is None:
        return {"reason": "not computable: it is defined on Inception's logits only"}
    if n < SCORE_MINIMUM:
        return {"reason": f"not computable, n = {n}"}
    found = []
    for side in (made, real):
        rows = _spread_out(side, n)
        mean, deviation = inception_score(logits(side.features[rows]))
        error = deviation / (SCORE_SPLITS - 1) ** 0.5  # of the mean of disjoint parts
        found.append({"value": mean, **around(mean, error, SCORE_SPLITS - 1, (1.0, np.inf)), "error": error})
    return {**found[0], "n": n, "parts": SCORE_SPLITS, "real": found[1]}


def _spread_out(side: Side, n: int) -> Rows:
    """n rows, evenly through the classes, which lie one after the other."""
    return np.linspace(0, len(side) - 1, n).round().astype(np.int64)
