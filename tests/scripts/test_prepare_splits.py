"""Splits as prepare.py makes them: leaks, files, long tails, two sites."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from preparing import Prepare

from cells.sources import SplitFolderData, load
from cells.split import SplitSettings, divide


def test_a_leak_is_refused_and_the_audit_shows_why(prepare: Prepare, leaking: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["source=split_folder", f"root={leaking}", f"out={out}", "image_size=24"]
    code, _, err = prepare(*words)
    assert code == 2 and err.count("\n") == 1
    assert "train/rare/1.png: nearly the same image (test/rare/1.png) is in train and in test (1 such" in err
    assert str(out / "audit.html") in err
    facts = json.loads((out / "audit.json").read_text())
    (leak,) = facts["across_splits"]
    assert sorted(leak["names"]) == ["test/rare/1.png", "train/rare/1.png"]
    assert sorted(leak["splits"]) == ["test", "train"] and leak["kind"] == "near"
    assert facts["split_digest"] is None and "nearly the same" in facts["refused"]
    assert "was refused" in (out / "audit.html").read_text()
    assert not (out / "train").exists()

    code, said, err = prepare(*words, "split.leaks=drop")  # the same directory may be used
    assert code == 0, err
    assert "15 cells" in said and "pairs or groups of cells on several sides" in said
    assert "Dropped 1 cell of train whose image or group val or test also have" in said
    assert "train/rare/1.png" in said
    assert json.loads((out / "audit.json").read_text())["split_digest"]
    code, _, err = prepare(*words)
    assert code == 2 and "choose another out=" in err
    assert json.loads((out / "audit.json").read_text())["split_digest"], "the finished set keeps its audit"


def test_leaks_are_allowed_loudly(prepare: Prepare, leaking: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["source=split_folder", f"root={leaking}", f"out={out}", "image_size=24", "split.leaks=allow"]
    code, said, err = prepare(*words)
    assert code == 0, err
    assert "16 cells" in said and "WARNING: 1 pairs or groups of cells are on several sides" in said
    assert "Leaks were allowed" in (out / "audit.html").read_text()
    off = [*words[:2], f"out={tmp_path / 'off'}", words[3], "split.near_duplicates=false"]
    code, said, err = prepare(*off)
    assert code == 0 and "WARNING" not in said


def test_a_split_is_made_again_from_its_file(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    words = ["source=folder", f"root={tree}", "image_size=16"]
    first, again = tmp_path / "first", tmp_path / "again"
    code, _, err = prepare(*words, f"out={first}", "split.folds=3", "split.repeats=2", "split.fold=4")
    assert code == 0, err
    code, said, err = prepare(*words, f"out={again}", f"split.file={first / 'split.json'}")
    assert code == 0, err
    digest = json.loads((first / "audit.json").read_text())["split_digest"]
    assert digest in said
    assert (again / "split.json").read_bytes() == (first / "split.json").read_bytes()
    for side in ("train", "val", "test"):
        name = f"{side}/metadata.jsonl"
        assert (again / name).read_bytes() == (first / name).read_bytes()
    back = load(SplitFolderData(root=first, image_size=16))
    assert divide(back, SplitSettings(file=first / "split.json")).digest == digest

    (tree / "rare" / "5.png").unlink()
    code, _, err = prepare(*words, f"out={tmp_path / 'third'}", f"split.file={first / 'split.json'}")
    assert code == 2 and "puts rare/5.png in" in err and "Traceback" not in err


def test_a_long_tail_is_told_before_and_after(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["source=folder", f"root={tree}", f"out={out}", "image_size=16"]
    code, said, err = prepare(*words, "split.long_tail.counts={rare: 2}")
    assert code == 0, err
    facts = json.loads((out / "audit.json").read_text())
    before = facts["long_tail"]["rare"]["before"]
    assert facts["counts"]["rare"]["train"] == facts["long_tail"]["rare"]["after"] == 2 < before
    assert f"rare {before} → 2." in said
    assert "train before the long tail" in (out / "audit.html").read_text()
    assert len(list((out / "train" / "rare").glob("*.png"))) == 2


def test_a_split_that_cannot_be_made_leaves_the_directory_free(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    words = ["source=folder", f"root={tree}", f"out={tmp_path / 'out'}", "image_size=16"]
    code, _, err = prepare(*words, "split.long_tail.counts={rar: 2}")
    assert code == 2 and "Did you mean 'rare'?" in err
    code, _, err = prepare(*words, "split.long_tail.counts={rare: 2}")
    assert code == 0, err


def test_two_sites_become_one_split(
    prepare: Prepare, tree: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    there, out = tmp_path_factory.mktemp("there"), tmp_path_factory.mktemp("out") / "set"
    rng = np.random.default_rng(9)
    for name in ("A", "R", "smudge cell"):
        (there / name).mkdir()
        for i in range(4):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(there / name / f"{i}.png")
    words = ["source=cross_site", "train.kind=folder", f"train.root={tree}", "test.kind=folder"]
    words += [f"test.root={there}", f"out={out}", "image_size=16"]
    code, _, err = prepare(*words, "classes={R: rare, smudge cell: null}")
    assert code == 2 and "data.test has class 'A'" in err and not out.exists()
    code, _, err = prepare(*words, "classes={R: rare, A: a<b, smudge cell: null}")
    assert code == 0, err
    facts = json.loads((out / "audit.json").read_text())
    assert [row["test"] for row in facts["counts"].values()] == [4, 4]
    assert all(row["train"] and row["val"] for row in facts["counts"].values())
    assert facts["source_sizes"] == {"20×20": 28}
    split = divide(load(SplitFolderData(root=out, image_size=16)), SplitSettings())
    assert split.digest == facts["split_digest"]
    assert {name.split("/")[0] for name in split.test.names} == {"test"}


def test_trees_of_two_sites_have_the_same_size_unless_told(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    words = ["source=cross_site", "train.kind=folder", f"train.root={tree}", "test.kind=split_folder"]
    code, _, err = prepare(*words, f"test.root={tmp_path / 'no'}", f"out={tmp_path / 'out'}")
    assert code == 2 and "data.test: " in err and "no such folder" in err
    code, _, err = prepare(*words[:3], "test.kind=folder", f"test.root={tree}", f"out={tmp_path / 'out'}")
    assert code == 2 and "is in train and in test" in err
    facts = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert facts["image_size"] == 128


def test_leaks_of_a_split_file_are_told_and_those_of_an_ignored_split_are_not(
    prepare: Prepare, leaking: Path, tmp_path: Path
) -> None:
    allow, file = "split.leaks=allow", tmp_path / "first" / "split.json"
    words = ["source=split_folder", f"root={leaking}", "image_size=24"]
    code, _, err = prepare(*words, f"out={tmp_path / 'first'}", allow)
    assert code == 0, err
    code, _, err = prepare(*words, f"out={tmp_path / 'second'}", f"split.file={file}")
    assert code == 2 and "is in train and in test" in err and "split.leaks=allow accepts" in err
    code, said, err = prepare(*words, f"out={tmp_path / 'second'}", f"split.file={file}", allow)
    assert code == 0 and "WARNING: 1 pairs or groups" in said, err
    code, said, err = prepare(*words, f"out={tmp_path / 'third'}", "split.premade=ignore", allow)
    assert code == 0 and "WARNING" not in said, err
    facts = json.loads((tmp_path / "third" / "audit.json").read_text())
    assert len(facts["across_splits"]) == 1, "that of the source is still told"
    assert len(set(facts["near_duplicates"][0]["splits"])) == 1, "and is together now"
