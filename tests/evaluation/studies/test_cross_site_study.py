"""A study that trains on one site and tests on another."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cells.phantom import phantoms
from evaluation.studies.axis import run_studies
from evaluation.studies.settings import StudySettings

pytestmark = pytest.mark.usefixtures("all_formats")  # pages of designs hold an SVG
FAST = {"network": "fast", "width": 4, "steps": 3, "batch": 8}


def site(root: Path, counts: dict[str, int], seed: int, names: dict[str, str]) -> dict[str, Any]:
    cells = phantoms(counts, 16, seed)
    for row, label in enumerate(cells.labels):
        path = root / names.get(cells.classes[label], cells.classes[label]) / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cells.pixels[row]).save(path)
    return {"kind": "folder", "root": root, "image_size": 16}


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Any]:
    """Of the second site one class has another name; of the first one class is there alone."""
    return {
        "kind": "cross_site",
        "train": site(tmp_path / "here", {"lobed": 24, "blast": 8, "round": 9}, 0, {}),
        "test": site(tmp_path / "there", {"lobed": 7, "blast": 5}, 1, {"blast": "Blastzelle"}),
        "classes": {"Blastzelle": "blast"},
        "drop_unmatched": True,
    }


def test_a_study_learns_at_one_site_and_is_tested_at_another(sites: dict[str, Any], tmp_path: Path) -> None:
    settings = StudySettings.model_validate(
        {
            "data": sites,
            "design": {"kind": "dose", "doses": [1]},
            "rare": ["blast"],
            "strategies": ["real", "repeat"],
            "seeds": 2,
            "classifier": FAST,
            "encoder": {"kind": "domain", "classifier": FAST},
            "floor_repeats": 2,
        }
    )
    found = run_studies(settings, tmp_path / "out", lambda _: None)
    study = (tmp_path / "out" / "doses" / "split.json").read_text()
    assert "test/Blastzelle" in study and "train/blast" in study and "train/round" not in study
    (family,) = found["families"]
    assert [step["dose"] for step in family["steps"]] == ["none", "x1"]
    cells = json.loads((tmp_path / "out/doses/results.json").read_text())["cells"]
    assert cells["test"] == {"blast": 5, "lobed": 7}  # all of the second site, by the names of the first
    assert cells["classes"] == ["blast", "lobed"] and cells["added"] == {"blast": cells["train"]["blast"]}
