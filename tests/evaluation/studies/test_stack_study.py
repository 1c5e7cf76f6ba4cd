"""A study of stacks, from its cells to its report; and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cells import sources
from cells.phantom import phantoms
from cells.stacks import one_each, rows_of_stacks
from evaluation.benchmark import run_study
from evaluation.studies.dry_run import study_plan
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import open_study
from runtime.errors import InputError
from runtime.rundir import RunDir

DEPTH = 3
SIDES = {"train": {"lobed": 9, "blast": 4}, "val": {"lobed": 3, "blast": 2}, "test": {"lobed": 4, "blast": 3}}
RATES = [0.001, 0.01]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stacks of three images, ever darker, with a side each."""
    folder = tmp_path_factory.mktemp("stacks")
    lines = ["file,label,split,stack,index"]
    for seed, (side, counts) in enumerate(SIDES.items()):
        cells = phantoms(counts, 16, seed)
        for number, (pixels, label) in enumerate(zip(cells.pixels, cells.labels, strict=True)):
            for index in range(DEPTH):
                file = f"{side}{number}-{index}.png"
                Image.fromarray((pixels // (index + 1)).astype(np.uint8)).save(folder / file)
                lines.append(f"{file},{cells.classes[label]},{side},{side}{number},{index}")
    (folder / "cells.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "cells.csv"


def settings(table: Path, **changes: Any) -> StudySettings:
    plain = {
        "data": {"kind": "manifest", "root": str(table), "image_size": 16},
        "split": {"near_duplicates": False},
        "rare": ["blast"],
        "strategies": ["real", "balanced", "cnn_gru+logit_adjustment"],
        "seeds": 2,
        "classifier": {"network": "cnn3d", "width": 4, "steps": 3, "batch": 4},
        "tune": {"classifier.lr": RATES},
    }
    return StudySettings.model_validate({**plain, **changes})


def test_a_study_of_stacks_counts_stacks_from_the_cells_to_the_report(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    results = run_study(settings(table), out, lambda _: None)
    assert [results["cells"][side] for side in SIDES] == [
        {name: counts[name] for name in ("blast", "lobed")} for counts in SIDES.values()
    ]
    assert (results["cells"]["depth"], results["cells"]["added"], results["fidelity"]) == (DEPTH, {}, [])
    assert len(results["trials"]) == 6
    for trial in results["trials"]:
        assert [sum(row) for row in trial["confusion"]] == [3, 4]
        assert trial["train_counts"] == {"blast": 4, "lobed": 9}
        right = sum(trial["confusion"][i][i] for i in range(2))
        assert trial["metrics"]["accuracy"] == pytest.approx(right / 7)
        figures = [row["mean_rare_recall"] for row in trial["tuned"]["candidates"]]
        assert trial["validation"]["mean_rare_recall"] == max(figures)
        folder = out / trial["strategy"] / f"seed-{trial['classifier_seed']}" / "fold-0"
        assert np.load(folder / "probabilities.npy").shape == (7, 2)
    page, text = (out / "report.html").read_text(), (out / "method.md").read_text()
    assert "13 training stacks of 3 images" in page and "Stacks per class<" in page
    assert "What is classified here is a stack of 3 images" in page
    assert "We used 25 stacks of 3 images of cells" in text
    assert "13 for training, 5 for validation and 7 for testing" in text and "[@tran2015]" in text
    assert json.loads((out / "results.json").read_text())["config"] == results["config"]
    header = page.index("<th>lr 0.001</th><th>lr 0.01</th>")
    chosen = [t["tuned"]["chosen"]["classifier.lr"] for t in results["trials"] if t["strategy"] == "balanced"]
    counts = "".join(f"<td>{chosen.count(rate)}</td>" for rate in RATES)
    assert page.index(f"<td>balanced</td><td>2</td>{counts}") > header
    lines = (out / "report.md").read_text().splitlines()
    assert "### Stacks per class" in lines
    first = lines.index("| Strategy | Trials | lr 0.001 | lr 0.01 |")
    assert lines[first + 1] == "|---|---:|---:|---:|"
    assert lines[first + 3] == f"| balanced | 2 | {' | '.join(str(chosen.count(rate)) for rate in RATES)} |"
    assert "balanced & 2" in (out / "tables" / "tuned.tex").read_text()


def test_one_image_stands_for_each_stack(table: Path) -> None:
    cells = sources.load(settings(table).data)
    each = one_each(cells)
    assert each.counts == {"blast": 9, "lobed": 16}
    np.testing.assert_array_equal(each.pixels, cells.pixels[rows_of_stacks(cells)[:, 1]])
    assert one_each(each.subset([])).counts == {"blast": 0, "lobed": 0}


def test_a_dry_run_draws_nothing(table: Path, tmp_path: Path) -> None:
    plan, (said,) = study_plan(settings(table), tmp_path / "study")
    assert said.endswith("nothing would be drawn.")
    assert [(row.name, row.real, row.added) for row in plan.classes] == [("blast", 4, 0), ("lobed", 9, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategies": ["real", "gan"]}, "'gan' adds cells of 'gan', which makes single images, and these"),
        ({"strategies": ["repeat"]}, "'repeat' adds cells of 'repeat', .* are stacks of 3; take strategies"),
        ({"strategies": ["smote+post_hoc"]}, "'smote.post_hoc' adds cells of 'smote'"),
        (
            {"strategies": ["real", "fast"]},
            "network=fast takes single images, and these cells are stacks of 3",
        ),
        ({"strategies": ["imagenet"]}, "there are no published weights of cnn3d"),
        ({"split": {"long_tail": {"counts": {"blast": 2}}}}, "trimming of stacks .* is not supported"),
    ],
)
def test_what_does_not_exist_for_stacks_is_refused_before_anything_is_written(
    table: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_study(settings(table, **changes), RunDir(tmp_path / "study", {}), print)
    assert not (tmp_path / "study").exists()
