"""What a study notes of its split."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cells import found_pairs, sources
from cells.cellset import CellSet
from cells.split import SplitSettings, divide, folds
from cells.split_file import read_split
from evaluation.studies.settings import StudySettings
from evaluation.studies.study import Study, claim, open_study
from runtime.errors import InputError
from runtime.rundir import RunDir

DATA = {
    "kind": "phantom",
    "image_size": 16,
    "counts": {"lobed": 24, "blast": 12},
    "val_per_class": 6,
    "test_per_class": 6,
}


def opened(out: Path, **split: Any) -> Study:
    settings = StudySettings.model_validate(
        {"data": DATA, "split": split, "rare": ["blast"], "strategies": ["real"], "seeds": 1}
    )
    return open_study(settings, RunDir(out, {}), lambda line: None)


def test_its_split_is_kept_as_a_file_that_makes_it_again(tmp_path: Path) -> None:
    study = opened(tmp_path / "study", premade="ignore", folds=3, fold=2)
    claim(study)
    file = tmp_path / "study" / "split.json"
    record = read_split(file)
    assert record.digest == study.split.digest and record.settings["fold"] == 2
    again = opened(tmp_path / "again", file=file)
    assert again.split.digest == study.split.digest
    claim(again)
    assert (tmp_path / "again" / "split.json").read_bytes() == file.read_bytes()


def test_the_processes_of_a_study_look_for_near_duplicates_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(_: CellSet) -> Any:
        raise AssertionError("these cells have been looked at")

    monkeypatch.setattr(found_pairs, "_remembered", {})
    study = opened(tmp_path / "study")
    claim(study)
    monkeypatch.setattr(found_pairs, "_remembered", {})
    monkeypatch.setattr(found_pairs, "near_duplicates", never)
    assert opened(tmp_path / "study").split.digest == study.split.digest
    monkeypatch.setattr(found_pairs, "_remembered", {})
    with pytest.raises(AssertionError, match="have been looked at"):
        opened(tmp_path / "other")


def test_studies_of_all_folds_test_every_cell_once(tmp_path: Path) -> None:
    design = SplitSettings(premade="ignore", folds=3)
    expected = [split.digest for split in folds(sources.load(opened(tmp_path).settings.data), design)]
    studies = [opened(tmp_path / str(fold), premade="ignore", folds=3, fold=fold) for fold in range(3)]
    assert [study.split.digest for study in studies] == expected
    tested = [name for study in studies for name in study.split.test.names]
    assert len(tested) == len(set(tested)) == 60


def test_a_directory_of_other_cells_is_refused(tmp_path: Path) -> None:
    claim(opened(tmp_path, premade="ignore"))
    with pytest.raises(InputError, match="was begun with other cells"):
        claim(opened(tmp_path, premade="ignore", seed=1))


def test_a_long_tail_makes_the_rare_class(tmp_path: Path) -> None:
    study = opened(tmp_path, long_tail={"counts": {"blast": 3}})
    assert study.split.train.counts == {"blast": 3, "lobed": 24}
    plain = divide(sources.load(study.settings.data), SplitSettings())
    assert study.split.test.counts == plain.test.counts


@pytest.mark.parametrize(
    ("strategy", "changes", "message"),
    [
        ("imagenet", {}, "no published weights of small_resnet; take network=resnet18"),
        ("resnet18", {}, "at least 28 px, these have 16 px"),
        ("real", {"tune": {"classifier.network": ["fast", "resnet18"]}}, "at least 28 px, these have 16 px"),
        ("crt", {"classifier": {"steps": 2}}, "classifier.steps=2 leaves phase 2 of 2 without a step"),
        ("gan+pretrain", {"balance": {"to": {"blast": 20}}}, "only 1 class gets any"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is(
    strategy: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    settings = StudySettings.model_validate(
        {"data": DATA, "rare": ["blast"], "strategies": ["real", strategy][strategy == "real" :], "seeds": 1}
        | changes
    )
    with pytest.raises(InputError, match=message):
        open_study(settings, RunDir(tmp_path / "study", {}), lambda line: None)
    assert not (tmp_path / "study").exists()


def test_a_strategy_is_named_once_in_whatever_order_its_words_stand() -> None:
    names = ["gan+balanced", "balanced+gan"]
    with pytest.raises(ValueError, match="each only once"):
        StudySettings.model_validate({"data": DATA, "strategies": names})


def test_generators_that_units_share_are_counted_by_strategy() -> None:
    names = ["real", "repeat", "gan", "gan+mixed_seeds", "diffusion+logit_adjustment"]
    study = StudySettings.model_validate({"data": DATA, "strategies": names, "seeds": 4})
    assert study.generators_in_common() == {"gan+mixed_seeds": 4}
    names.remove("gan+mixed_seeds")
    shared = StudySettings.model_validate({"data": DATA, "strategies": names, "shared_generators": True})
    assert shared.generators_in_common() == {"gan": 1, "diffusion+logit_adjustment": 1}


def test_a_network_of_stacks_takes_no_single_images_and_none_stacks_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = StudySettings.model_validate(
        {"data": DATA, "strategies": ["real"], "rare": ["blast"], "classifier": {"network": "cnn3d"}}
    )
    with pytest.raises(InputError, match="network=cnn3d takes stacks, and these cells are single images"):
        open_study(settings, RunDir(tmp_path, {}), print)
    cells = sources.load(settings.data)
    said = np.empty(len(cells), dtype=object)
    said[:] = [{"stack": str(row), "index": 0} for row in range(len(cells))]
    monkeypatch.setattr(sources, "load", lambda data: replace(cells, provenance=said))
    with pytest.raises(InputError, match="network=cnn3d takes stacks of at least 2 images, these have 1"):
        open_study(settings, RunDir(tmp_path, {}), print)
