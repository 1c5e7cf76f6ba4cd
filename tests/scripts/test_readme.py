"""The README's commands run as written, with only the sizes made small."""

import re
import runpy
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from evaluation.studies.settings import StudySettings
from runtime.command import split_arguments, take
from runtime.config import load_config

ROOT = Path(__file__).resolve().parents[2]

# Appended to a step's command: the same step in seconds.
SMALL = {
    "prepare": "counts.lobed=12 counts.round=12 counts.kidney=8 counts.bilobed=8 counts.granular=6 "
    "counts.blast=5 val_per_class=6 test_per_class=12",
    "train_generator": "data.image_size=16 generator.steps=4 generator.batch=4 generator.channels=[8,16] "
    "generator.grid_every=0 generator.checkpoint_every=2",
    "synthesize": "balance=0.7",
    "evaluate": "image_size=16",
    "train_classifier": "data.image_size=16 classifier.steps=4 classifier.batch=8",
    "predict": "shown=2",
}


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


Run = Callable[[str, list[str]], Ended]


def commands() -> list[list[str]]:
    """Every line of the README's bash blocks, as words."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith("#")]
    return [shlex.split(line) for line in lines]


def scripts() -> list[tuple[str, list[str]]]:
    """(script, arguments) of each command that runs one."""
    found = []
    for words in commands():
        for index, word in enumerate(words):
            if word.startswith("scripts/"):
                found.append((Path(word).stem, words[index + 1 :]))
    return found


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script in an empty folder, in this process: importing torch a dozen times is slow."""
    monkeypatch.chdir(tmp_path)

    def ended(script: str, arguments: list[str]) -> Ended:
        words = [str(ROOT / word) if word.startswith("configs/") else word for word in arguments]
        monkeypatch.setattr(sys, "argv", [f"scripts/{script}.py", *words])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(ROOT / "scripts" / f"{script}.py"), run_name="__main__")
        captured = capsys.readouterr()
        return Ended(int(caught.value.code or 0), captured.out, captured.err)

    return ended


def test_the_two_commands_are_there() -> None:
    lines = [" ".join(words) for words in commands()]
    assert "pip install uv && uv run scripts/benchmark.py configs/quickstart.yaml" in lines
    assert "uv run pytest" in lines


def test_every_script_is_shown_and_explains_itself(run: Run) -> None:
    shown = {name for name, _ in scripts()}
    assert shown == {path.stem for path in (ROOT / "scripts").glob("*.py")}
    for name in sorted(shown):
        done = run(name, ["--help"])
        assert done.code == 0, done.error
        assert "usage:" in done.out


def test_the_studies_of_the_readme_are_valid() -> None:
    studies = [arguments for name, arguments in scripts() if name == "benchmark"]
    assert len(studies) == 2
    for arguments in studies:
        paths, overrides = split_arguments(arguments)
        _, overrides = take(overrides, "out")
        assert load_config(StudySettings, ROOT / paths[0], overrides).seeds == 6


def test_the_steps_run_and_feed_each_other(run: Run, tmp_path: Path) -> None:
    steps = [(name, arguments) for name, arguments in scripts() if name in SMALL]
    assert [name for name, _ in steps] == list(SMALL)
    for name, arguments in steps:
        done = run(name, [*arguments, *SMALL[name].split()])
        assert done.code == 0, f"{name}: {done.error}"
    left = ["cells/audit.html", "diffusion/model/weights.safetensors", "synthetic/metadata.jsonl"]
    left += ["fidelity.json", "fidelity.md", "classifier/scores.json"]
    left += ["predictions/predictions.csv", "predictions/predictions.html"]
    for file in left:
        assert (tmp_path / "runs" / file).stat().st_size > 0, file


@pytest.mark.parametrize("script", sorted({name for name, _ in scripts()}))
def test_a_wrong_word_ends_with_one_sentence(script: str, run: Run, tmp_path: Path) -> None:
    config = {"train_generator": "configs/gan_pbc.yaml", "train_classifier": "configs/classifier_pbc.yaml"}
    config["benchmark"] = "configs/quickstart.yaml"
    words = [config[script]] if script in config else []
    done = run(script, [*words, "nonsense.key=1", "out=runs/x.json"])
    assert done.code == 2, done.error
    assert "Traceback" not in done.error
    assert done.error.splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "runs").exists()
