"""Study designs: what each consists of, what it shows, and that it goes on where it stopped."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tiny_study import ENCODER, FAST, GAN, UNFILTERED

from cells.split_file import read_split
from evaluation.gains.intervals import nadeau_bengio
from evaluation.gains.statistics import points
from evaluation.reports.design_page import BROKEN, notices_of
from evaluation.studies.axis import run_studies
from evaluation.studies.data_hunger import HungerDesign, worth
from evaluation.studies.designs import check_each, jobs, rewrite_page, studies_of
from evaluation.studies.dose_response import DoseDesign, pays_until, without_cells
from evaluation.studies.model_selection import SelectionDesign
from evaluation.studies.settings import StudySettings
from runtime.config import load_config, validate
from runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.usefixtures("all_formats")  # pages of designs hold an SVG
TINY: dict[str, Any] = {
    "data": {
        "kind": "phantom",
        "image_size": 16,
        "counts": {"lobed": 24, "blast": 12},
        "val_per_class": 4,
        "test_per_class": 6,
    },
    "rare": ["blast"],
    "strategies": ["real", "repeat"],
    "seeds": 2,
    "classifier": FAST,
    "encoder": ENCODER,
    "curation": UNFILTERED,
    "generators": {"gan": GAN},
    "ablation": False,
    "floor_repeats": 2,
}
SELECTION: dict[str, Any] = {
    "design": {"kind": "model_selection", "folds": 2, "networks": ["fast", "small_resnet"]},
    "preprocess": {"none": [], "gamma": [{"kind": "gamma", "gamma": 0.5}]},
    "split": {"premade": "ignore"},
    "strategies": ["real"],
    "seeds": 1,
}


def tiny(**changes: Any) -> StudySettings:
    return validate(StudySettings, {**TINY, **changes}, "config")


def results(values: dict[str, list[float]], added: dict[str, int] | None = None) -> dict[str, Any]:
    """As much of a study's results as a design reads; validation is as test."""
    counts = added or {}
    trials = [
        {
            "strategy": strategy,
            "classifier_seed": seed,
            "metrics": {"mean_rare_recall": value, "recall": {}},
            "validation": {"mean_rare_recall": value},
            "train_counts": {"a": 10 + counts.get(strategy, 0)},
        }
        for strategy, row in values.items()
        for seed, value in enumerate(row)
    ]
    return {"trials": trials, "cells": {"train": {"a": 10}, "test": {"a": 5}}}


def around(mean: float, *, seeds: int = 6, spread: float = 0.01) -> list[float]:
    return (mean + spread * np.linspace(-1, 1, seeds)).tolist()


def test_doses_are_one_study_of_dosed_strategies(tmp_path: Path) -> None:
    settings = tiny(
        design={"kind": "dose", "doses": [0.5, "fill"]},
        strategies=["real", "repeat", "gan+balanced", "gan+only"],
    )
    ((folder, study),) = studies_of(settings, tmp_path).items()
    assert folder == tmp_path / "doses" and study.design is None
    assert study.strategies == (
        "real", "repeat+x0.5", "repeat+fill", "gan+balanced+x0.5", "gan+balanced+fill", "gan+only",
    )  # fmt: skip
    assert len(jobs(settings, tmp_path)) == 12
    assert StudySettings.model_validate(study.model_dump(mode="json")) == study
    assert without_cells("gan+balanced") == "balanced" and without_cells("gan+mixed_seeds") == "real"


def test_doses_stop_paying_where_no_larger_one_is_better() -> None:
    noise = 0.01 * np.array([1, -1, 0.5, -0.5, 0.2, -0.2])
    rising = np.array([around(mean) for mean in (0.5, 0.6, 0.7, 0.701, 0.69)])
    rising[[1, 3]] += noise
    assert pays_until(rising) == 2
    assert pays_until(rising[:3]) == 2  # it rises to the end
    assert pays_until(rising[[2, 3, 4]]) == 0
    assert pays_until(rising[:, :1]) is None


def test_the_dose_is_chosen_on_validation() -> None:
    values = {"real": around(0.5), "gan+x3": around(0.8, spread=0.02), "gan+x1": around(0.7)}
    study = results(values, {"gan+x3": 30, "gan+x1": 10})
    for trial in study["trials"]:  # on validation the other one is better
        if trial["strategy"] == "gan+x1":
            trial["validation"] = {"mean_rare_recall": 0.9}
    (family,) = DoseDesign(doses=(1.0, 3.0)).found({"doses": study})["families"]
    assert [step["dose"] for step in family["steps"]] == ["none", "x1", "x3"]
    assert [step["added"] for step in family["steps"]] == [0, 10, 30]
    assert family["chosen"] == "x1" and family["without"] == "real" and family["n"] == 6
    assert family["pays_until"] == {"validation": "x1", "test": "x3"}
    assert family["steps"][2]["over_before"]["mean"] == pytest.approx(0.1)
    assert family["steps"][2]["over_none"]["mean"] == pytest.approx(0.3)
    assert "validation chooses dose x1" in family["sentence"]
    assert "too small to tell" not in family["sentence"] and "not stopped paying" in family["sentence"]
    assert "(on validation: after dose x1)" in family["sentence"]


