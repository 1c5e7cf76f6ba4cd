"""From one trained model to the next, and the folder that Hugging Face takes."""

import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, ModelCard

from cells.sources import Credit
from generators import load
from generators.card import about_set, write_model_card

SCRIPT = Path(__file__).parents[2] / "scripts" / "train_generator.py"
CONFIG = """
data: {kind: phantom, image_size: 16, val_per_class: 4, test_per_class: 2, counts: {round: 6, lobed: 4}}
generator: {kind: gan, steps: 3, batch: 4, channels: [8, 16], checkpoint_every: 2}
licence: CC BY-NC 4.0
citation: "Someone: 2020"
"""
NET = "{network: fast, width: 4, steps: 3, batch: 8}"
Train = Callable[..., tuple[int, str]]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """Runs the script with the config and some words: exit code and stderr."""
    (tmp_path / "tiny.yaml").write_text(CONFIG)

    def run(*words: str, config: str = "tiny.yaml") -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["train_generator.py", str(tmp_path / config), *words])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPT), run_name="__main__")
        return int(end.value.code or 0), capsys.readouterr().err

    return run


def test_a_model_is_adapted_watched_and_ready_to_upload(train: Train, tmp_path: Path) -> None:
    assert train(f"out={tmp_path / 'start'}") == (0, "")
    text = CONFIG.replace("lobed: 4", "blast: 4").replace("CC BY-NC", "CC BY")
    text += (
        f"monitor: {{every: 1, cells: 4, classifier: {NET}, encoder: {{kind: domain, classifier: {NET}}}}}"
    )
    (tmp_path / "adapt.yaml").write_text(text)
    start_from = f"generator.start_from={tmp_path / 'start'}"
    words = (f"out={tmp_path / 'run'}", "data.seed=7", start_from, "generator.freeze=0.5")
    assert train(*words, config="adapt.yaml") == (0, "")
    model = tmp_path / "run" / "model"
    made = load(model)
    assert made.record is not None and made.record.start is not None and made.record.chosen is not None
    assert made.record.start["class_map"] == {"round": "round", "blast": None}
    assert made.record.start["left_out"] == ["lobed"]
    start = load(tmp_path / "start")
    assert start.record is not None and set(start.record.seen) < set(made.record.seen)

    card = ModelCard.load(model / "README.md")
    fields = card.data.to_dict()
    assert fields["license"] == "other", "two licences are neither of them"
    assert fields["license_name"] == "CC BY 4.0; start model: cc-by-nc-4.0"
    assert fields["library_name"] == "rarecell" and "phantom" in fields["tags"]
    assert f"Digest of the training split: `{made.record.split_digest}`" in card.text
    assert "| blast | new: the mean of all |" in card.text and "`begin`" in card.text
    figures = made.record.chosen["figures"]
    assert f"| kid | {figures['kid']:.4g} |" in card.text
    assert json.dumps(made.record.chosen["fingerprint"], indent=2) in card.text
    assert str(tmp_path) not in card.text + (model / "config.json").read_text()

    images = re.findall(r"!\[.*?\]\((.*?)\)", card.text)
    assert images == ["samples/grid.png"] and (model / images[0]).is_file()
    files = [path for path in model.rglob("*") if not path.is_dir()]
    assert files and not any(path.is_symlink() or path.name.startswith(".") for path in files)
    for path in files:  # what upload_folder makes of each file, before it sends anything
        operation = CommitOperationAdd(path.relative_to(model).as_posix(), str(path))
        assert operation.upload_info.size == path.stat().st_size

    before = (model / "weights.safetensors").read_bytes()
    assert train(*words, config="adapt.yaml") == (0, ""), "finished: nothing is trained again"
    assert (model / "weights.safetensors").read_bytes() == before
    code, error = train(*words, "monitor.choose=last", config="adapt.yaml")
    assert code == 2 and "monitor.choose was 'best', is 'last'" in error
    assert about_set(made, model, 0).licence == fields["license_name"], "a set of its cells has both"


def test_the_example_of_the_card_runs(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(f"out={tmp_path / 'run'}") == (0, "")
    model = tmp_path / "run" / "model"
    card = ModelCard.load(model / "README.md")
    assert card.data.license == "cc-by-nc-4.0"
    assert "None were measured" in card.text and "step 3, the last" in card.text
    (code,) = re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name: str(model))
    found: dict[str, object] = {}
    exec(code, found)
    assert tuple(found["images"].shape) == (8, 3, 16, 16)  # type: ignore[attr-defined]
    write_model_card(load(model), Credit("CC BY-NC 4.0", "Someone: 2020"), model, tmp_path / "run")
    fields = ModelCard.load(model / "README.md").data.to_dict()
    assert (fields["license"], fields["citation"]) == ("cc-by-nc-4.0", "Someone: 2020"), "the same, once"


def test_wrong_words_are_one_sentence(train: Train, tmp_path: Path) -> None:
    assert train(f"out={tmp_path / 'start'}") == (0, "")
    (tmp_path / "control.yaml").write_text(CONFIG.splitlines()[1] + "\ngenerator: {kind: repeat}\n")
    start = f"generator.start_from={tmp_path / 'start'}"
    cases = {
        "no such file": ("generator.start_from=nowhere",),
        "draws 16 px, the cells have 32 px": (start, "data.image_size=32"),
        "start_from is not": ("generator.freeze=0.5",),
        "monitor.evry": ("monitor.evry=5",),
        "was trained on this cell": (start, "split.premade=ignore", "monitor.every=5"),
    }
    for number, (message, words) in enumerate(cases.items()):
        code, error = train(f"out={tmp_path / str(number)}", *words)
        assert code == 2 and message in error, (words, error)
        assert error.count("\n") == 1 and not (tmp_path / str(number) / "model").exists()
    code, error = train(f"out={tmp_path / 'control'}", "monitor.every=5", config="control.yaml")
    assert code == 2 and "repeat does not train" in error
