"""The form for large sides: the same numbers as the small one, ties and copies included."""

import contextlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prdc import compute_prdc

from evaluation.quality.blocks import manifold
from evaluation.quality.distances import distance_matrices
from evaluation.quality.metrics import precision_recall
from evaluation.quality.pairwise import Pairwise
from runtime.errors import InputError

Array = NDArray[np.floating]


def drawn(n: int, d: int, seed: int, shift: float = 0.0) -> Array:
    return (np.random.default_rng(seed).standard_normal((n, d)) + shift).astype(np.float32)


def by_definition(real: Array, synthetic: Array) -> dict[str, float]:
    """Every distance from differences, every ball from a sorted list."""

    def between(x: Array, y: Array) -> Array:
        return np.array([np.square(a.astype(np.float64) - y).sum(axis=1) for a in x])

    rr, rs, ss = between(real, real), between(real, synthetic), between(synthetic, synthetic)
    near, reach = np.sort(rr, axis=1), np.sort(ss, axis=1)[:, 3]
    balls = rs < near[:, 5, None]
    return {
        "precision": (rs <= near[:, 3, None]).any(axis=0).mean(),
        "recall": (rs <= reach[None]).any(axis=1).mean(),
        "density": balls.sum(axis=0).mean() / 5,
        "coverage": balls.any(axis=1).mean(),
    }


def lattice(n: int, seed: int) -> Array:
    """Many equal distances, many copies, on both sides."""
    return np.random.default_rng(seed).integers(0, 3, (n, 6)).astype(np.float32)


def repeated(n: int, seed: int) -> Array:
    """Each cell several times, far from the origin: where products of matrices are least exact."""
    return drawn(n // 10, 40, seed, shift=300)[np.random.default_rng(seed).integers(0, n // 10, n)]


SIDES = {
    "normal": (drawn(150, 30, 1), drawn(170, 30, 2, 0.1)),
    "wide": (drawn(90, 600, 1), drawn(80, 600, 2)),
    "ties": (lattice(160, 1), lattice(140, 2)),
    "copies": (repeated(200, 1), np.concatenate([repeated(200, 1)[50:120], drawn(40, 40, 5, 300)])),
    "the same cells in another order": (drawn(130, 20, 1), drawn(130, 20, 1)[::-1].copy()),
    "one cell far away": (np.concatenate([drawn(99, 8, 1), drawn(1, 8, 3, 1e6)]), drawn(120, 8, 2)),
    "all alike": (np.ones((40, 5), np.float32), np.ones((30, 5), np.float32)),
    "double precision": (drawn(60, 9, 1).astype(np.float64) / 3, drawn(70, 9, 2) / np.float32(3)),
}


@pytest.mark.parametrize("block", [29, 4096])
@pytest.mark.parametrize("name", SIDES)
def test_blocks_give_the_four_by_their_definition(name: str, block: int) -> None:
    real, synthetic = SIDES[name]
    assert manifold(real, synthetic, block) == pytest.approx(by_definition(real, synthetic), rel=1e-12)


@pytest.mark.parametrize("name", [name for name in SIDES if name != "all alike"])
def test_the_small_form_gives_the_same(name: str) -> None:
    real, synthetic = SIDES[name]
    assert manifold(real, synthetic, 50) == pytest.approx(Pairwise(real, synthetic).manifold(), rel=1e-12)


@pytest.mark.parametrize("name", ["normal", "wide", "ties"])
def test_blocks_are_torch_fidelity_and_prdc(name: str) -> None:
    real, synthetic = SIDES[name]
    found = manifold(real, synthetic, 32)
    assert (found["precision"], found["recall"]) == pytest.approx(precision_recall(real, synthetic), rel=1e-6)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real.astype(np.float64), synthetic.astype(np.float64), 5)
    assert found["density"] == pytest.approx(float(expected["density"]), rel=1e-6)
    assert found["coverage"] == pytest.approx(float(expected["coverage"]), rel=1e-6)


def test_a_copy_is_at_distance_0_and_as_far_from_others_as_its_original() -> None:
    real = drawn(60, 50, 1, shift=500)
    within, between, among = distance_matrices(real, real[::-1].copy())
    assert (between.flip(1).diagonal() == 0).all() and (within.diagonal() == 0).all()
    assert (between.flip(1) == within).all() and (among.flip(0, 1) == within).all()


def test_a_copied_side_has_the_values_that_follow_from_the_definition() -> None:
    real = drawn(300, 16, 1)
    found = manifold(real, real[::-1].copy(), 100)
    # Balls are open: of the six nearest, itself among them, the last one lies on the edge.
    assert found == {"precision": 1.0, "recall": 1.0, "density": 1.0, "coverage": 1.0}


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    real = drawn(20, 4, 1)
    real[3, 2] = value
    with pytest.raises(InputError, match="not finite"):
        manifold(real, drawn(20, 4, 2))


@pytest.mark.parametrize(("n", "m"), [(5, 20), (20, 3)])
def test_too_few_cells_are_refused(n: int, m: int) -> None:
    with pytest.raises(ValueError, match="too few cells"):
        manifold(drawn(n, 4, 1), drawn(m, 4, 2))


def test_memory_does_not_grow_with_the_pairs() -> None:
    """5,000 cells a side: matrices of their distances would take 200 MB a piece in float64."""
    script = (
        "import resource, numpy as np\n"
        "from evaluation.quality.blocks import manifold\n"
        "random = np.random.default_rng(0)\n"
        "sides = [random.standard_normal((5000, 16)).astype(np.float32) for _ in range(2)]\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "manifold(*sides, block=512)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True, timeout=300
    )
    assert float(done.stdout) < 120