def test_a_synthetic_set_is_worth_what_gives_the_same_recall() -> None:
    counts, shift = [10, 20, 40, 80], np.linspace(-0.02, 0.02, 6)
    real = np.array([0.5, 0.6, 0.7, 0.8])[:, None] + shift  # 0.1 a doubling
    noise = 0.01 * np.array([1, -1, 0.5, -0.5, 0.2, -0.2])
    found = worth(counts, real, 0.65 + shift + noise)
    assert found["value"] == {"images": pytest.approx(10 * 2**1.5, rel=0.01)}
    reach = 2.5706 * noise.std(ddof=1) / np.sqrt(6)  # in recall; 0.1 is a factor of two
    assert found["low"] == {"images": pytest.approx(10 * 2 ** (1.5 - 10 * reach), rel=0.01)}
    assert found["high"] == {"images": pytest.approx(10 * 2 ** (1.5 + 10 * reach), rel=0.01)}
    above = worth(counts, real, 0.9 + shift + noise)
    assert above == {key: {"more_than": 80.0} for key in ("value", "low", "high")}
    near = worth(counts, real, 0.799 + shift + noise)
    assert near["high"] == {"more_than": 80.0} and "images" in (near["value"] or {})
    below = worth(counts, real, 0.4 + shift + noise)
    assert below["value"] == {"fewer_than": 10.0}
    assert worth(counts, real[:, :1], real[1, :1])["low"] is None


def test_hunger_goes_by_the_best_rival_in_validation() -> None:
    design = HungerDesign(counts=(10, 20, 40))
    studies = {
        f"real-{count}": results({"real": around(r), "balanced": around(b), "gan": around(g, spread=0.02)})
        for count, r, b, g in ((10, 0.5, 0.55, 0.65), (20, 0.6, 0.65, 0.7), (40, 0.7, 0.75, 0.74))
    }
    found = design.found(studies)
    assert (found["real"], found["chosen"], found["unit"], found["n"]) == ("balanced", "gan", "seed", 6)
    gains = [gain["mean"] for gain in found["synthetic"]["gan"]["gains"]]
    assert gains == pytest.approx([0.1, 0.05, -0.01])
    values = [each["value"] for each in found["synthetic"]["gan"]["worth"]]
    assert values[0] == {"images": pytest.approx(20, rel=0.02)}
    assert values[1] == {"images": pytest.approx(20 * 2**0.5, rel=0.02)}
    assert [curve["mean"] for curve in found["curves"]["real"]["test"]] == pytest.approx([0.5, 0.6, 0.7])


@pytest.mark.parametrize(("seeds", "word"), [(6, "too small to tell"), (7, "gain")])
def test_gains_at_several_numbers_are_adjusted_for_them(seeds: int, word: str) -> None:
    """Six seeds can reach 2 / 64 and no less, twice that for two numbers of cells."""
    made = {
        f"real-{count}": results({"real": around(0.5, seeds=seeds), "gan": around(0.6, seeds=seeds)})
        for count in (10, 20)
    }
    gains = HungerDesign(counts=(10, 20)).found(made)["synthetic"]["gan"]["gains"]
    assert [gain["p"] for gain in gains] == pytest.approx([2 * 2.0 ** (1 - seeds)] * 2)
    assert [gain["verdict"] for gain in gains] == [word] * 2


def test_with_several_draws_the_unit_is_the_draw() -> None:
    design = HungerDesign(counts=(10, 20), draws=3)
    settings = tiny(strategies=["real", "gan"])
    studies = design.studies(settings)
    assert list(studies)[:3] == ["real-10-draw-0", "real-20-draw-0", "real-10-draw-1"]
    tail = studies["real-20-draw-2"].split.long_tail
    assert tail is not None and tail.seed == 2 and tail.counts == {"blast": 20}
    made = {name: results({"real": [0.4, 0.6], "gan": [0.5 + i, 0.7 + i]}) for i, name in enumerate(studies)}
    found = design.found(made)
    assert found["n"] == 3 and found["unit"] == "draw"
    assert found["curves"]["gan"]["test"][1]["values"] == pytest.approx([1.6, 3.6, 5.6])


