"""Which cells were right: what is read back is what was written, and other cells are refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from cells.cellset import CellSet
from evaluation.gains.answers import Answers, read_answers
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study
from runtime.errors import InputError
from runtime.rundir import write_json

LABELS, CLASSES = [0, 1, 1, 2], ("a", "b", "c")


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of one strategy and two seeds, of which one has come to its end."""
    test = CellSet.from_arrays(np.zeros((4, 2, 2, 3), np.uint8), LABELS, CLASSES)
    settings = StudySettings.model_validate(
        {"data": {"kind": "phantom", "counts": {"a": 1}}, "strategies": ["real"], "seeds": 2}
    )
    write_json(tmp_path / "real/seed-1/fold-0/result.json", {})
    np.save(tmp_path / "real/seed-1/fold-0/probabilities.npy", np.eye(3)[[0, 1, 0, 2]])
    parts = {"settings": settings, "run": SimpleNamespace(path=tmp_path), "rare": ("b",)}
    return cast(Any, SimpleNamespace(**parts, counted=SimpleNamespace(test=test)))


def test_finished_trials_are_read(study: Study) -> None:
    answers = read_answers(study)
    assert {key: row.tolist() for key, row in answers.right.items()} == {
        ("real", 1): [True, True, False, True]
    }
    assert (answers.classes, answers.rare) == (CLASSES, ("b",))


@pytest.mark.parametrize(("cells", "words"), [(3, "has 3 cells, the test split 4"), (0, "cannot be read")])
def test_other_cells_and_missing_files_are_refused(study: Study, cells: int, words: str) -> None:
    file = study.run.path / "real/seed-1/fold-0/probabilities.npy"
    file.unlink()
    if cells:
        np.save(file, np.eye(3)[:cells])
    with pytest.raises(InputError, match=f"{words}.*delete .*result.json"):
        read_answers(study)


def test_tables_are_paired_by_seed_and_split_by_class() -> None:
    right = {
        ("gan", 0): np.array([1, 1, 0, 1], dtype=bool),
        ("gan", 2): np.array([1, 1, 1, 1], dtype=bool),
        ("real", 0): np.array([0, 1, 1, 1], dtype=bool),
        ("real", 2): np.array([0, 0, 0, 1], dtype=bool),
    }
    tables = Answers(np.array([0, 1, 1, 0]), CLASSES, ("b",), right).tables("gan", "real", [0, 2], CLASSES)
    assert [table.tolist() for table in tables] == [[[1, 0], [1, 0]], [[0, -1], [1, 1]]]
