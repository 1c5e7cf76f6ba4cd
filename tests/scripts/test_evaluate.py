"""evaluate.py on folders that anyone might have: scores, tables, or one clear sentence."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from cells.writing import write_set
from classifiers.training import Classifier, ClassifierSettings
from evaluation.scores.folders import image_size, read_folder
from evaluation.scores.suite import EvaluateSettings, evaluate_sets
from runtime.command import run_command
from runtime.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
QUICK = [f"{net}.{key}" for net in ("encoder.classifier", "judge") for key in ("steps=2", "batch=16")]
QUICK += ["floor_repeats=2", "morphology=false"]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("evaluate_script", ROOT / "scripts/evaluate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


def call(*words: str) -> int:
    """The script within this process: its exit code."""
    with pytest.raises(SystemExit) as ended:
        run_command(SCRIPT.main, SCRIPT.parser(), list(words))
    assert isinstance(ended.value.code, int)
    return ended.value.code


def evaluate(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240, check=False)


def write(root: Path, image: NDArray[np.uint8], *parts: str) -> None:
    path = root.joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def class_folders(root: Path, seed: int, count: int = 24, size: int = 24, prefix: str = "") -> Path:
    cells = phantoms(dict.fromkeys(CLASSES[:3], count), size, seed)
    for i, image in enumerate(cells.pixels):
        parts = [prefix] * bool(prefix) + [cells.classes[cells.labels[i]], f"{i:03d}.png"]
        write(root, image, *parts)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("folders")
    class_folders(root / "real", 1)
    class_folders(root / "holdout", 2, size=32)  # brought to the synthetic cells' size
    class_folders(root / "made", 3, count=21)
    return root


def test_domain_encoder_with_holdout_end_to_end(folders: Path, tmp_path: Path) -> None:
    words = [
        f"{side}={folders / name}"
        for side, name in (("real", "real"), ("synthetic", "made"), ("holdout", "holdout"))
    ]
    words += ["encoder.kind=domain", "out=scores.json", *QUICK, "morphology=true"]
    words += ["cas=true", "cas_classifier.steps=2", "cas_classifier.batch=16"]
    done = evaluate(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "scores.json").read_text())
    assert result["fidelity"]["name"] == "Fréchet distance (domain CNN)"
    assert result["fidelity"]["fingerprint"]["image_size"] == 24
    assert result["reference"] == "holdout" and result["leaking"] == 0
    assert result["fidelity"]["per_class"][CLASSES[0]]["kid"]["n_synthetic"] == 21
    assert result["near_copies"]["calibrated_on"] == 72
    assert result["near_copies"]["worst"][0]["train"].endswith(".png")
    assert 0 <= result["label_agreement"]["share"] <= 1
    assert result["label_agreement"]["trainings"] == 1
    assert list(result["morphology"]["per_class"]) == list(CLASSES[:3])
    table = (tmp_path / "scores.md").read_text()
    assert "domain CNN" in table and "not computable, n = 21" in table
    assert "## Classification accuracy score" in table and "mean over classes" in table
    assert "at 1/n = 0" in table and "inception score" in table
    assert result["classification_accuracy"]["n_train"] == dict.fromkeys(sorted(CLASSES[:3]), 21)
    assert "Warning" not in table and "WARNING" not in done.stdout
    assert "KID" in done.stdout and "written: scores.json" in done.stdout


def test_a_holdout_that_is_not_unseen_is_said(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holdout = class_folders(tmp_path / "holdout", 2)
    for number in ("003", "004"):
        with Image.open(folders / "real" / CLASSES[0] / f"{number}.png") as image:
            image.rotate(90).save(holdout / CLASSES[0] / f"{number}.png")
    sides = (f"real={folders / 'real'}", f"synthetic={folders / 'made'}", f"holdout={holdout}")
    file = tmp_path / "scores.json"
    assert call(*sides, f"out={file}", "encoder.kind=domain", *QUICK) == 0
    assert json.loads(file.read_text())["leaking"] == 2
    sentence = (
        "The holdout is not unseen. Cells of real= that share an image or a group with a cell of holdout=: 2."
    )
    assert f"**Warning.** {sentence}" in file.with_suffix(".md").read_text()
    assert f"WARNING: {sentence}" in " ".join(capsys.readouterr().out.split())


def test_a_result_of_another_config_is_not_overwritten(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.json"
    words = [
        f"real={folders / 'real'}",
        f"synthetic={folders / 'made'}",
        f"out={out}",
        "labels=false",
    ]
    words += [f"holdout={folders / 'holdout'}", "encoder.kind=domain", *QUICK]
    assert call(*words) == 0
    assert out.with_suffix(".html").is_file() and (tmp_path / "x-figures" / "map.png").is_file()
    first = out.read_bytes()
    assert call(*words, "seed=1") == 2
    assert "another 'seed'" in capsys.readouterr().err
    assert out.read_bytes() == first
    assert call(*words) == 0  # the same again is no harm
    assert out.read_bytes() == first
    assert call(*words, "seed=1", "overwrite=true") == 0
    assert out.read_bytes() != first


def test_without_a_holdout_the_judge_is_cross_fitted(folders: Path, tmp_path: Path) -> None:
    real = read_folder(folders / "real", 24, tmp_path / "cache")
    net = Classifier(real.classes, ClassifierSettings(network="fast", width=4, steps=2, batch=8))
    net.fit(real, seed=1)
    net.save(tmp_path / "net")
    out = tmp_path / "x.json"
    words = [f"real={folders / 'real'}", f"synthetic={folders / 'made'}", f"out={out}", *QUICK]
    words += ["encoder.kind=domain", f"encoder.path={tmp_path / 'net'}", "judge_folds=3"]
    assert call(*words) == 0
    result = json.loads(out.read_text())
    labels = result["label_agreement"]
    assert labels["trainings"] == 3 and labels["ceiling_n"] == len(real)
    assert np.sum(labels["real_matrix"]) == len(real) and np.sum(labels["matrix"]) == 63
    assert "switched off" in result["morphology"]["reason"]


def test_onnx_without_holdout(folders: Path, tmp_path: Path, shared: Path) -> None:
    weights = shared / "weights" / "mobilenet_v1_075_imagenet.onnx"
    out = tmp_path / "x.json"
    words = [f"real={folders / 'real'}", f"synthetic={folders / 'made'}", "encoder.kind=onnx"]
    words += [f"encoder.path={weights}", f"out={out}", "labels=false", "floor_repeats=2", "morphology=false"]
    assert call(*words) == 0
    result = json.loads(out.read_text())
    assert result["fidelity"]["name"] == "Fréchet distance (mobilenet_v1_075_imagenet.onnx)"
    assert result["near_copies"]["reason"].startswith("not computable: give holdout=")
    assert "switched off" in result["label_agreement"]["reason"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["encoder.kind=domain", "out=x.json"], "give holdout="),
        (["encoder.kind=onnx", "encoder.path=no.onnx", "out=x.json"], "no.onnx: no such file"),
        (["encoder.kind=domian", "out=x.json"], "encoder.kind"),
        (["encoder.kind=onnx", "out=x.json"], "encoder.path"),
        (["out=x.txt"], "ends in .json"),
        (["encoder.kind=domain"], "'out=' is missing"),
        (["out=x.json", "image_sze=4"], "Did you mean 'image_size'"),
        (["out=x.json", "synthetic=absent", "holdout={root}/holdout"], "absent: no such folder"),
    ],
)
def test_bad_input_is_one_sentence(
    folders: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [word.format(root=folders) for word in words]
    assert call(f"real={folders / 'real'}", f"synthetic={folders / 'made'}", *given) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.glob("x.*")) == []


def test_the_accuracy_score_needs_its_switch_and_a_holdout(tmp_path: Path) -> None:
    real = read_folder(class_folders(tmp_path / "real", 1, count=4), 16)
    settings = {"real": "r", "synthetic": "s", "floor_repeats": 2, "labels": False}
    encoder = {"kind": "domain", "path": tmp_path / "encoder"}
    Classifier(real.classes, ClassifierSettings(network="fast", steps=2, batch=4)).fit(real, seed=0).save(
        tmp_path / "encoder"
    )
    for cas, words in ((False, "cas=true"), (True, "give holdout=")):
        wanted = EvaluateSettings.model_validate({**settings, "encoder": encoder, "cas": cas})
        assert words in evaluate_sets(real, real, None, wanted)["classification_accuracy"]["reason"]


def test_help_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    said = capsys.readouterr().out
    assert "holdout=" in said and "encoder.kind=inception" in said


def test_flat_folders_are_scored_overall_only(tmp_path: Path) -> None:
    class_folders(tmp_path / "real", 1, count=10)
    for i, image in enumerate(phantoms({CLASSES[0]: 30}, 24, 4).pixels):
        write(tmp_path / "flat", image, f"{i}.png")
    real, flat = read_folder(tmp_path / "real", 24), read_folder(tmp_path / "flat", 24)
    settings = EvaluateSettings.model_validate(
        {
            "real": "real",
            "synthetic": "flat",
            "floor_repeats": 2,
            "encoder": {"kind": "domain", "path": "x"},
        }
    )
    assert flat.classes == ("cells",)
    with pytest.raises(InputError, match="x"):  # the encoder's folder is absent
        evaluate_sets(real, flat, None, settings)


def test_split_folders_and_saved_sets_are_read(tmp_path: Path) -> None:
    class_folders(tmp_path / "both", 1, count=2, prefix="train")
    class_folders(tmp_path / "both", 2, count=3, prefix="valid")
    cells = read_folder(tmp_path / "both", 16)
    assert cells.counts == dict.fromkeys(sorted(CLASSES[:3]), 5)
    assert sorted(set(cells.splits)) == ["train", "val"]
    made = CellSet.from_arrays(cells.pixels, cells.labels, cells.classes, origin="synthetic")
    write_set(made, tmp_path / "saved")
    again = read_folder(tmp_path / "saved", 20)
    assert again.is_synthetic.all() and again.image_size == 20
    assert image_size(tmp_path / "both") == 24


def test_unusable_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        read_folder(tmp_path / "empty", 16)
    class_folders(tmp_path / "mixed", 1, count=2)
    write(tmp_path / "mixed", np.zeros((16, 16, 3), np.uint8), "loose.png")
    with pytest.raises(InputError, match=r"loose\.png: lies beside class folders"):
        read_folder(tmp_path / "mixed", 16)
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "cut.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(InputError, match=r"cut\.png"):
        read_folder(tmp_path / "broken", 16)


def test_an_unknown_class_is_refused(tmp_path: Path) -> None:
    real = read_folder(class_folders(tmp_path / "real", 1, count=2), 16)
    odd = CellSet.from_arrays(real.pixels, real.labels, (*real.classes[:2], "bazophil"))
    settings = EvaluateSettings.model_validate({"real": "real", "synthetic": "odd"})
    with pytest.raises(InputError, match="class 'bazophil' has no folder under real="):
        evaluate_sets(real, odd, None, settings)


def test_a_synthetic_reference_is_refused(tmp_path: Path) -> None:
    real = read_folder(class_folders(tmp_path / "real", 1, count=4), 16)
    made = CellSet.from_arrays(real.pixels, real.labels, real.classes, origin="synthetic")
    settings = EvaluateSettings.model_validate(
        {"real": "r", "synthetic": "s", "encoder": {"kind": "domain", "classifier": {"steps": 2}}}
    )
    with pytest.raises(InputError, match="synthetic cells"):
        evaluate_sets(real, real, made, settings)
