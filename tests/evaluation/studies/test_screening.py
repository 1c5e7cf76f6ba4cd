"""Screening scores no test cell; a generator that another study has trained is not trained again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_study import CELLS, ENCODER, FAST, GAN, UNFILTERED

from cells.cellset import CellSet
from cells.reading import read_set
from classifiers.training import Classifier
from evaluation.benchmark import run_study
from evaluation.reports.report import read_study
from evaluation.studies.screening import screened
from evaluation.studies.settings import StudySettings
from generators import load as load_generator
from generators.fitted import NetworkGenerator
from runtime.config import validate
from runtime.errors import InputError

NAMES = ["real", "gan+logit_adjustment", "balanced"]


def tiny(**changes: Any) -> StudySettings:
    whole = {
        "data": CELLS,
        "rare": ["blast"],
        "balance": {"to": 0.5},
        "seeds": 2,
        "strategies": NAMES,
        "generators": {"gan": GAN},
        "classifier": FAST,
        "curation": UNFILTERED,
        "encoder": ENCODER,
        "ablation": False,
        "screen": True,
    }
    return validate(StudySettings, {**whole, **changes}, "tiny")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A screening that trained its own generators."""
    out = tmp_path_factory.mktemp("first") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RARECELL_CACHE", str(out.parent / "cache"))
        run_study(tiny(), out, lambda line: None)
    return out


def never(*_: Any) -> None:
    raise AssertionError("this generator is there already")


def test_no_classifier_is_shown_a_test_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    ask = Classifier.probabilities

    def watched(self: Classifier, cells: CellSet) -> Any:
        shown.extend(cells.digests)
        return ask(self, cells)

    monkeypatch.setattr(Classifier, "probabilities", watched)
    plain = {"strategies": ["real", "balanced"], "seeds": 1}
    run_study(tiny(**plain), tmp_path / "screening", lambda line: None)
    screening = set(shown)
    run_study(tiny(**plain, screen=False), tmp_path / "study", lambda line: None)
    tested = set(shown) - screening
    assert len(screening) == 8 and len(tested) == 12  # 4 and 6 cells of each class


def test_what_a_screening_leaves(first: Path) -> None:
    found = json.loads((first / "screening.json").read_text())
    assert {row["strategy"] for row in found["strategies"]} == set(NAMES)
    assert found["strategies"][0]["behind"] is None
    assert all(row["n"] == 2 for row in found["strategies"])
    assert not list(first.rglob("probabilities.npy")) and not (first / "results.json").exists()
    for name in ("report.html", "report.md"):
        page = (first / name).read_text()
        assert "no test cell was scored" in page and "gan+logit_adjustment" in page
        assert "The studies" not in page
    with pytest.raises(InputError, match="it is a screening"):
        read_study(first)


def test_strategies_are_ranked_by_rare_recall_on_validation() -> None:
    def trial(strategy: str, seed: int, recall: float) -> dict[str, Any]:
        rest = dict.fromkeys(("balanced_accuracy", "accuracy", "macro_f1"), 0.5)
        figures = {"mean_rare_recall": recall, **rest}
        return {"strategy": strategy, "classifier_seed": seed, "validation": figures}

    recalls = {"real": (0.5, 0.6), "gan": (0.7, 0.9), "balanced": (0.6, 0.6)}
    found = screened([trial(s, i, r) for s, rs in recalls.items() for i, r in enumerate(rs)], ["gan"], 40)
    assert [row["strategy"] for row in found["strategies"]] == ["gan", "balanced", "real"]
    assert found["strategies"][2]["behind"]["mean"] == pytest.approx(-0.25)
    assert "gan (80.0%); without: balanced (60.0%)" in found["conclusion"]["sentence"]


def test_a_design_is_not_screened() -> None:
    with pytest.raises(InputError, match="screen=true is for one study"):
        tiny(design={"kind": "dose", "doses": [1, 2]})


def test_a_generator_of_another_study_is_copied(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NetworkGenerator, "_learn", never)
    said: list[str] = []
    again = tiny(screen=False, strategies=["real", "gan"], reuse=[first.parent])
    results = run_study(again, tmp_path / "again", said.append)
    assert sum("is that of" in line for line in said) == 2
    for seed in (0, 1):
        mine, its = (out / f"generators/gan/seed-{seed}" for out in (tmp_path / "again", first))
        weights = "model/weights.safetensors"
        assert (mine / weights).read_bytes() == (its / weights).read_bytes()
        seconds = json.loads((mine / "seconds.json").read_text())
        assert seconds["taken_from"] == str(its)
        assert not (mine / "checkpoints").exists()
    spent = next(row for row in results["cost"] if row["part"] == "gan: training")
    assert spent["seconds"] == pytest.approx(
        np.sum([json.loads(f.read_text())["seconds"] for f in first.glob("generators/gan/*/seconds.json")]),
        abs=0.1,
    )


def test_a_model_that_is_to_draw_otherwise_is_not_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = {"steps": 2, "batch": 4, "channels": [8, 16], "attention": False, "sampling_steps": 2}
    wanted = {"strategies": ["real", "diffusion"], "seeds": 1}
    run_study(tiny(generators={"diffusion": recipe}, **wanted), tmp_path / "first", print)
    monkeypatch.setattr(NetworkGenerator, "_learn", never)
    other = {"diffusion": {**recipe, "guidance": 4.0, "sampler": "heun", "sampling_steps": 6}}
    run_study(tiny(generators=other, reuse=[tmp_path / "first"], **wanted), tmp_path / "other", print)
    model = "generators/diffusion/seed-0/model"
    first, again = (load_generator(tmp_path / out / model) for out in ("first", "other"))
    assert (first.settings.guidance, again.settings.guidance) == (1.5, 4.0)
    ours, theirs = (read_set(tmp_path / out / "synthetic/diffusion/seed-0") for out in ("other", "first"))
    assert {record["guidance"] for record in ours.provenance} == {4.0}
    assert not np.array_equal(ours.pixels, theirs.pixels)
    assert not (tmp_path / "other" / model).with_name("samples").exists(), "they are of the other guidance"


@pytest.mark.parametrize(
    "change",
    [
        {"generators": {"gan": {"steps": 3, "batch": 4, "channels": [8, 16], "latent": 8}}},
        {"data": {**CELLS, "counts": {"lobed": 24, "blast": 6}}},
    ],
)
def test_another_generator_is_trained(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    monkeypatch.setattr(NetworkGenerator, "_learn", never)
    other = tiny(strategies=["real", "gan"], seeds=1, reuse=[first], **change)
    with pytest.raises(Exception, match="1 of 2 trials have no result"):
        run_study(other, tmp_path / "other", lambda line: None)


def test_a_folder_without_generators_is_refused(tmp_path: Path) -> None:
    for folder, words in ((tmp_path / "no", "is not there"), (tmp_path, "holds no finished generator")):
        with pytest.raises(InputError, match=words):
            run_study(tiny(reuse=[folder]), tmp_path / "out", lambda line: None)
    assert not (tmp_path / "out").exists()
