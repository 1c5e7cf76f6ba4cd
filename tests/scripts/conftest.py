"""What the tests of prepare.py begin with: the script, and trees of images."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparing import Prepare

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare.py"


@pytest.fixture
def prepare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Run the script with some words: exit code, stdout, stderr."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["prepare.py", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return int(end.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, a duplicate, and a label conflict; a class name that HTML must escape."""
    rng = np.random.default_rng(0)
    for name, count in (("a<b", 12), ("rare", 6)):
        (tmp_path / "tree" / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "tree" / name / f"{i}.png")
    root = tmp_path / "tree"
    (root / "a<b" / "copy.png").write_bytes((root / "a<b" / "0.png").read_bytes())
    (root / "rare" / "conflict.png").write_bytes((root / "a<b" / "1.png").read_bytes())
    return root


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """A split tree in which a test image is a train image turned by a quarter."""
    rng = np.random.default_rng(0)
    root = tmp_path / "leaking"
    for side, count in (("train", 4), ("val", 2), ("test", 2)):
        for name in ("common", "rare"):
            (root / side / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
                image = Image.fromarray(pixels).resize((24, 24), Image.Resampling.BICUBIC)
                image.save(root / side / name / f"{i}.png")
    with Image.open(root / "train" / "rare" / "1.png") as image:
        image.rotate(90).save(root / "test" / "rare" / "1.png")
    return root
