"""What all tests share."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Two tests run at a time (pyproject.toml): a core each. Before torch, which reads it when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

import matplotlib
import pytest
import torch

from evaluation.reports.figures import KINDS

matplotlib.use("Agg")

ROOT = Path(__file__).resolve().parents[1]
HOLD = """
import sys, time, pathlib
from runtime.lease import holding
with holding(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images beside the checkout; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("RARECELL_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the shared real images are not beside this checkout (set RARECELL_SHARED)")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("RARECELL_CACHE", str(tmp_path / "cache"))
    torch.set_flush_denormal(True)
    yield


OTHER_FORMATS: dict[str, Any] = {}


@pytest.fixture(scope="session", autouse=True)
def figures_as_png_alone() -> None:
    """SVG and PDF of every figure of every report would take minutes of the suite."""
    OTHER_FORMATS.update({kind: KINDS.pop(kind) for kind in ("svg", "pdf")})


@pytest.fixture(scope="module")
def all_formats(figures_as_png_alone: None) -> Iterator[None]:
    """Figures in all formats, as they are outside of the tests."""
    KINDS.update(OTHER_FORMATS)
    yield
    for kind in OTHER_FORMATS:
        del KINDS[kind]


@pytest.fixture(scope="session")
def flip_a_bit() -> Callable[[Path], None]:
    """Change one bit in the middle of a file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    return flip


@pytest.fixture(scope="session")
def hold_elsewhere() -> Callable[[Path], subprocess.Popen[str]]:
    """Have another process hold a lease, for a minute or until it is killed."""

    def hold(path: Path) -> subprocess.Popen[str]:
        other = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        return other

    return hold
