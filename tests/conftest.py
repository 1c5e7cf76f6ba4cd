"""What all tests share."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Two tests run at a time (pyproject.toml): a core each. Before torch, which reads it when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import pytest
import torch

matplotlib.use("Agg")
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(scope="session")
def flip_a_bit() -> Callable[[Path], None]:
    """Change one bit in the middle of a file."""

    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))

    return flip