def test_selection_marks_what_cannot_be_told_from_the_best() -> None:
    random, shared = np.random.default_rng(0), np.linspace(-0.05, 0.05, 10)
    means = {
        ("none", "fast"): 0.8,
        ("none", "resnet18"): 0.79,
        ("crop", "fast"): 0.6,
        ("crop", "resnet18"): 0.7,
    }
    values = {key: mean + shared + random.normal(0, 0.01, 10) for key, mean in means.items()}
    design = SelectionDesign(folds=5, repeats=2)
    studies = {
        f"{row}-fold-{fold}": results({net: [values[row, net][fold]] for net in ("fast", "resnet18")})
        for row in ("none", "crop")
        for fold in range(10)
    }
    found = design.found(studies)
    assert found["best"] == ["none", "fast"] and found["test_to_train"] == 0.5
    cells = {(cell["row"], cell["column"]): cell for cell in found["cells"]}
    told = {key: cell["told_apart"] for key, cell in cells.items() if "behind" in cell}
    assert told == {("none", "resnet18"): False, ("crop", "fast"): True, ("crop", "resnet18"): True}
    expected = nadeau_bengio(values["none", "fast"] - values["crop", "fast"], 0.5)
    assert cells["crop", "fast"]["behind"]["p"] == pytest.approx(3 * expected["p"])
    spread = expected["high"] - expected["mean"]
    plain = stats.t.ppf(0.975, 9) * stats.sem(values["none", "fast"] - values["crop", "fast"])
    assert spread == pytest.approx(plain * np.sqrt(1 + 10 * 0.5))
    assert cells["none", "fast"]["low"] == nadeau_bengio(values["none", "fast"], 0.5)["low"]


def test_a_dose_response_is_run_and_resumed(tmp_path: Path) -> None:
    settings, out, said = tiny(design={"kind": "dose", "doses": [0.5, 2]}), tmp_path / "out", list[str]()
    found = run_studies(settings, out, said.append)
    assert json.loads((out / "design.json").read_text()) == found
    (family,) = found["families"]
    assert [(step["dose"], step["added"]) for step in family["steps"]] == [
        ("none", 0),
        ("x0.5", 6),
        ("x2", 24),
    ]
    for page in ("report.html", "report.md"):
        text = (out / page).read_text()
        assert family["sentence"] in text and "doses/report.html" in text
    assert (out / "figures" / "design.svg").read_bytes().startswith(b"<?xml")
    assert (out / "figures" / "design.pdf").read_bytes().startswith(b"%PDF")
    rows = (out / "tables" / "design.csv").read_text().splitlines()
    assert f"repeat,x2,test,{family['steps'][2]['test']['mean']}" in "\n".join(rows)
    assert r"\toprule" in (out / "tables" / "design-1.tex").read_text()
    pages = {name: (out / name).read_bytes() for name in ("report.html", "figures/design.svg")}

    (out / "design.json").unlink()
    (out / "doses/repeat+x2/seed-1/fold-0/result.json").unlink()
    said.clear()
    assert run_studies(settings, out, said.append) == found
    assert sum(line.startswith("[") for line in said) == 1  # what was left, and nothing else
    rewrite_page(out, out)
    assert {name: (out / name).read_bytes() for name in pages} == pages
    with pytest.raises(InputError, match="another config"):
        run_studies(tiny(design={"kind": "dose", "doses": [0.5]}), out, said.append)


def test_data_hunger_is_run(tmp_path: Path) -> None:
    design = {"kind": "data_hunger", "counts": [3, 6]}
    settings = tiny(design=design, strategies=["real", "gan+x1"], shared_generators=True)
    found = run_studies(settings, tmp_path / "out", lambda _: None)
    assert found["studies"] == ["real-3", "real-6"]
    for count in (3, 6):
        study = json.loads((tmp_path / f"out/real-{count}/results.json").read_text())
        assert study["cells"]["train"]["blast"] == study["cells"]["added"]["blast"] == count
    text = (tmp_path / "out/report.md").read_text()
    assert f"With 3 real cells a rare class, {found['chosen']}" in text
    assert text.count("With the latter shifted to the same accuracy: ") == 2
    for count in (3, 6):
        study = json.loads((tmp_path / f"out/real-{count}/results.json").read_text())
        shifted = study["conclusion"]["same_accuracy"]
        row = next(line for line in text.splitlines() if line.startswith(f"| [real-{count}]"))
        assert row.count("|") == 5 and f"| {points(shifted['mean'])} (" in row.rpartition(") |")[0]
    rows = (tmp_path / "out/tables/design.csv").read_text().splitlines()
    assert sum("worth in real cells" in row for row in rows) == 2


