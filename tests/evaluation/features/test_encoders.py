"""Encoders by file and by fit: right features, told apart by fingerprint, computed once."""

from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch_fidelity import feature_extractor_inceptionv3 as tf_inception
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from classifiers.training import Classifier, ClassifierSettings
from evaluation.features.encoders import (
    CachedEncoder,
    DomainSettings,
    InceptionSettings,
    OnnxSettings,
    build_encoder,
)
from evaluation.features.extractors import INCEPTION_FILE
from evaluation.features.inception_graph import enlarged
from evaluation.quality.fidelity import fidelity
from runtime.errors import InputError

CELLS = phantoms(dict.fromkeys(CLASSES, 4), 32, 1)
SMALL = ClassifierSettings(network="fast", steps=5, batch=16)


class Counting:
    """Mean color, and how often it was asked."""

    name = "counting"

    def __init__(self, weights: str = "0") -> None:
        self.calls = 0
        self.fingerprint: dict[str, Any] = {"encoder": "counting", "weights": weights}

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        self.calls += 1
        return cells.pixels.mean(axis=(1, 2), dtype=np.float32)


def test_features_are_computed_once_for_a_content_and_an_encoder(tmp_path: Path) -> None:
    inner = Counting()
    first = CachedEncoder(inner, tmp_path).encode(CELLS)
    same_content = CellSet.from_arrays(CELLS.pixels, CELLS.labels, CLASSES, names=["x"] * len(CELLS))
    assert np.array_equal(CachedEncoder(inner, tmp_path).encode(same_content), first)
    assert inner.calls == 1
    CachedEncoder(inner, tmp_path).encode(CELLS.subset(np.arange(len(CELLS))[::-1]))
    assert inner.calls == 1  # each cell is remembered by itself
    other = Counting("1")
    CachedEncoder(other, tmp_path).encode(CELLS)
    assert other.calls == 1


@pytest.mark.parametrize("damage", [b"", b"no database" * 100])
def test_a_damaged_cache_is_computed_anew(tmp_path: Path, damage: bytes) -> None:
    inner = Counting()
    first = CachedEncoder(inner, tmp_path).encode(CELLS)
    (file,) = tmp_path.rglob("*.sqlite")
    file.write_bytes(damage)
    assert np.array_equal(CachedEncoder(inner, tmp_path).encode(CELLS), first)
    assert inner.calls == 2
    assert [path.name for path in tmp_path.rglob("*.sqlite*")] == [file.name]  # nothing left aside


def test_domain_encoder_is_fitted_once_and_saved(tmp_path: Path) -> None:
    settings = DomainSettings(classifier=SMALL)
    first = build_encoder(settings, CELLS, 3, tmp_path)
    features = first.encode(CELLS)
    assert features.shape[0] == len(CELLS) and features.dtype == np.float32
    (weights,) = tmp_path.rglob("weights.safetensors")
    written = weights.stat().st_mtime_ns
    again = build_encoder(settings, CELLS, 3, tmp_path)
    assert again.fingerprint == first.fingerprint
    assert weights.stat().st_mtime_ns == written
    other = build_encoder(settings, CELLS, 4, tmp_path)
    assert other.fingerprint["weights"] != first.fingerprint["weights"]


def test_domain_encoder_from_a_folder(tmp_path: Path) -> None:
    classifier = Classifier(CLASSES, SMALL).fit(CELLS, seed=1)
    classifier.save(tmp_path / "judge")
    encoder = build_encoder(DomainSettings(path=tmp_path / "judge"), cache=tmp_path)
    assert encoder.encode(CELLS) == pytest.approx(classifier.features(CELLS), rel=1e-5, abs=1e-5)
    assert encoder.name == "domain CNN"


def test_domain_encoder_refuses_what_it_must_not_see(tmp_path: Path) -> None:
    made = CellSet.from_arrays(CELLS.pixels, CELLS.labels, CLASSES, origin="synthetic")
    with pytest.raises(InputError, match=r"encoder\.path"):
        build_encoder(DomainSettings(classifier=SMALL), None, cache=tmp_path)
    with pytest.raises(InputError, match="real cells only"):
        build_encoder(DomainSettings(classifier=SMALL), made, cache=tmp_path)


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of the right architecture."""
    file = tmp_path_factory.mktemp("inception") / INCEPTION_FILE
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf_inception, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        network = tf_inception.FeatureExtractorInceptionV3("random", ["2048"])
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # fresh ones do nothing, and folding them in is no feat
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(0, 0.1)
    torch.save(network.state_dict(), file)
    return file


def test_inception_gives_torch_fidelitys_features(inception_file: Path, tmp_path: Path) -> None:
    few = CELLS.subset([0, 5, 9])
    encoder = build_encoder(InceptionSettings(path=inception_file), cache=tmp_path)
    direct = tf_inception.FeatureExtractorInceptionV3(
        "direct", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(inception_file)
    )
    images = torch.from_numpy(few.pixels.transpose(0, 3, 1, 2).copy())
    found = [direct(image[None]) for image in images]  # another batch size
    one_by_one, logits = (torch.cat(part) for part in zip(*found, strict=True))
    features = encoder.encode(few)
    assert isinstance(encoder, CachedEncoder)
    assert encoder.logits(features) == pytest.approx(logits.numpy(), rel=1e-4, abs=1e-5)
    assert CachedEncoder(Counting(), tmp_path).logits(features) is None
    assert features.shape == (3, 2048)
    assert np.abs(features - one_by_one.numpy()).max() < 1e-5 < np.ptp(features)
    assert fidelity(few, few, encoder, floor_repeats=2)["name"] == "FID"


@pytest.mark.parametrize(("height", "width"), [(28, 28), (61, 40), (400, 400)])
def test_images_are_enlarged_as_torch_fidelity_does(height: int, width: int) -> None:
    """In shares of [-1, 1]; smaller and larger than the network's input, with the borders."""
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    expected = interpolate_bilinear_2d_like_tensorflow1x(images.float(), (299, 299), align_corners=False)
    assert (enlarged(images) - (expected - 128) / 128).abs().max() < 2e-6


