"""Scoring from Python: arrays in, the same result and pages out; what is there is not written over."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cells.phantom import CLASSES, phantoms
from evaluation.scoring import Score, ScoreSettings, score
from runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {"network": "fast", "sampler": "balanced", "steps": 2, "batch": 16}
SETTINGS = ScoreSettings.model_validate(
    {"encoder": {"kind": "domain", "classifier": NETWORK}, "judge": NETWORK, "floor_repeats": 2}
)
NAMES = ("bil<b>", "blast")


def arrays(seed: int, count: int, size: int = 16) -> tuple[Any, Any]:
    cells = phantoms({CLASSES[0]: count, CLASSES[1]: count}, size, seed)
    return cells.pixels, cells.labels


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Score:
    sides = arrays(1, 24), arrays(2, 22), arrays(3, 22, size=20)  # the holdout is resized
    cache = tmp_path_factory.mktemp("cache")
    return score(*sides, classes=NAMES, settings=SETTINGS, cache=cache)


def test_arrays_are_scored_as_sets(found: Score) -> None:
    assert found.result["counts"]["synthetic"] == dict.fromkeys(NAMES, 22)
    assert found.sides.synthetic.is_synthetic.all() and not found.sides.reference.is_synthetic.any()
    assert found.sides.reference.image_size == 16
    real, made, unseen = found.sides.real, found.sides.synthetic, found.sides.holdout
    again = score(real, made, unseen, settings=SETTINGS)
    assert again.result == found.result


def test_the_pages_have_every_figure(found: Score, tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    found.write(file)
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(found.result))
    drawn = {path.name for path in (tmp_path / "scores-figures").iterdir()}
    wanted = {"map.png", "agreement.png", "bars-kid.png", "bars-frechet.png", "neighbors-0.png"}
    wanted |= {"pairs-pixels.png", "pairs-features.png"}
    assert found.result["near_copies"]["sentence"] in (tmp_path / "scores.html").read_text(encoding="utf-8")
    assert drawn >= wanted | {"samples-1-real.png", "samples-1-synthetic.png"}
    page = (tmp_path / "scores.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(drawn)
    assert 'src="scores' not in page and "://" not in page  # one file, nothing from elsewhere
    assert "bil<b>" not in page and "bil&lt;b&gt;" in page
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)]+\.png)\)", text)
    assert {Path(path).name for path in linked} == drawn
    assert all((tmp_path / path).is_file() for path in linked)


def test_a_result_is_not_written_over(found: Score, tmp_path: Path) -> None:
    file = tmp_path / "scores.json"
    file.write_text("{}")
    with pytest.raises(InputError, match=r"scores\.json exists"):
        found.write(file)
    assert file.read_text() == "{}"
    file.unlink()
    (tmp_path / "scores.html").write_text("mine")
    with pytest.raises(InputError, match=r"scores\.html exists"):
        found.write(file)
    assert not file.exists() and (tmp_path / "scores.html").read_text() == "mine"
    folder = tmp_path / "scores-figures"
    folder.mkdir()
    for name in ("neighbors-7.png", "mine.png"):
        (folder / name).write_bytes(b"")
    found.write(file, overwrite=True)
    assert (folder / "mine.png").exists() and not (folder / "neighbors-7.png").exists()
    with pytest.raises(InputError, match=r"ends in \.json"):
        found.write(tmp_path / "scores.txt")


def test_images_without_labels_are_one_class(tmp_path: Path, found: Score) -> None:
    with pytest.raises(InputError, match="give holdout="):
        score(arrays(1, 24)[0], arrays(2, 22)[0], settings=SETTINGS)
    with pytest.raises(InputError, match="needs class folders"):
        score(arrays(1, 24)[0], arrays(2, 22)[0], arrays(3, 22)[0], settings=SETTINGS)
    encoder = found.encoder.encoder.classifier  # type: ignore[attr-defined]
    encoder.save(tmp_path / "encoder")
    settings = ScoreSettings.model_validate(
        {"encoder": {"kind": "domain", "path": tmp_path / "encoder"}, "floor_repeats": 2}
    )
    flat = score(arrays(1, 24)[0], arrays(2, 22)[0], settings=settings)
    assert flat.result["counts"]["real"] == {"cells": 48}
    flat.write(tmp_path / "flat.json")
    page = (tmp_path / "flat.html").read_text(encoding="utf-8")
    assert "There is no holdout" in page and "needs class folders on every side" in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixels": np.zeros((4, 16, 16, 3))}, "real: images must be uint8"),
        ({"pixels": np.zeros((4, 16, 12, 3), np.uint8)}, "real: images must be uint8"),
        ({"pixels": np.zeros((0, 16, 16, 3), np.uint8)}, "real: images must be uint8"),
        ({"labels": [0, 1, 1]}, "real: labels must be integers"),
        ({"labels": [0.0, 1.0, 1.0, 0.0]}, "real: labels must be integers"),
        ({"labels": [0, 1, 2, 0]}, "real: labels run from 0 to 2, but there are 2 classes"),
        ({"labels": [0, -1, 1, 0]}, "real: labels run from -1 to 1"),
    ],
)
def test_bad_arrays_are_named(change: dict[str, Any], message: str) -> None:
    good = {"pixels": np.zeros((4, 16, 16, 3), np.uint8), "labels": [0, 1, 0, 1]}
    real = {**good, **change}
    with pytest.raises(InputError, match=message):
        score(
            (real["pixels"], real["labels"]),
            (good["pixels"], good["labels"]),
            (good["pixels"], good["labels"]),
            classes=NAMES,
        )


def test_the_example_in_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "evaluating.md").read_text(encoding="utf-8")
    block = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    monkeypatch.chdir(tmp_path)
    exec(compile(block.group(1), "evaluating.md", "exec"), {})  # our own text
    assert (tmp_path / "scores.html").stat().st_size > 10_000