def test_a_later_study_that_cannot_be_is_refused_before_the_first_is_run(tmp_path: Path) -> None:
    settings = tiny(design={"kind": "data_hunger", "counts": [3, 500]}, strategies=["real", "gan+x1"])
    with pytest.raises(InputError, match="study real-500: "):
        run_studies(settings, tmp_path / "out", lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_design_says_what_its_studies_say() -> None:
    copied = [{"generator": "gan", "near_copies": {"copies": True}}]
    parts = {
        "real-10": {"notices": ["n"], "conclusion": {"verdict": "gain"}, "fidelity": copied},
        "real-20": {"notices": ["n", "m"], "conclusion": {"verdict": BROKEN}, "fidelity": []},
    }
    broken, copies, *rest = notices_of(parts)
    assert (
        "real-20" in broken and copies.startswith("real-10: The generator gan copies") and rest == ["n", "m"]
    )


def test_rare_classes_that_differ_between_studies_are_to_be_named(tmp_path: Path) -> None:
    counts = ({"lobed": 40, "round": 40, "blast": 5}, {"lobed": 40, "round": 5, "blast": 40})
    data = [{**TINY["data"], "counts": each} for each in counts]
    studies = {tmp_path / str(i): tiny(rare=None, data=each) for i, each in enumerate(data)}
    with pytest.raises(
        InputError, match=r"these are blast in 0 and round in 1; name them, e\.g\. rare=\[blast"
    ):
        check_each(studies)
    check_each({folder: study.model_copy(update={"rare": ("blast",)}) for folder, study in studies.items()})


def test_model_selection_is_run_on_every_fold(tmp_path: Path) -> None:
    found = run_studies(tiny(**SELECTION), tmp_path / "out", lambda _: None)
    assert found["rows"] == ["none", "gamma"] and found["columns"] == ["fast", "small_resnet"]
    result = json.loads((tmp_path / "out/gamma-fold-1/fast/seed-0/fold-1/result.json").read_text())
    assert result["fold"] == 1
    cell = next(c for c in found["cells"] if (c["row"], c["column"]) == ("gamma", "fast"))
    assert cell["values"][1] == result["metrics"]["mean_rare_recall"] and len(cell["values"]) == 2
    files = [read_split(tmp_path / f"out/none-fold-{fold}/split.json") for fold in (0, 1)]
    tested = [{str(cell) for cells in file.cells["test"].values() for cell in cells} for file in files]
    assert tested[0] and tested[1] and not tested[0] & tested[1]
    assert "**" in (tmp_path / "out/report.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"design": {"kind": "dosis"}}, "design.kind"),
        ({"design": {"kind": "dose", "dose": [1]}}, "unknown key 'design.dose'"),
        ({"design": {"kind": "dose"}, "strategies": ["real"]}, "no strategy has a generator"),
        ({"design": {"kind": "dose", "doses": [1, 1.0]}}, "named twice"),
        (
            {"design": {"kind": "dose", "doses": [1, 3]}, "strategies": ["gan", "gan+x3"]},
            "'gan.x3' is among the doses",
        ),
        (
            {"design": {"kind": "dose", "doses": [3]}, "strategies": ["gan+balanced", "x3+gan+balanced"]},
            "is among the doses",
        ),
        ({**SELECTION, "tune": {"classifier.width": [4, 8]}}, "'classifier.width' cannot be tuned beside"),
        (
            {"design": {"kind": "dose"}, "preprocess": SELECTION["preprocess"]},
            "do not go with design.kind=dose",
        ),
        ({"design": {"kind": "data_hunger"}}, "at least one of each"),
        ({"design": {"kind": "data_hunger", "counts": [20, 10]}}, "ascend"),
        (
            {"design": {"kind": "data_hunger"}, "strategies": ["real", "gan"], "rare": None},
            "name the classes",
        ),
        ({"design": {"kind": "model_selection"}, "strategies": ["real"]}, "one candidate only"),
        ({**SELECTION, "split": {"folds": 3}}, "leave out split.folds"),
        ({"design": {"kind": "model_selection", "networks": ["fst"]}}, "Did you mean 'fast'"),
        ({"design": {"kind": "model_selection", "metric": "recal"}}, "no such figure"),
    ],
)
def test_what_makes_no_design_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        run_studies(tiny(**changes), tmp_path / "out", print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["dose_response", "data_hunger", "model_selection", "cross_site"])
def test_shipped_designs_are_valid(name: str) -> None:
    settings = load_config(StudySettings, ROOT / "configs" / f"{name}.yaml", [])
    assert jobs(settings, Path("out"))
