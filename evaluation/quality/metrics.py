"""Fidelity metrics on features: pure functions of two arrays.

Fréchet distance, KID, precision/recall and the inception score are torch-fidelity's own functions;
density and coverage follow Naeem et al. Three other forms give the same numbers, and the tests hold
them together: `Factor` for the Fréchet distance, `evaluation.quality.pairwise` for many subsets of two small
sides, and `evaluation.quality.blocks` for sides too large for a matrix of their distances.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_fidelity.metric_fid import (
    KEY_METRIC_FID,
    fid_features_to_statistics,
    fid_statistics_to_metric,
)
from torch_fidelity.metric_isc import (
    KEY_METRIC_ISC_MEAN,
    KEY_METRIC_ISC_STD,
    isc_features_to_metric,
)
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from torch_fidelity.metric_prc import (
    KEY_METRIC_PRECISION,
    KEY_METRIC_RECALL,
    prc_features_to_metric,
)

from evaluation.quality.distances import (
    MANIFOLD_NEIGHBOURS,
    NEIGHBOURS,
    Features,
    coverage_within,
    density_within,
    distance_matrices,
    radii,
)

KID_SUBSET = 1000
KID_SUBSETS = 10
SCORE_SPLITS = 10  # of the inception score: torch-fidelity's default, as its seed is
SCORE_SEED = 2020


def frechet(real: Features, synthetic: Features) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features.

    Args:
        real: Shape (n, d), n >= 2.
        synthetic: Shape (m, d), m >= 2, same encoder.

    Returns:
        A squared distance in the features' units, >= 0 up to rounding; biased upward for small n.

    Source:
        Heusel et al., 1706.08500, equation 6, by torch-fidelity. It is the FID only on
        torch-fidelity's Inception features.
    """
    real, synthetic = checked(real, synthetic, 2)
    # float64: in torch-fidelity's own float32 the mean of large features loses four digits.
    statistics = [fid_features_to_statistics(torch.from_numpy(side)) for side in (real, synthetic)]
    return float(fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID])


def kid(real: Features, synthetic: Features, seed: int = 0) -> float:
    """Kernel distance: unbiased squared MMD under a cubic kernel; may fall slightly below 0.

    Sides of equal size up to 1000 are one subset, which is the exact estimate; otherwise it is the
    mean over 10 random subsets of ``min(n, m, 1000)`` cells.

    Args:
        real: Shape (n, d), n >= 2.
        synthetic: Shape (m, d), m >= 2, same encoder.
        seed: Of the subsets.

    Source:
        Bińkowski et al., 1801.01401, section 4 and equation 4, by torch-fidelity.
    """
    real, synthetic = checked(real, synthetic, 2)
    size, count = kid_subsets(len(real), len(synthetic))
    result = kid_features_to_metric(
        torch.from_numpy(real),
        torch.from_numpy(synthetic),
        kid_subsets=count,
        kid_subset_size=size,
        rng_seed=legacy_seed(seed),
        verbose=False,
    )
    return float(result[KEY_METRIC_KID_MEAN])


def precision_recall(
    real: Features, synthetic: Features, neighbours: int = MANIFOLD_NEIGHBOURS
) -> tuple[float, float]:
    """Share of synthetic cells within the real manifold, and of real cells within the synthetic.

    Args:
        real: Shape (n, d), n > neighbours.
        synthetic: Shape (m, d), m > neighbours, same encoder.
        neighbours: k. A ball reaches the k-th nearest other cell of the same side.

    Returns:
        Precision and recall, both in [0, 1].

    Source:
        Kynkäänniemi et al., 1904.06991, equations 1 and 2, by torch-fidelity.
    """
    real, synthetic = checked(real, synthetic, neighbours + 1)
    result = prc_features_to_metric(
        torch.from_numpy(synthetic),
        torch.from_numpy(real),
        prc_neighborhood=neighbours,
        verbose=False,
    )
    return float(result[KEY_METRIC_PRECISION]), float(result[KEY_METRIC_RECALL])


