"""Preprocessing as an axis: a study each, one comparison, paired by seed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tiny_study import CELLS, FAST

from evaluation.gains.statistics import holm, paired
from evaluation.reports.report import read_study, studies_in, write_report
from evaluation.studies.axis import run_studies
from evaluation.studies.comparison import compare, comparison_table
from evaluation.studies.settings import StudySettings
from runtime.config import validate
from runtime.errors import InputError

TINY: dict[str, Any] = {
    "data": CELLS,
    "preprocess": {"none": [], "gamma": [{"kind": "gamma", "gamma": 0.5}]},
    "rare": ["blast"],
    "balance": {"to": 0.5},
    "strategies": ["real", "repeat"],
    "seeds": 2,
    "classifier": FAST,
    "encoder": {"kind": "domain", "classifier": FAST},
    "floor_repeats": 2,
}


def results_of(values: dict[str, list[float]], **config: Any) -> dict[str, Any]:
    """As much of a study's results as a comparison reads."""
    trials = [
        {"strategy": strategy, "classifier_seed": seed, "metrics": {"mean_rare_recall": value}}
        for strategy, row in values.items()
        for seed, value in enumerate(row)
    ]
    return {"config": {"seeds": 6, **config}, "trials": trials, "cells": {"test": {"a": 9}, "rare": ["a"]}}


FIRST = {"real": [0.5, 0.6, 0.55, 0.52, 0.58, 0.61], "gan": [0.7, 0.65, 0.6, 0.66, 0.7, 0.6]}
SECOND = {"real": [0.6, 0.66, 0.6, 0.57, 0.66, 0.7], "gan": [0.7, 0.6, 0.66, 0.6, 0.72, 0.61]}


def test_differences_are_paired_by_seed_and_adjusted() -> None:
    found = compare(
        [("none", results_of(FIRST, preprocess=[])), ("crop", results_of(SECOND, preprocess=[{"kind": "x"}]))]
    )
    assert found is not None
    for strategy in ("real", "gan"):
        cell, before = found["strategies"][strategy]["crop"], found["strategies"][strategy]["none"]
        difference = np.subtract(SECOND[strategy], FIRST[strategy])
        reach = stats.t.interval(0.95, 5, difference.mean(), stats.sem(difference))
        assert cell["difference"] == pytest.approx(difference.mean())
        assert (cell["difference_low"], cell["difference_high"]) == pytest.approx(reach)
        assert before["mean"] == pytest.approx(np.mean(FIRST[strategy])) and "difference" not in before
    raw = [paired(np.subtract(SECOND[s], FIRST[s]))["p"] for s in ("real", "gan")]
    assert [found["strategies"][s]["crop"]["p"] for s in ("real", "gan")] == pytest.approx(holm(raw))
    table = comparison_table(found)
    assert table["rows"][0]["cells"][1]["mean"] == f"{100 * np.mean(SECOND['real']):.1f}"


@pytest.mark.parametrize("change", [{"seeds": 5}, {"preprocess": []}])
def test_other_differences_than_the_preprocessing_are_not_compared(change: dict[str, Any]) -> None:
    other = results_of(SECOND, **{"preprocess": [{"kind": "x"}], **change})
    assert compare([("none", results_of(FIRST, preprocess=[])), ("other", other)]) is None
    assert compare([("none", results_of(FIRST, preprocess=[]))]) is None


def test_each_list_of_steps_is_a_study_and_the_report_compares_them(tmp_path: Path) -> None:
    settings, out, said = StudySettings.model_validate(TINY), tmp_path / "out", list[str]()
    found = run_studies(settings, out, said.append)
    assert json.loads((out / "comparison.json").read_text()) == found
    assert found["names"] == ["none", "gamma"] and set(found["strategies"]) == {"real", "repeat"}
    studies = [read_study(out / name) for name in ("none", "gamma")]
    assert studies[0][2]["config"]["preprocess"] == []
    digests = [results["cells"]["digest"] for _, _, results in studies]
    assert len(set(digests)) == 2 and (out / "gamma" / "preprocessing.json").is_file()
    for page in ("report.html", "report.md"):
        text = (out / page).read_text()
        assert "Preprocessing" in text and "gamma" in text
        assert f"{100 * found['strategies']['real']['gamma']['mean']:.1f}" in text
    assert studies_in(out) == [out / "none", out / "gamma"] and studies_in(out / "none") == [out / "none"]
    write_report(studies, tmp_path / "again")  # as scripts/report.py does
    assert (tmp_path / "again" / "report.md").read_text() == (out / "report.md").read_text()

    (out / "gamma" / "real" / "seed-1" / "fold-0" / "result.json").unlink()
    said.clear()
    assert run_studies(settings, out, said.append) == found
    assert sum(line.startswith("[") for line in said) == 1  # what was left, and nothing else
    with pytest.raises(InputError, match=r"preprocess\.gamma"):
        run_studies(settings.model_copy(update={"preprocess": {"none": (), "other": ()}}), out, said.append)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"one": []}, "two or more"),
        ({"../up": [], "b": []}, r"\.\./up"),
        ([{"kind": "gama"}], "Did you mean 'gamma'"),
        ({"a": [], "b": [{"kind": "clahe", "clipp": 1}]}, r"unknown key 'preprocess\.b\.0\.clipp'"),
    ],
)
def test_wrong_axes_are_refused(value: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        validate(StudySettings, {**TINY, "preprocess": value}, "config")
    print(refused.value)
