import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from preparing import Prepare
from torchvision.datasets import ImageFolder

from cells.sources import FolderData, SplitFolderData, load
from cells.split import SplitSettings, divide
from runtime.errors import InputError

SCRIPT = Path(__file__).parents[2] / "scripts" / "prepare.py"


def test_help_explains_it(prepare: Prepare) -> None:
    code, out, _ = prepare("--help")
    assert code == 0
    assert "source=pbc" in out and "out=DIR" in out


def test_its_output_is_the_next_commands_input(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, err = prepare("source=folder", f"root={tree}", f"out={out}", "image_size=16")
    assert code == 0, err
    assert "20 cells of 2 classes" in said
    facts = json.loads((out / "audit.json").read_text())
    split = divide(load(SplitFolderData(root=out, image_size=16)), SplitSettings())
    assert split.digest == facts["split_digest"]
    assert split.train.counts == {name: row["train"] for name, row in facts["counts"].items()}
    assert len(ImageFolder(str(out / "train"))) == len(split.train)


def test_the_audit_finds_what_is_there(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("source=folder", f"root={tree}", f"out={out}", "image_size=16")
    facts = json.loads((out / "audit.json").read_text())
    assert facts["source_sizes"] == {"20×20": 20}
    assert sum(sum(row.values()) for row in facts["counts"].values()) == 20
    counts = [row["train"] for row in facts["counts"].values()]
    assert facts["imbalance_factor"] == pytest.approx(max(counts) / min(counts), abs=0.01)
    assert [found["names"] for found in facts["exact_duplicates"]] == [
        ["a<b/0.png", "a<b/copy.png"],
        ["a<b/1.png", "rare/conflict.png"],
    ]
    assert facts["source_modes"] == {"RGB": 20}
    assert facts["near_duplicates"] == facts["across_splits"] == facts["ignored"] == []
    assert facts["unreadable"] == {}
    (conflict,) = facts["label_conflicts"]
    assert conflict["labels"] == ["a<b", "rare"]
    assert len(set(conflict["splits"])) == 1, "equal images are on one side"
    html = (out / "audit.html").read_text()
    assert "a&lt;b" in html and "a<b" not in html
    assert facts["split_digest"] in html and "data:image/png;base64," in html


def test_markup_in_a_class_name_is_escaped(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    hostile = "<script>alert('x')\"&"
    (tree / "rare").rename(tree / hostile)
    out = tmp_path / "out"
    code, _, err = prepare("source=folder", f"root={tree}", f"out={out}", "image_size=16")
    assert code == 0, err
    html = (out / "audit.html").read_text()
    assert "<script" not in html and "&lt;script&gt;alert(&#39;x&#39;)&#34;&amp;" in html
    assert (out / "train" / hostile).is_dir()
    assert load(SplitFolderData(root=out, image_size=16)).classes == (hostile, "a<b")


def test_phantoms_are_said_to_be_phantoms(prepare: Prepare, tmp_path: Path) -> None:
    words = ["image_size=16", "counts={lobed: 4, round: 4}", "val_per_class=2", "test_per_class=2"]
    code, _, err = prepare("source=phantom", f"out={tmp_path / 'out'}", *words)
    assert code == 0, err
    assert "not cells" in (tmp_path / "out" / "audit.html").read_text()


def times(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != ".lock"}


def test_again_does_nothing_and_another_config_is_refused(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["source=folder", f"root={tree}", f"out={out}", "image_size=16"]
    prepare(*words)
    before = times(out)
    code, said, _ = prepare(*words)
    assert code == 0 and "nothing to do" in said
    code, _, err = prepare(*words, "split.seed=1")
    assert code == 2 and "split.seed" in err
    (tree / "rare" / "5.png").unlink()
    code, _, err = prepare(*words)
    assert code == 2 and "have changed" in err
    assert times(out) == before


def test_an_interrupted_run_is_finished(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["source=folder", f"root={tree}", f"out={out}", "image_size=16"]
    prepare(*words)
    facts = (out / "audit.json").read_text()
    (out / "audit.json").unlink()
    (out / "val" / "metadata.jsonl").unlink()
    assert prepare(*words)[0] == 0
    assert (out / "audit.json").read_text() == facts
    assert (out / "val" / "metadata.jsonl").is_file()


def contents(out: Path) -> dict[str, bytes]:
    """The files of a prepared folder but for the lock."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# Runs the script named first; the ninth image is written by half, then the process is killed.
KILLED = """
import os, runpy, signal, sys
from cells import writing

def by_half(image, path, *, synthetic):
    by_half.calls += 1
    whole(image, path, synthetic=synthetic)
    if by_half.calls == 9:
        path.write_bytes(path.read_bytes()[:60])
        os.kill(os.getpid(), signal.SIGKILL)

by_half.calls, whole, writing._write_png = 0, writing._write_png, by_half
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_killed_in_the_midst_of_writing_it_ends_as_if_it_had_not_been(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    words = ["source=folder", f"root={tree}", "image_size=16", "parquet=true"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, str(SCRIPT), *words, f"out={killed}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert len(list(killed.rglob("*.png"))) == 9 and not (killed / "audit.json").exists()
    with pytest.raises(InputError, match="was not written to its end; run the command that wrote it again"):
        load(SplitFolderData(root=killed, image_size=16))

    code, said, err = prepare(*words, f"out={killed}")
    assert code == 0, err
    assert "20 cells" in said
    assert prepare(*words, f"out={whole}")[0] == 0
    assert contents(killed) == contents(whole)


def test_parquet_is_written_on_request_and_read_back(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    words = ["source=folder", f"root={tree}", "image_size=16"]
    assert prepare(*words, f"out={tmp_path / 'plain'}")[0] == 0
    assert not list((tmp_path / "plain").rglob("*.parquet"))
    out = tmp_path / "out"
    assert prepare(*words, f"out={out}", "parquet=true")[0] == 0
    assert len(list(out.rglob("cells.parquet"))) == 3
    (tmp_path / "files").mkdir()
    for side in ("train", "val", "test"):
        (tmp_path / "files" / f"{side}.parquet").write_bytes((out / side / "cells.parquet").read_bytes())
    again = tmp_path / "again"
    source = [f"root={tmp_path / 'files'}", "source=parquet", "image_size=16"]
    code, _, err = prepare(*source, f"out={again}")
    assert code == 0, err
    facts, before = (json.loads((path / "audit.json").read_text()) for path in (again, out))
    assert facts["counts"] == before["counts"]
    one, other = (load(SplitFolderData(root=path, image_size=16)) for path in (again, out))
    assert one.digest == other.digest and list(one.splits) == list(other.splits)
    assert facts["source_sizes"] == {"16×16": 20}
    code, _, err = prepare(*words, f"out={tmp_path / 'x'}", "parquet=perhaps")
    assert code == 2 and "parquet" in err and not (tmp_path / "x").exists()


def test_foreign_files_are_not_overwritten(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    code, _, err = prepare("source=folder", f"root={tree}", f"out={tmp_path / 'out'}")
    assert code == 2 and "holds other files" in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["source=folder", "root=x"], "'out='"),
        (["out=x"], "'source='"),
        (["source=pbx", "root=x", "out=y"], "pbx"),
        (["source=folder", "rot=x", "out=y"], "data.ro"),
        (["source=folder", "root=nowhere", "out=y"], "nowhere: no such folder"),
        (["source=folder", "root=x", "out=y", "split.fractions=[1,0,0]"], "split.fractions"),
    ],
)
def test_bad_input_is_one_sentence(prepare: Prepare, words: list[str], message: str) -> None:
    code, _, err = prepare(*words)
    assert code == 2
    assert err.startswith("error: ") and message in err
    assert "Traceback" not in err and err.count("\n") == 1


def test_preprocessed_images_are_written_and_said_to_be(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    words = ("source=folder", f"root={tree}", "image_size=16", "preprocess=[{kind: gamma, gamma: 0.5}]")
    code, _, err = prepare(*words, f"out={tmp_path / 'out'}")
    assert code == 0, err
    facts = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert [step["settings"]["kind"] for step in facts["preprocessing"]["steps"]] == ["gamma"]
    assert json.loads((tmp_path / "out" / "preprocessing.json").read_text()) == facts["preprocessing"]
    assert "gamma" in (tmp_path / "out" / "README.md").read_text()
    assert "<code>gamma</code>" in (tmp_path / "out" / "audit.html").read_text()
    prepared = divide(load(SplitFolderData(root=tmp_path / "out", image_size=16)), SplitSettings())
    raw = load(FolderData(root=tree, image_size=16))
    before = dict(zip(raw.names, raw.digests, strict=True))
    train = prepared.train
    assert [before[name] for name in train.names] == train.original_digests.tolist()
    assert not set(train.digests) & set(before.values())
    code, said, _ = prepare(*words, f"out={tmp_path / 'out'}")
    assert code == 0 and "nothing to do" in said


def test_stain_normalization_of_what_has_no_stain_is_refused(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    step = "preprocess=[{kind: stain_normalization, method: macenko}]"
    code, _, err = prepare("source=folder", f"root={tree}", f"out={tmp_path / 'out'}", step, "image_size=16")
    assert code == 2 and "does not suit the training cells" in err and "Traceback" not in err


def test_too_many_unreadable_files_are_all_listed_and_may_then_be_allowed(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["source=folder", f"root={tree}", f"out={out}", "image_size=16"]
    for i in range(2):
        (tree / "a<b" / f"torn{i}.png").write_bytes(b"")
    code, _, err = prepare(*words)
    assert code == 2 and "torn0.png" in err and "also a<b/torn1.png" in err and "lists all 2" in err
    reason = "the file is empty (0 bytes)"
    listed = json.loads((out / "unreadable.json").read_text())
    assert listed == {f"a<b/torn{i}.png": reason for i in range(2)}
    code, _, err = prepare(*words, "unreadable=0.2")  # in the same folder
    assert code == 0, err
    assert not (out / "unreadable.json").exists()
    assert json.loads((out / "audit.json").read_text())["unreadable"] == listed


def test_the_audit_follows_when_an_unreadable_file_is_removed(
    prepare: Prepare, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["source=folder", f"root={tree}", f"out={out}", "image_size=16", "unreadable=0.2"]
    (tree / "rare" / "torn.png").write_bytes(b"")
    assert prepare(*words)[0] == 0
    before = json.loads((out / "audit.json").read_text())
    (tree / "rare" / "torn.png").unlink()
    code, said, _ = prepare(*words)
    assert code == 0 and "audit was written anew" in said
    assert json.loads((out / "audit.json").read_text()) == before | {"unreadable": {}}
    assert "torn.png" not in (out / "audit.html").read_text()
    assert "nothing to do" in prepare(*words)[1]


def test_checksums_cover_all_that_stays_as_it_is(prepare: Prepare, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["source=folder", f"root={tree}", f"out={out}", "image_size=16", "preprocess=[{kind: clahe}]"]
    code, _, err = prepare(*words)
    assert code == 0, err
    done = subprocess.run(["sha256sum", "-c", "--strict", "checksums.txt"], cwd=out, capture_output=True)
    assert done.returncode == 0, done.stdout
    named = {line.split("  ", 1)[1] for line in (out / "checksums.txt").read_text().splitlines()}
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files - named == {"audit.html", "audit.json", "config.yaml", ".lock", "checksums.txt"}
