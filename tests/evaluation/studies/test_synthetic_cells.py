"""Where a study's synthetic cells come from: a generator, its cells past no filter, several generators."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_study import ENCODER, FAST, GAN, UNFILTERED

from cells.cellset import CellSet
from cells.reading import read_set
from evaluation.benchmark import run_study
from evaluation.reports.study_page import copiers
from evaluation.studies.settings import StudySettings
from evaluation.studies.synthetic_cells import share_of
from generators import load
from generators.synthesize import remake
from runtime.config import validate
from runtime.errors import InputError

NAMES = (
    "real",
    "smote",
    "feature_smote",
    "repeat+logit_adjustment",
    "gan",
    "gan+uncurated",
    "gan+mixed_seeds+balanced",
)
PLAIN = ("real", "feature_smote")  # without more cells
TINY: dict[str, Any] = {
    "data": {
        "kind": "phantom",
        "image_size": 16,
        "counts": {"lobed": 16, "round": 14, "blast": 5},
        "val_per_class": 5,
        "test_per_class": 5,
    },
    "rare": ["blast"],
    "balance": {"to": 0.8},
    "seeds": 2,
    "strategies": NAMES,
    "generators": {"gan": GAN},
    "classifier": FAST,
    "curation": UNFILTERED,
    "encoder": ENCODER,
    "floor_repeats": 2,
}
ADDED = 8  # 0.8 of 16, less the 5 that are there
Ran = tuple[Path, dict[str, Any], list[str]]


def tiny(**changes: Any) -> StudySettings:
    return validate(StudySettings, {**TINY, **changes}, "tiny")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    out, said = tmp_path_factory.mktemp("study") / "tiny", list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RARECELL_CACHE", str(out.parent / "cache"))
        results = run_study(tiny(), out, said.append)
    return out, results, said


def cells_of(ran: Ran, source: str, seed: int = 0) -> CellSet:
    return read_set(ran[0] / "synthetic" / source / f"seed-{seed}")


def test_the_study_finishes_and_is_read_back(ran: Ran) -> None:
    out, results, _ = ran
    saved = json.loads((out / "results.json").read_text())
    assert saved == json.loads(json.dumps(results))
    assert set(saved["summary"]) == set(NAMES) and len(saved["trials"]) == 2 * len(NAMES)
    for trial in saved["trials"]:
        added = 0 if trial["strategy"] in PLAIN else ADDED
        assert trial["train_counts"] == {"lobed": 16, "round": 14, "blast": 5 + added}
    for name in ("gan+uncurated", "smote"):
        assert name in (out / "report.md").read_text() and name in (out / "report.html").read_text()


def test_smote_is_a_rival_and_has_nothing_to_train(ran: Ran) -> None:
    conclusion = ran[1]["conclusion"]
    assert conclusion["verdict"] == "the study is broken" or conclusion["synthetic"].startswith("gan")
    assert {part["part"].partition(":")[0] for part in ran[1]["cost"]}.isdisjoint({"smote", "repeat"})
    assert {a["generator"] for a in ran[1]["ablations"]} == {"gan"}
    own = [cells_of(ran, "smote", seed) for seed in (0, 1)]
    assert len({digest for cells in own for digest in cells.digests}) == 2 * ADDED


def test_uncurated_cells_are_the_first_drawn_of_the_same_generator(ran: Ran) -> None:
    out, results, said = ran
    for seed in (0, 1):
        drawn, taken = read_set(out / f"drawn/gan/seed-{seed}"), cells_of(ran, "gan+uncurated", seed)
        assert len(drawn) > ADDED and list(taken.digests) == list(drawn.digests[:ADDED])
        assert f"training the gan generator, seed {seed}" in " ".join(said)
    assert sum("training the gan" in line for line in said) == 2, "each generator is trained once"
    stages = {f["generator"]: [stage["filter"] for stage in f["funnel"]] for f in results["funnels"]}
    assert stages["gan+uncurated"] == ["quota"] and len(stages["gan"]) > 1
    seconds = {t["strategy"]: t["seconds"] for t in results["trials"] if t["classifier_seed"] == 0}
    assert seconds["gan"]["generator"] == seconds["gan+uncurated"]["generator"] > 0
    trainings = next(part for part in results["cost"] if part["part"] == "gan: training")
    assert trainings["runs"] == 2


def test_a_unit_of_mixed_seeds_has_cells_of_all_generators_and_none_of_another_unit(ran: Ran) -> None:
    own = [set(cells_of(ran, "gan", seed).digests) for seed in (0, 1)]
    units = [cells_of(ran, "gan+mixed_seeds", unit) for unit in (0, 1)]
    for cells in units:
        assert len(cells) == ADDED
        assert [len(set(cells.digests) & made) for made in own] == [ADDED // 2] * 2
    assert not set(units[0].digests) & set(units[1].digests)


def test_a_mixed_cell_names_the_generator_that_makes_it_again(ran: Ran) -> None:
    cells = cells_of(ran, "gan+mixed_seeds", 1)
    assert {record["generator"] for record in cells.provenance} == {"gan/seed-0", "gan/seed-1"}
    for row in (0, 1):
        record = cells.provenance[row]
        again = remake(load(ran[0] / "generators" / record["generator"]), record, "blast")
        assert np.mean(np.abs(again.astype(int) - cells.pixels[row]) <= 1) >= 0.999


def test_fidelity_is_measured_for_each_generator_and_once_for_other_choices(ran: Ran) -> None:
    found = [(q["generator"], q["seed"]) for q in ran[1]["fidelity"]]
    once = [("smote", 0), ("repeat", 0), ("gan+uncurated", 0), ("gan+mixed_seeds", 0)]
    assert sorted(found) == sorted([*once, ("gan", 0), ("gan", 1)])
    with_figures = {t["strategy"] for t in ran[1]["trials"] if t["fidelity"]}
    assert with_figures == set(NAMES) - set(PLAIN)


def test_that_smote_stays_near_its_training_cells_is_no_warning() -> None:
    flagged = [{"generator": kind, "near_copies": {"copies": True}} for kind in ("repeat", "smote", "gan")]
    (warning,) = copiers({"fidelity": flagged})
    assert warning.startswith("The generator gan copies its training cells")


def numbered(count: int, first: int) -> CellSet:
    """Cells of two classes, each with its own number as color."""
    numbers = np.arange(first, first + count, dtype=np.uint8)
    pixels = np.broadcast_to(numbers[:, None, None, None], (count, 4, 4, 3))
    return CellSet.from_arrays(pixels, np.arange(count) % 2, ("a", "b"), origin="synthetic")


def numbers(cells: CellSet) -> list[int]:
    return [int(value) for value in cells.pixels[:, 0, 0, 0]]


@pytest.mark.parametrize("each", [12, 14, 5])
def test_shares_are_equal_disjoint_and_complete(each: int) -> None:
    sets = [numbered(each, first) for first in (0, 50, 100)]
    units = [share_of(sets, unit) for unit in range(3)]
    assert sorted(n for cells in units for n in numbers(cells)) == sorted(n for s in sets for n in numbers(s))
    for cells in units:
        assert cells.counts == sets[0].counts
        for label in (0, 1):
            begun = [n // 50 for n in numbers(cells.subset(cells.labels == label))]
            for count in range(1, len(begun) + 1):  # the first few, too, come from all sets alike
                shares = np.bincount(begun[:count], minlength=3)
                assert shares.max() - shares.min() <= 1 or count > 3 * (each // 2 // 3)


def test_a_set_that_curation_left_short_gives_less() -> None:
    units = [share_of([numbered(12, 0), numbered(4, 50)], unit) for unit in (0, 1)]
    assert [cells.counts for cells in units] == [{"a": 4, "b": 4}] * 2


@pytest.mark.parametrize("changes", [{"shared_generators": True}, {"seeds": 1}])
def test_one_generator_cannot_be_mixed(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="mixes the generators of several seeds"):
        tiny(**changes)