def test_without_inception_weights_the_file_and_the_key_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(InputError, match=rf"{INCEPTION_FILE} is missing.*encoder\.path"):
        build_encoder(InceptionSettings(), cache=tmp_path)
    with pytest.raises(InputError, match=r"absent\.pth: no such file.*encoder\.path"):
        build_encoder(InceptionSettings(path=tmp_path / "absent.pth"), cache=tmp_path)


@pytest.mark.parametrize("content", ["garbage", "other weights", "a pickled object"])
def test_files_that_are_no_inception_weights_are_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "weights.pth"
    if content == "garbage":
        file.write_bytes(b"garbage")
    else:
        torch.save({"a": torch.zeros(2)} if content == "other weights" else Counting(), file)
    with pytest.raises(InputError, match=r"weights\.pth: not torch-fidelity's"):
        build_encoder(InceptionSettings(path=file), cache=tmp_path)


def field(number: int, content: bytes | int | str) -> bytes:
    """One protobuf field; lengths and numbers here stay below 128."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    data = content.encode() if isinstance(content, str) else content
    assert len(data) < 128 * 128
    size = [len(data)] if len(data) < 128 else [len(data) % 128 + 128, len(data) // 128]
    return bytes([number << 3 | 2, *size]) + data


def value_info(name: str, shape: list[int | str]) -> bytes:
    dims = b"".join(field(1, field(1 if isinstance(side, int) else 2, side)) for side in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def pooling_graph(file: Path, shape: list[int | str], kind: str = "GlobalAveragePool") -> Path:
    """An ONNX graph with one node, written by hand: the onnx package is not needed to run one."""
    node = field(1, "image") + field(2, "pooled") + field(4, kind)
    out: list[int | str] = [shape[0], shape[1], 1, 1] if kind == "GlobalAveragePool" else shape
    graph = field(1, node) + field(2, "g")
    graph += field(11, value_info("image", shape)) + field(12, value_info("pooled", out))
    file.write_bytes(field(1, 8) + field(8, field(2, 13)) + field(7, graph))
    return file


def test_onnx_of_fixed_batch_and_size(tmp_path: Path) -> None:
    """The last batch is filled up, and a map is averaged over its places."""
    file = pooling_graph(tmp_path / "pool.onnx", [5, 3, 16, 16])
    encoder = build_encoder(OnnxSettings(path=file), cache=tmp_path)
    features = encoder.encode(CELLS)
    assert features.shape == (len(CELLS), 3) and len(CELLS) % 5
    assert features == pytest.approx(CELLS.pixels.mean(axis=(1, 2)), abs=1.5)
    assert "16 px" in encoder.fingerprint["resize"]


@pytest.mark.parametrize(("name", "low", "high"), [("unit", 0, 1), ("imagenet", -2.2, 2.7)])
def test_onnx_input_ranges(tmp_path: Path, name: str, low: float, high: float) -> None:
    file = pooling_graph(tmp_path / "pool.onnx", ["n", 3, "h", "w"])
    settings = OnnxSettings.model_validate({"path": file, "input_range": name, "input_size": 32})
    features = build_encoder(settings, cache=tmp_path).encode(CELLS)
    expected = CELLS.pixels.mean(axis=(1, 2)) / 255
    if name == "imagenet":
        expected = (expected - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert features == pytest.approx(expected, abs=1e-3)
    assert low <= features.min() < features.max() <= high


@pytest.mark.parametrize(
    ("shape", "more", "words"),
    [
        ([1, 3, 16, 16], {"output": "poled"}, "Did you mean 'pooled'"),
        ([1, 3, 16, 16], {"input_size": 32}, "takes 16 px"),
        ([1, 1, 16, 16], {}, "not one float32 image"),
        ([1, 3, 16, 12], {}, "not one float32 image"),
    ],
)
def test_unfit_onnx_settings_are_refused(
    tmp_path: Path, shape: list[int | str], more: dict[str, Any], words: str
) -> None:
    file = pooling_graph(tmp_path / "pool.onnx", shape)
    with pytest.raises(InputError, match=words):
        build_encoder(OnnxSettings(path=file, **more), cache=tmp_path)


def test_missing_and_broken_onnx_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.onnx: no such file"):
        build_encoder(OnnxSettings(path=tmp_path / "no.onnx"), cache=tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"broken\.onnx: onnxruntime cannot open it"):
        build_encoder(OnnxSettings(path=tmp_path / "broken.onnx"), cache=tmp_path)


def test_onnx_encoder_of_imagenet(shared: Path, tmp_path: Path) -> None:
    file = shared / "weights" / "mobilenet_v1_075_imagenet.onnx"
    few = CELLS.subset([0, 1, 12])
    encoder = build_encoder(OnnxSettings(path=file), cache=tmp_path)
    features = encoder.encode(few)
    assert features.shape == (3, 768)
    assert "output features" in encoder.fingerprint["encoder"]
    assert "224 px" in encoder.fingerprint["resize"]
    assert np.ptp(features, axis=0).max() > 0.1  # cells are told apart
    logits = build_encoder(OnnxSettings(path=file, output="logits"), cache=tmp_path)
    assert logits.encode(few).shape == (3, 1000)
    assert logits.fingerprint != encoder.fingerprint
