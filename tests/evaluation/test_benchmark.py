"""A whole study in small: what it leaves on disk, and that it goes on where it stopped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_study import ENCODER, FAST, GAN, UNFILTERED

from cells.cellset import CellSet
from cells.phantom import phantoms
from cells.preprocessing import Preprocessing
from cells.reading import read_set
from cells.steps import Gamma
from classifiers.training import Classifier
from evaluation.benchmark import run_study
from evaluation.copies.seen import refuse_seen
from evaluation.filters.diversity import within
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import USUAL, strategy_of
from evaluation.studies.study import open_study, trials
from generators import augment, build
from generators.protocol import FitRecord
from runtime.config import load_config
from runtime.errors import InputError
from runtime.rundir import RunDir, write_text

ROOT = Path(__file__).resolve().parents[2]
TINY: dict[str, Any] = {
    "data": {
        "kind": "phantom",
        "image_size": 16,
        "counts": {"lobed": 24, "round": 20, "blast": 5},
        "val_per_class": 6,
        "test_per_class": 8,
    },
    "rare": ["blast"],
    "balance": {"to": 0.5},
    "seeds": 2,
    "shared_generators": True,
    "generators": {
        "gan": GAN,
        "diffusion": {
            "steps": 2,
            "batch": 4,
            "channels": [8, 16],
            "attention": False,
            "sampling_steps": 2,
        },
    },
    "classifier": FAST,
    "curation": UNFILTERED,
    "encoder": ENCODER,
    "floor_repeats": 2,
}


def tiny(**changes: Any) -> StudySettings:
    return StudySettings.model_validate({**TINY, **changes})


def without_seconds(results: Any) -> Any:
    """Results but for what differs from run to run: times."""
    if isinstance(results, dict):
        return {k: without_seconds(v) for k, v in results.items() if k not in ("seconds", "cost")}
    return [without_seconds(v) for v in results] if isinstance(results, list) else results


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """One run of all strategies: its directory, its results, what it said."""
    out, said = tmp_path_factory.mktemp("study") / "tiny", list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RARECELL_CACHE", str(out.parent / "cache"))
        results = run_study(tiny(), out, said.append)
    return out, results, said


def test_every_trial_has_its_result(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, results, said = study
    assert len(results["trials"]) == len(USUAL) * 2
    for strategy in USUAL:
        for seed in (0, 1):
            result = json.loads((out / strategy / f"seed-{seed}" / "fold-0" / "result.json").read_text())
            assert 0 <= result["metrics"]["mean_rare_recall"] <= 1
            assert set(result["metrics"]["recall"]) == {"lobed", "round", "blast"}
            assert np.sum(result["confusion"]) == 24
    assert sum(line.startswith("[") for line in said) == 18
    assert any(line.startswith("[18/18] diffusion seed 1: balanced accuracy") for line in said)


def test_results_have_the_published_form(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, results, _ = study
    saved = json.loads((out / "results.json").read_text())
    assert saved == json.loads(json.dumps(results))
    trial = saved["trials"][0]
    assert {"strategy", "generator_seed", "classifier_seed", "fold", "metrics", "fidelity", "seconds"} <= set(
        trial
    )
    figure = saved["summary"]["gan"]["balanced_accuracy"]
    assert {"mean", "low", "high", "difference", "p", "verdict"} <= set(figure)
    assert "out" not in saved["config"] and saved["config"]["seeds"] == 2


def test_two_seeds_are_too_small(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    conclusion = study[1]["conclusion"]
    assert conclusion["verdict"] in ("too small to tell", "the study is broken")
    detail = conclusion["sentence"].partition(": ")[2]
    assert detail[1:] in (study[0] / "report.md").read_text()


def test_strategies_add_what_they_should(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    counts = {t["strategy"]: t["train_counts"] for t in study[1]["trials"]}
    assert counts["real"] == counts["logit_adjustment"] == {"lobed": 24, "round": 20, "blast": 5}
    for strategy in ("repeat", "gan", "diffusion"):  # half of 24 is wanted of each class
        assert counts[strategy] == {"lobed": 24, "round": 20, "blast": 12}


def test_synthetic_cells_are_kept_with_their_provenance(
    study: tuple[Path, dict[str, Any], list[str]],
) -> None:
    made = read_set(study[0] / "synthetic" / "diffusion" / "seed-0")
    assert made.counts == {"lobed": 0, "round": 0, "blast": 7} and made.is_synthetic.all()
    assert {p["split_digest"] for p in made.provenance} == {study[1]["cells"]["digest"]}


def test_each_filter_is_scored_on_the_drawn_cells(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    out, results, _ = study
    assert [a["generator"] for a in results["ablations"]] == ["gan", "diffusion"]
    drawn = read_set(out / "drawn" / "gan" / "seed-0")
    assert drawn.counts["blast"] == 11 and results["ablations"][0]["rows"][0]["passed"] == 11
    assert not (out / "drawn" / "repeat").exists()
    assert "What each filter is worth" in (out / "report.md").read_text()
    assert "What each filter is worth" in (out / "report.html").read_text()


def test_repeated_cells_are_found_to_be_copies(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    found = {q["generator"]: q for q in study[1]["fidelity"]}
    assert found["repeat"]["near_copies"]["share"] == 1.0
    assert found["repeat"]["near_copies"]["copies"] is True
    assert set(found) == {"repeat", "gan", "diffusion"}


def test_the_networks_of_the_evaluation_are_apart(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    nets = study[0] / "nets"
    weights = {r: (nets / r / "weights.safetensors").read_bytes() for r in ("curator", "judge")}
    assert weights["curator"] != weights["judge"]


def test_run_again_does_what_is_left_and_ends_the_same(
    study: tuple[Path, dict[str, Any], list[str]],
) -> None:
    out, results, _ = study
    (out / "gan" / "seed-1" / "fold-0" / "result.json").unlink()
    (out / "fidelity" / "gan" / "seed-0.json").unlink()
    said: list[str] = []
    again = run_study(tiny(out=out), out, said.append)
    assert [line.split(":")[0] for line in said if line.startswith("[")] == ["[17/18] gan seed 1"]
    assert without_seconds(again) == without_seconds(results)


def test_another_config_is_refused(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    before = (study[0] / "results.json").read_bytes()
    with pytest.raises(InputError, match=r"classifier\.steps was 3, is 4"):
        run_study(tiny(classifier={**TINY["classifier"], "steps": 4}), study[0], print)
    assert (study[0] / "results.json").read_bytes() == before


def test_trials_without_a_model_come_first_and_generators_follow_the_seed() -> None:
    order = trials(tiny(shared_generators=False, strategies=["gan", "real", "repeat"]))
    assert [(t.strategy, t.generator_seed) for t in order] == [
        ("real", None),
        ("repeat", 0),
        ("real", None),
        ("repeat", 1),
        ("gan", 0),
        ("gan", 1),
    ]
    assert {t.generator_seed for t in trials(tiny())} == {None, 0}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rare": None, "data": {**TINY["data"], "counts": {"lobed": 9, "round": 8}}}, "rare="),
        ({"rare": ["blst"]}, "Did you mean 'blast'"),
        ({"balance": {"to": {"blast": 5}}}, "no class is to get synthetic cells"),
        ({"inception": "nowhere.pth"}, "nowhere.pth"),
        ({"inception": __file__, "encoder": {"kind": "inception"}}, "leave inception out"),
    ],
)
def test_what_cannot_give_an_answer_is_refused_at_once(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        run_study(tiny(**changes), tmp_path / "out", print)
    assert not (tmp_path / "out" / "real").exists()


def test_allowed_leaks_are_said_beside_the_verdict(tmp_path: Path) -> None:
    for number, side in enumerate(("train", "val", "test")):
        cells = phantoms({"lobed": 9, "blast": 4}, 16, number)
        for row, label in enumerate(cells.labels):
            path = tmp_path / "tree" / side / cells.classes[label] / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(cells.pixels[row]).save(path)
    (path.parent / "leak.png").write_bytes(next((tmp_path / "tree/train/lobed").iterdir()).read_bytes())
    said: list[str] = []
    for leaks in ("allow", "drop"):
        said.clear()
        study = tiny(
            data={"kind": "split_folder", "root": tmp_path / "tree", "image_size": 16},
            split={"leaks": leaks},
            strategies=["real"],
            seeds=1,
        )
        results = run_study(study, tmp_path / leaks, said.append)
        report = (tmp_path / leaks / "report.md").read_text()
        for words in (" ".join(results["notices"]), report, " ".join(said)):
            assert ("with a cell of val or test: 1." in words) == (leaks == "allow")


def test_rare_classes_are_found(tmp_path: Path) -> None:
    data = {**TINY["data"], "counts": {"lobed": 60, "round": 60, "blast": 9}}
    results = run_study(tiny(rare=None, data=data, strategies=["real"], seeds=1), tmp_path / "o", print)
    assert results["cells"]["rare"] == ["blast"]
    assert results["conclusion"]["verdict"] in ("nothing to compare", "the study is broken")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("strategies=[gann]", "there is no strategy 'gann'. Did you mean 'gan'"),
        ("strategies=[gan,gan]", "only once"),
        ("classifier.loss=class_weights", "leave it out"),
        ("clasifier.steps=3", "Did you mean 'classifier'"),
    ],
)
def test_wrong_settings_are_refused(override: str, words: str) -> None:
    with pytest.raises(InputError, match=words.replace(".", r"\.")):
        load_config(StudySettings, ROOT / "configs" / "quickstart.yaml", [override])


def test_a_saved_config_can_be_run_again(study: tuple[Path, dict[str, Any], list[str]]) -> None:
    assert load_config(StudySettings, study[0] / "config.yaml", []) == tiny()


@pytest.mark.parametrize("name", ["quickstart", "pbc_longtail", "bloodmnist"])
def test_shipped_configs_are_valid(name: str) -> None:
    settings = load_config(StudySettings, ROOT / "configs" / f"{name}.yaml", [])
    assert settings.seeds >= 6
    assert {"real", "logit_adjustment", "diffusion"} <= set(settings.strategies)
    kinds = {strategy_of(name).generator for name in settings.strategies}
    assert kinds - {"gan"} == {None, "repeat", "diffusion"}  # the count-matched control is among them
    assert settings.shared_generators == (name == "quickstart")


def test_a_cell_that_a_generator_has_seen_is_refused(tmp_path: Path) -> None:
    cells = CellSet.from_arrays(np.zeros((2, 4, 4, 3), np.uint8), [0, 1], ("a", "b"), names=["x", "y"])
    write_text(tmp_path / "seen.txt", "other\n")
    refuse_seen(tmp_path / "seen.txt", cells)
    write_text(tmp_path / "seen.txt", f"other\n{cells.digests[0]}\n")
    with pytest.raises(InputError, match="x: the generator"):
        refuse_seen(tmp_path / "seen.txt", cells)


def test_within_keeps_the_first_of_each_class() -> None:
    pixels = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    cells = CellSet.from_arrays(pixels, [0, 1, 0, 1, 0], ("a", "b"))
    assert within(cells, {"a": 2, "b": 5}).pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_preprocessing_hides_no_seen_cell(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    cells = CellSet.from_arrays(pixels, [0, 1], ("a", "b"), names=["x", "y"])
    done = Preprocessing.fit((Gamma(),), cells).cells(cells)
    for seen, scored in ((cells, done), (done, done), (done, cells)):
        record = FitRecord.of(seen)
        write_text(tmp_path / "seen.txt", "".join(f"{digest}\n" for digest in record.seen))
        with pytest.raises(InputError, match="x: the generator"):
            refuse_seen(tmp_path / "seen.txt", scored)


def test_xrays_are_never_flipped_in_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(images: Any, draws: Any) -> Any:
        raise AssertionError("an X-ray was flipped")

    for name in ("dihedral", "flips"):
        monkeypatch.setitem(augment.SYMMETRIES, name, forbidden)
    monkeypatch.setattr("cells.images._turned", forbidden)
    random = np.random.default_rng(0)
    arrays = {}
    for side, count in (("train", 30), ("val", 8), ("test", 12)):
        arrays[f"{side}_images"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{side}_labels"] = (np.arange(count) % 5 == 0)[:, None].astype(np.int64)
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    data = {"kind": "pneumoniamnist", "name": str(tmp_path / "pneumoniamnist.npz")}
    changes = {"data": data, "rare": ["pneumonia"], "seeds": 1, "preprocess": [{"kind": "clahe"}]}
    settings = tiny(**changes)
    results = run_study(settings, tmp_path / "out", list[str]().append)
    assert len(results["trials"]) == len(USUAL)
    assert read_set(tmp_path / "out" / "synthetic" / "gan" / "seed-0").modality == "xray"
    asked = {**TINY["generators"], "gan": {**TINY["generators"]["gan"], "augmentation": "dihedral"}}
    with pytest.raises(InputError, match="X-rays have an up and a left"):
        run_study(tiny(**changes, generators=asked), tmp_path / "asked", print)
    assert not (tmp_path / "asked" / "real").exists()
    with pytest.raises(InputError, match="X-rays"):
        run_study(tiny(**{**changes, "preprocess": [{"kind": "crop_to_cell"}]}), tmp_path / "crop", print)


def test_a_watched_study_keeps_the_best_moment_by_networks_of_its_own(tmp_path: Path) -> None:
    changes = {"strategies": ("real", "gan"), "seeds": 1, "monitor": {"every": 1, "cells": 4}}
    results = run_study(tiny(**changes), tmp_path / "study", lambda _: None)
    (chosen,) = results["chosen"]
    log = (tmp_path / "study/generators/gan/seed-0/log.jsonl").read_text()
    steps = [json.loads(line) for line in log.splitlines()]
    kid = {line["step"]: line["monitor/kid"] for line in steps if "monitor/kid" in line}
    assert sorted(kid) == [1, 2]
    assert chosen["generator"] == "gan" and chosen["step"] == min(kid, key=lambda step: kid[step])
    assert chosen["figures"]["kid"] == min(kid.values())
    assert chosen["fingerprint"]["reference_split"] == "val"
    nets = [Classifier.load(path.parent) for path in (tmp_path / "study/nets").rglob("config.json")]
    assert len(nets) == len({net.origin["seed"] for net in nets}) == 5, "all trained apart"


def test_a_study_refuses_to_start_from_a_model_that_has_seen_its_cells(tmp_path: Path) -> None:
    settings = tiny()
    split = open_study(settings, RunDir(tmp_path / "none"), print).split
    made = build(settings.generators.gan, split.test.classes, 16)
    made.fit(split.test, RunDir(tmp_path / "start"))
    generators = {
        **TINY["generators"],
        "gan": {**TINY["generators"]["gan"], "start_from": tmp_path / "start"},
    }
    with pytest.raises(InputError, match="was trained on this cell"):
        run_study(tiny(generators=generators), tmp_path / "study", lambda _: None)
    assert not (tmp_path / "study").exists()
