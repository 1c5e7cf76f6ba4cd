"""The table of what was chosen on validation cells."""

from typing import Any

from evaluation.reports.tuning_table import tuning_table

TUNE = {"classifier.lr": [None, 0.01], "classifier.width": [4, 8]}


def trial(strategy: str, rate: float | None, width: int) -> dict[str, Any]:
    chosen = {"classifier.lr": rate, "classifier.width": width}
    return {"strategy": strategy, "tuned": {"chosen": chosen, "candidates": []}}


def test_it_counts_each_value_of_each_setting_for_each_strategy() -> None:
    trials = [trial("real", None, 4), trial("real", 0.01, 4), trial("gan", 0.01, 8), trial("real", 0.01, 4)]
    found = tuning_table(trials, TUNE)
    assert found is not None
    assert found["header"] == ["Strategy", "Trials", "lr null", "lr 0.01", "width 4", "width 8"]
    assert found["rows"] == [["real", "3", "1", "2", "3", "0"], ["gan", "1", "0", "1", "0", "1"]]
    assert found["made"] == ["gan"] and "every combination of lr and width" in found["text"]


def test_a_study_that_tunes_nothing_has_none() -> None:
    assert tuning_table([{"strategy": "real"}], {}) is None
    assert tuning_table([{"strategy": "real"}], TUNE) is None  # of a version before
