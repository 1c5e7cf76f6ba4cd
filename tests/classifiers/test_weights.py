"""Transfer learning: from a file, from our own classifiers, from a server; and what is refused."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from cells.phantom import CLASSES, phantoms
from classifiers.networks import NORMALIZATIONS, build_network
from classifiers.training import Classifier, ClassifierSettings
from classifiers.weights import begin_with
from runtime.errors import InputError

CELLS = phantoms(dict.fromkeys(CLASSES[:2], 3), 28, 1)
NET = "mobilenet_v2"
ENUM: Any = models.MobileNet_V2_Weights.DEFAULT


def settings(weights: object, **changes: Any) -> ClassifierSettings:
    plain = {"network": NET, "weights": str(weights), "steps": 1, "batch": 4, **changes}
    return ClassifierSettings.model_validate(plain)


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """What torchvision would publish: random weights, but of all thousand classes."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return models.get_model(NET, weights=None).state_dict()


@pytest.fixture(scope="module", params=["plain.pth", "wrapped.pth", "net.safetensors"])
def file(
    request: pytest.FixtureRequest, state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path: Path = tmp_path_factory.mktemp("weights") / request.param
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state, "epoch": 3} if "wrapped" in path.name else state, path)
    return path


def test_the_body_is_that_of_the_file_and_the_head_is_fresh(
    file: Path, state: dict[str, torch.Tensor]
) -> None:
    network, fresh = (build_network(NET, 2, None, seed=5) for _ in range(2))
    source = begin_with(network, settings(file))
    for name, tensor in network.body.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert torch.equal(network.head.weight, fresh.head.weight)
    assert network.normalization == NORMALIZATIONS["imagenet"]
    assert source == {"name": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def test_a_trained_one_is_whole_without_the_file(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    torch.save(state, file)
    net = Classifier(CELLS.classes, settings(file)).fit(CELLS, seed=0)
    assert net.origin["weights"]["name"] == str(file)
    net.save(tmp_path / "out")
    file.unlink()
    again = Classifier.load(tmp_path / "out")
    assert again.network.normalization == NORMALIZATIONS["imagenet"]
    np.testing.assert_array_equal(again.probabilities(CELLS), net.probabilities(CELLS))
    assert net.settings.peak_lr == pytest.approx(0.1 * ClassifierSettings(network=NET).peak_lr)


def test_another_classifier_of_ours_is_a_start_with_its_own_normalization(tmp_path: Path) -> None:
    first = ClassifierSettings(network="fast", width=4, steps=2, batch=4, normalization="medmnist")
    trained = Classifier(CELLS.classes, first).fit(CELLS, seed=0)
    trained.save(tmp_path)
    for start in (tmp_path, tmp_path / "weights.safetensors"):
        network = build_network("fast", 5, 4, seed=1)
        begin_with(network, first.model_copy(update={"weights": str(start), "normalization": "auto"}))
        assert network.head.out_features == 5
        assert network.normalization == NORMALIZATIONS["medmnist"]
        for name, tensor in network.body.state_dict().items():
            assert torch.equal(tensor, trained.network.body.state_dict()[name].cpu())


def test_fresh_weights_are_normalized_as_before_and_as_asked() -> None:
    assert ClassifierSettings().weights == "none"
    for asked, expected in (("auto", "cells"), ("medmnist", "medmnist")):
        recipe = ClassifierSettings(network="fast", width=4, steps=1, batch=4, normalization=asked)
        net = Classifier(CELLS.classes, recipe).fit(CELLS, seed=0)
        assert net.network.normalization == NORMALIZATIONS[expected]


class Evil:
    """Would leave a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def test_a_pickle_of_more_than_tensors_is_not_run(tmp_path: Path) -> None:
    torch.save({"net": Evil(tmp_path / "mark")}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match=r"evil\.pth: holds no tensors that can be read safely"):
        Classifier(CELLS.classes, settings(tmp_path / "evil.pth")).fit(CELLS, seed=0)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "nowhere.pth"}, r"nowhere\.pth: no such file; set classifier\.weights to a file"),
        ({"weights": "imagenet", "network": "fast"}, "no published weights of fast; take network=resnet18"),
        ({"weights": "imagenet", "width": 16}, "of width 32; leave classifier.width out"),
    ],
)
def test_what_cannot_be_had_is_refused(changes: dict[str, Any], message: str) -> None:
    recipe = settings(**changes)
    with pytest.raises(InputError, match=message):
        Classifier(CELLS.classes, recipe).fit(CELLS, seed=0)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match="not weights of mobilenet_v2"):
        Classifier(CELLS.classes, settings(tmp_path / "net.safetensors")).fit(CELLS, seed=0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a server that torchvision's address of the weights leads to."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, directory=str(folder), **more)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setattr(ENUM.value, "url", f"http://127.0.0.1:{http.server_port}/net-00000000.pth")
        yield folder
        http.shutdown()
        thread.join()


def publish(state: dict[str, torch.Tensor], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put weights under the name that torchvision gives them: with the begin of their digest."""
    torch.save(state, folder / "net.pth")
    digest = hashlib.sha256((folder / "net.pth").read_bytes()).hexdigest()[:8]
    path = (folder / "net.pth").rename(folder / f"net-{digest}.pth")
    monkeypatch.setattr(ENUM.value, "url", ENUM.value.url.replace("net-00000000.pth", path.name))
    return path


def test_imagenet_weights_are_downloaded_once_and_verified(
    server: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish(state, server, monkeypatch)
    for _ in range(2):
        network = build_network(NET, 2, None, seed=0)
        source = begin_with(network, settings("imagenet"))
        assert source == {"name": "MobileNet_V2_Weights.IMAGENET1K_V2"}
        assert torch.equal(network.body.state_dict()["features.0.0.weight"], state["features.0.0.weight"])
        published.unlink(missing_ok=True)  # the second time it comes from torch's folder


def test_a_torn_or_missing_download_says_which_file_goes_where(
    server: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    published = publish(state, server, monkeypatch)
    content = published.read_bytes()
    published.write_bytes(content[: len(content) // 2])
    said = rf"{published.name} is missing and cannot be downloaded .*set classifier\.weights to it, or train"
    network = build_network(NET, 2, None, seed=0)
    with pytest.raises(InputError, match=said):
        begin_with(network, settings("imagenet"))
    published.unlink()
    with pytest.raises(InputError, match=said):
        begin_with(network, settings("imagenet"))
    assert not list((tmp_path / "hub").rglob("*.pth"))
