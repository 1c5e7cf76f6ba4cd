"""train_generator and synthesize: one's output is the other's input."""

import json
import runpy
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from cells.preprocessing import Preprocessing
from cells.reading import read_set
from cells.sources import Credit, PhantomData
from cells.sources import load as load_cells
from cells.split import Split, SplitSettings, divide
from cells.writing import write_set
from classifiers.training import Classifier, ClassifierSettings
from generators import build, load
from generators.card import about_set, write_model_card
from generators.resample import RepeatSettings
from generators.synthesize import remake
from runtime.rundir import RunDir

SCRIPTS = Path(__file__).parents[2] / "scripts"
CONFIGS = SCRIPTS.parent / "configs"
CONFIG = """
data:
  kind: phantom
  image_size: 16
  counts: {{round: 6, lobed: 4}}
  val_per_class: 2
  test_per_class: 2
seed: 5
generator:
  kind: {kind}
  steps: 3
  batch: 4
  channels: [8, 16]
  checkpoint_every: 2
"""
Script = Callable[..., tuple[int, str, str]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """Run a script with some words: exit code, stdout, stderr."""

    def run(name: str, *words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        out, err = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return code, out, err

    return run


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained generator that takes no time: the repeat-real control."""
    folder = tmp_path_factory.mktemp("control")
    cells = phantoms({CLASSES[0]: 6, CLASSES[1]: 3}, 16, 0, split="train")
    cells = cells.subset(cells.labels < 2)
    cells = CellSet.from_arrays(cells.pixels, cells.labels, CLASSES[:2], splits="train")
    write_set(cells, folder / "cells")
    build(RepeatSettings(), cells.classes, 16, 1).fit(cells, RunDir(folder))
    return folder


@pytest.mark.parametrize("kind", ["gan", "diffusion"])
def test_train_then_synthesize_then_open(kind: str, script: Script, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(kind=kind))
    code, out, err = script("train_generator", config, f"out={tmp_path / 'run'}", "seed=6")
    assert (code, err) == (0, "")
    assert "trained on 10 cells" in out
    model = tmp_path / "run" / "model"
    found = {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()}
    own = {"README.md", "config.json", "weights.safetensors", "seen.txt", "samples/grid.png"}
    diffusers = {"unet/config.json", "unet/diffusion_pytorch_model.safetensors"}
    diffusers |= {"scheduler/scheduler_config.json"}
    assert found == own | (diffusers if kind == "diffusion" else {"critic.safetensors"})
    card = (model / "README.md").read_text()
    assert "Phantom data" in card
    assert "| round | 6 |" in card
    assert load(model).seed == 6

    code, out, err = script(
        "synthesize", f"generator={model}", f"out={tmp_path / 'set'}", "counts.round=3", "seed=9"
    )
    assert (code, err) == (0, "")
    drawn = read_set(tmp_path / "set")
    assert drawn.counts == {"round": 3, "lobed": 0} or drawn.counts == {"lobed": 0, "round": 3}
    again = remake(load(model), drawn.provenance[1], "round")
    assert np.mean(np.abs(again.astype(int) - drawn.pixels[1]) <= 1) >= 0.999
    assert drawn.provenance[0]["split_digest"] == load(model).record.split_digest  # type: ignore[union-attr]
    assert "none is\na photograph" in (tmp_path / "set" / "README.md").read_text()
    assert b"trainedAlgorithmicMedia" in next((tmp_path / "set" / "round").iterdir()).read_bytes()


def test_same_command_again_returns_at_once_and_a_changed_one_is_refused(
    script: Script, tmp_path: Path
) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(kind="gan"))
    assert script("train_generator", config, f"out={tmp_path / 'run'}")[0] == 0
    weights = (tmp_path / "run/model/weights.safetensors").read_bytes()
    log = (tmp_path / "run/log.jsonl").read_text()
    assert script("train_generator", config, f"out={tmp_path / 'run'}")[0] == 0
    assert (tmp_path / "run/log.jsonl").read_text() == log
    code, _, err = script("train_generator", config, f"out={tmp_path / 'run'}", "generator.batch=6")
    assert code == 2
    assert "generator.batch was 4, is 6" in err
    assert (tmp_path / "run/model/weights.safetensors").read_bytes() == weights


def test_balance_fills_the_classes_of_a_set(control: Path, script: Script, tmp_path: Path) -> None:
    for source in (control / "cells", tmp_path / "tree"):
        if source.name == "tree":
            write_set(read_set(control / "cells"), source / "train")
            write_set(read_set(control / "cells"), source / "test")
        out = tmp_path / f"set-{source.name}"
        code, _, err = script(
            "synthesize", f"generator={control}", f"out={out}", "balance=fill", f"cells={source}"
        )
        assert (code, err) == (0, "")
        assert read_set(out).counts == {CLASSES[0]: 0, CLASSES[1]: 3}
    out = tmp_path / "ratio"
    words = (f"generator={control}", f"out={out}", "balance=0.8", f"cells={control / 'cells'}")
    assert script("synthesize", *words)[0] == 0
    assert read_set(out).counts[CLASSES[1]] == 2


def test_a_dry_run_prints_the_plan_and_writes_nothing(control: Path, script: Script, tmp_path: Path) -> None:
    out, cells = tmp_path / "set", control / "cells"
    words = (f"generator={control}", f"out={out}", f"cells={cells}", "balance.to=all", "dry_run=true")
    code, said, err = script("synthesize", *words, "balance.max_share=0.4")
    assert (code, err) == (0, "")
    rows = {
        line.split("│")[1].strip(): line.replace("│", " ").split()[1:]
        for line in said.splitlines()
        if "│" in line
    }
    assert rows[CLASSES[0]] == ["6", "6", "0", "0%"]
    assert rows[CLASSES[1]] == ["3", "6", "2", "40%", "max_share", "(-1)"]
    assert rows["all"] == ["9", "2", "18%"]
    assert "Drawing 2 cells would take less than a second" in said
    code, said, err = script("synthesize", *words[:2], f"counts.{CLASSES[0]}=4", "dry_run=true")
    assert (code, err) == (0, "") and "Drawing 4 cells" in said
    assert not out.exists()
    assert script("synthesize", *words[:-1], "balance.max_share=0.4")[0] == 0
    assert read_set(out).counts == {CLASSES[0]: 0, CLASSES[1]: 2}, "as it was planned"


def test_set_opens_as_an_image_folder(control: Path, script: Script, tmp_path: Path) -> None:
    words = [f"counts.{name}=2" for name in CLASSES[:2]]
    assert script("synthesize", f"generator={control}", f"out={tmp_path / 'set'}", *words)[0] == 0
    opened = ImageFolder(str(tmp_path / "set"))
    assert len(opened) == 4
    assert sorted(opened.classes) == sorted(CLASSES[:2])
    lines = (tmp_path / "set" / "metadata.jsonl").read_text().splitlines()
    assert {json.loads(line)["origin"] for line in lines} == {"synthetic"}


def test_an_interrupted_synthesis_begins_anew(control: Path, script: Script, tmp_path: Path) -> None:
    out = tmp_path / "set"
    words = (f"generator={control}", f"out={out}", f"counts.{CLASSES[0]}=3", "seed=4", "parquet=true")
    (out / CLASSES[0]).mkdir(parents=True)
    (out / ".unfinished").touch()
    assert script("synthesize", *words)[0] == 0
    assert read_set(out).counts[CLASSES[0]] == 3
    assert (out / "cells.parquet").is_file()
    assert "- Seed of this synthesis: 4" in (out / "README.md").read_text()
    code, _, err = script("synthesize", *words)
    assert code == 2 and "not empty" in err


def test_a_synthetic_set_has_the_licence_of_its_training_cells(tmp_path: Path, control: Path) -> None:
    folder = tmp_path / "generator"
    folder.mkdir()
    write_model_card(load(control), Credit("CC BY 4.0", "Someone: 2020"), folder)
    about = about_set(load(control), folder, 0)
    assert (about.licence, about.citation) == ("cc-by-4.0", "Someone: 2020")
    assert about_set(load(control), tmp_path / "nowhere", 0).licence == "not known"


def test_bad_input_is_one_sentence_and_writes_nothing(control: Path, script: Script, tmp_path: Path) -> None:
    out = tmp_path / "set"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    here = f"generator={control}"
    cases = {
        "no class 'rond'": (here, f"out={out}", "counts.rond=2"),
        "how many": (here, f"out={out}"),
        "not empty": (here, f"out={taken}", f"counts.{CLASSES[0]}=2"),
        "'cells=' is missing": (here, f"out={out}", "balance=fill"),
        "config.json": (f"generator={tmp_path / 'nowhere'}", f"out={out}", "counts.round=1"),
        "'sed'": (here, f"out={out}", "sed=3"),
        "no such folder": (here, f"out={out}", "balance=fill", f"cells={tmp_path / 'nowhere'}"),
        "greater than 0": (here, f"out={out}", "balance=-1", f"cells={control / 'cells'}"),
        "Did you mean 'fill'": (here, f"out={out}", "balance=fil", f"cells={control / 'cells'}"),
        "'balance.max_shar'": (here, f"out={out}", "balance.max_shar=0.5", f"cells={control / 'cells'}"),
        "give 6 or more": (here, f"out={out}", f"balance.to.{CLASSES[0]}=5", f"cells={control / 'cells'}"),
    }
    for message, words in cases.items():
        code, _, err = script("synthesize", *words)
        assert code == 2, words
        assert message in err
        assert err.count("\n") == 1
        assert not out.exists()
    assert [path.name for path in taken.iterdir()] == ["notes.txt"]


def test_bad_config_is_one_sentence(script: Script, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(kind="gan"))
    out = f"out={tmp_path / 'run'}"
    cases = {
        "name one config": (out,),
        "no such config file": (tmp_path / "none.yaml", out),
        "generator.step": (config, out, "generator.step=4"),
        "divisible by 4": (config, out, "data.image_size=18"),
    }
    for message, words in cases.items():
        code, _, err = script("train_generator", *words)
        assert code == 2, words
        assert message in err
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "notes.txt").write_text("mine")
    code, _, err = script("train_generator", config, f"out={taken}")
    assert code == 2
    assert "no run" in err


@pytest.mark.parametrize("name", ["diffusion_pbc", "gan_pbc"])
def test_shipped_configs_train_in_small(name: str, script: Script, shared: Path, tmp_path: Path) -> None:
    code, _, err = script(
        "train_generator",
        CONFIGS / f"{name}.yaml",
        f"data.root={shared / 'data/pbc-lt-128'}",
        f"out={tmp_path / 'run'}",
        "generator.steps=2",
        "generator.batch=4",
        "generator.channels=[8,16]",
        "data.image_size=8",
    )
    assert code == 0, err
    # Two steps teach no class, and the watch says so.
    assert all("its samples" in line for line in err.splitlines()), err
    assert load(tmp_path / "run").classes[0] == "basophil"


def test_card_of_real_cells_has_no_phantom_notice(control: Path, tmp_path: Path) -> None:
    write_model_card(load(control), Credit("CC BY 4.0", "Someone 2020"), tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "Phantom" not in card
    assert "CC BY 4.0" in card
    assert "Someone 2020" in card


@pytest.mark.parametrize("name", ["train_generator", "synthesize"])
def test_help_explains_the_command(name: str, script: Script) -> None:
    code, out, _ = script(name, "--help")
    assert code == 0
    assert "uv run scripts/" in out


def test_a_generator_of_preprocessed_cells_hands_on_what_was_done(script: Script, tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(CONFIG.format(kind="gan"))
    steps = "preprocess=[{kind: gamma, gamma: 0.5}, {kind: stain_normalization}]"
    assert script("train_generator", config, f"out={tmp_path / 'run'}", steps)[0] == 0
    model, made = tmp_path / "run" / "model", tmp_path / "set"
    assert (
        script("synthesize", f"generator={model}", f"out={made}", "counts.round=8", "counts.lobed=8")[0] == 0
    )
    assert (made / "preprocessing.json").read_text() == (model / "preprocessing.json").read_text()
    sums = dict(line.split("  ")[::-1] for line in (made / "checksums.txt").read_text().splitlines())
    assert sums["preprocessing.json"] == sha256((made / "preprocessing.json").read_bytes()).hexdigest()
    assert script("train_generator", config, f"out={tmp_path / 'run'}")[0] == 2  # another list of steps

    data = PhantomData(image_size=16, counts={"round": 6, "lobed": 4}, val_per_class=2, test_per_class=2)
    split = divide(load_cells(data), SplitSettings())
    seen = (model / "seen.txt").read_text().split()
    assert set(split.train.digests) < set(seen) and len(seen) == 2 * len(split.train)

    # Evaluation does the same to real cells: prepared by hand or by itself, the figures are equal.
    done = Preprocessing.load(model)
    assert done is not None
    write_set(split.train, tmp_path / "raw")
    write_set(done.cells(split.train), tmp_path / "ready")
    found = {}
    for real in ("raw", "ready"):
        words = (f"real={tmp_path / real}", f"synthetic={made}", "labels=false", "floor_repeats=2")
        encoder = ("encoder.kind=domain", f"encoder.path={_encoder(split, tmp_path)}")
        code, _, err = script("evaluate", *words, *encoder, f"out={tmp_path / real}.json")
        assert code == 0, err
        found[real] = json.loads((tmp_path / f"{real}.json").read_text())
    assert found["raw"]["fidelity"] == found["ready"]["fidelity"]
    assert found["raw"]["preprocessing"] == done.to_json()


def _encoder(split: Split, folder: Path) -> Path:
    net = Classifier(split.train.classes, ClassifierSettings(network="fast", width=4, steps=2, batch=4))
    net.fit(split.train, seed=0).save(folder / "encoder")
    return folder / "encoder"