def density(real: Features, synthetic: Features, neighbours: int = NEIGHBOURS) -> float:
    """Mean number of real balls, over k, that a synthetic cell lies in.

    Args:
        real: Shape (n, d), n > neighbours.
        synthetic: Shape (m, d), same encoder.
        neighbours: k. A ball reaches the k-th nearest other real cell.

    Returns:
        Unitless, >= 0; about 1 where both come from the same distribution.

    Source:
        Naeem et al., 2002.09797, equation 4.
    """
    real, synthetic = checked(real, synthetic, 1, neighbours + 1)
    within, between, _ = distance_matrices(real, synthetic)
    return density_within(between, radii(within, neighbours), neighbours)


def coverage(real: Features, synthetic: Features, neighbours: int = NEIGHBOURS) -> float:
    """Fraction of real cells with a synthetic cell inside their k-NN ball.

    Args:
        real: Shape (n, d), n > neighbours.
        synthetic: Shape (m, d), same encoder.
        neighbours: k. A ball reaches the k-th nearest other real cell.

    Returns:
        Unitless, in [0, 1]; 1 means that no real mode was missed.

    Source:
        Naeem et al., 2002.09797, equation 5.
    """
    real, synthetic = checked(real, synthetic, 1, neighbours + 1)
    within, between, _ = distance_matrices(real, synthetic)
    return coverage_within(between, radii(within, neighbours))


def inception_score(logits: Features, splits: int = SCORE_SPLITS) -> tuple[float, float]:
    """How sure Inception is of each image, and how varied its answers are: exp of a mean divergence.

    Args:
        logits: Shape (n, classes), n >= splits, of torch-fidelity's Inception without its bias.
        splits: Disjoint random parts that are scored apart.

    Returns:
        Mean and standard deviation over the parts; the score is in [1, classes], and grows with n.

    Source:
        Salimans et al., 1606.03498, section 4, by torch-fidelity.
    """
    if logits.ndim != 2 or len(logits) < splits:
        raise ValueError(f"logits must be (n, classes) with n >= {splits}, but are {logits.shape}.")
    found = isc_features_to_metric(torch.from_numpy(np.asarray(logits)), splits, rng_seed=SCORE_SEED)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD])


@dataclass(frozen=True)
class Factor:
    """Mean and a root of the covariance: ``root.T @ root = covariance``, shape (min(n, d), d)."""

    mean: Tensor
    root: Tensor

    @classmethod
    def of(cls, features: Features) -> "Factor":
        """From features, shape (n, d), n >= 2."""
        x = torch.from_numpy(np.asarray(features, dtype=np.float64))  # (n, d)
        mean = x.mean(dim=0)
        centered = (x - mean) / (len(x) - 1) ** 0.5
        return cls(mean, torch.linalg.qr(centered, mode="r").R if len(x) > x.shape[1] else centered)

    def frechet(self, other: "Factor") -> float:
        """The same distance as `frechet`, several times faster.

        With ``A.T A`` and ``B.T B`` the covariances, the trace of the root of their product is the
        nuclear norm of ``A B.T``: a symmetric eigenproblem of the smaller side, where
        torch-fidelity solves a general one of the features' width.
        """
        product = self.root @ other.root.T
        gram = product @ product.T if len(product) <= product.shape[1] else product.T @ product
        cross = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().sum()
        spread = self.root.square().sum() + other.root.square().sum()
        return float((self.mean - other.mean).square().sum() + spread - 2 * cross)


def checked(
    real: Features, synthetic: Features, least: int, least_real: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both sides as float64; ValueError where the shapes do not fit or cells are too few."""
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    if real.ndim != 2 or synthetic.ndim != 2 or real.shape[1] != synthetic.shape[1]:
        raise ValueError(
            f"features must be (n, d) of one encoder, but are {real.shape} and {synthetic.shape}."
        )
    if len(real) < (least_real or least) or len(synthetic) < least:
        raise ValueError(
            f"too few cells: {len(real)} real and {len(synthetic)} synthetic, at least "
            f"{least_real or least} and {least} are needed."
        )
    return x, y


def kid_subsets(n: int, m: int) -> tuple[int, int]:
    """Cells of a subset and number of subsets."""
    size = min(n, m, KID_SUBSET)
    return size, 1 if n == m == size else KID_SUBSETS


def legacy_seed(seed: int) -> int:
    """The seed as NumPy's older generator, torch-fidelity's, takes it."""
    return seed % 2**32
