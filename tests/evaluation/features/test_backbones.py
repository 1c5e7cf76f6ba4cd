"""Networks by name: their own features and preparation, from files; what is missing is named."""

import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import models, transforms

from cells.phantom import CLASSES, phantoms
from evaluation.features.backbones import Dinov2Settings, TimmSettings, TorchvisionSettings, build_backbone
from evaluation.features.encoders import build_encoder
from runtime.errors import InputError

CELLS = phantoms(dict.fromkeys(CLASSES[:2], 2), 40, 1)
NET = "shufflenet_v2_x0_5"
TINY = "test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(models.get_model(NET, weights=None).state_dict(), file)
    return file


@pytest.fixture(scope="module")
def timm_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(timm.create_model(TINY, pretrained=False).state_dict(), file)
    return file


def test_torchvision_gives_what_goes_into_the_last_layer(torchvision_file: Path, tmp_path: Path) -> None:
    encoder = build_encoder(TorchvisionSettings(model=NET, path=torchvision_file), cache=tmp_path)
    features = encoder.encode(CELLS)
    assert features.shape == (len(CELLS), 1024)
    network = models.get_model(NET, weights=None).eval()
    network.load_state_dict(torch.load(torchvision_file, weights_only=True))
    prepare = models.get_model_weights(NET)["DEFAULT"].transforms()
    with torch.inference_mode():
        logits = network(prepare(torch.from_numpy(CELLS.pixels.transpose(0, 3, 1, 2).copy())))
        ours = network.fc(torch.from_numpy(features))
    assert torch.allclose(ours, logits, rtol=1e-4, atol=1e-9) and np.ptp(features, axis=0).max() > 0
    assert "resize_size=[256]" in encoder.fingerprint["resize"]


def test_timm_prepares_as_the_weights_ask(timm_file: Path, tmp_path: Path) -> None:
    encoder = build_encoder(TimmSettings(model=TINY, path=timm_file), cache=tmp_path)
    network = timm.create_model(TINY, checkpoint_path=str(timm_file)).eval()
    prepare = transforms.Compose(
        timm.data.create_transform(**timm.data.resolve_model_data_config(network)).transforms
    )
    images = torch.stack([prepare(Image.fromarray(image)) for image in CELLS.pixels])
    with torch.inference_mode():
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
    assert encoder.encode(CELLS) == pytest.approx(expected.numpy(), abs=1e-5)
    assert "crop_pct" in encoder.fingerprint["resize"] and "160" in encoder.fingerprint["resize"]


def test_formats_of_the_same_weights_have_one_fingerprint(timm_file: Path, tmp_path: Path) -> None:
    network = timm.create_model(TINY, checkpoint_path=str(timm_file))
    torch.save({"state_dict": network.state_dict()}, tmp_path / "net.pth")
    one = build_backbone(TimmSettings(model=TINY, path=timm_file))
    other = build_backbone(TimmSettings(model=TINY, path=tmp_path / "net.pth"))
    assert one.fingerprint == other.fingerprint
    with torch.no_grad():
        next(network.parameters()).add_(1)
    save_file(network.state_dict(), tmp_path / "other.safetensors")
    changed = build_backbone(TimmSettings(model=TINY, path=tmp_path / "other.safetensors"))
    assert changed.fingerprint != one.fingerprint


def test_dinov2_from_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_small_patch14_dinov2.lvd142m", pretrained=False)  # of 518 px
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    encoder = build_backbone(Dinov2Settings(path=tmp_path))
    features = encoder.encode(CELLS.subset([0, 3]))
    assert features.shape == (2, 384) and np.abs(features[0] - features[1]).max() > 0
    assert "(3, 224, 224)" in encoder.fingerprint["resize"]
    assert encoder.name == "DINOv2 small"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (TorchvisionSettings(model="resnet51"), "no such classification network. Did you mean"),
        (TorchvisionSettings(model="resnet50", weights="V3"), "set it to one of IMAGENET1K_V1"),
        (TorchvisionSettings(model=NET, path=Path("absent.pth")), r"absent\.pth: no such file"),
        (TimmSettings(model="resnet51"), "timm has no such network. Did you mean"),
        (TimmSettings(model="resnet18.a1_in2k"), "no such weights of resnet18. Did you mean 'a1_in1k'"),
        (TimmSettings(model=TINY, path=Path("absent.pth")), r"absent\.pth: no such file"),
        (Dinov2Settings(path=Path(__file__).parent), r"model\.safetensors: no such file"),
    ],
)
def test_wrong_names_are_refused(settings: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_backbone(settings)


def test_networks_without_a_last_linear_layer_are_refused(tmp_path: Path) -> None:
    torch.save(models.get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "s.pth")
    with pytest.raises(InputError, match="does not end in a linear layer"):
        build_backbone(TorchvisionSettings(model="squeezenet1_1", path=tmp_path / "s.pth"))


class Evil:
    """What a pickle may hold."""


@pytest.mark.parametrize("content", ["garbage", "object", "list", "empty", "others"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, content: str, ending: str) -> None:
    file = tmp_path / f"weights{ending}"
    if content == "garbage":
        file.write_bytes(b"garbage" * 10)
    elif ending == ".safetensors":
        save_file({"a": torch.zeros(2)} if content != "empty" else {}, file)
    else:
        others = {"a": torch.zeros(2)}
        torch.save({"object": Evil(), "list": [1], "empty": {}, "others": others}[content], file)
    for settings in (TimmSettings(model=TINY, path=file), TorchvisionSettings(model=NET, path=file)):
        with pytest.raises(InputError, match=rf"weights\{ending}: (holds no|is no|not weights of)"):
            build_backbone(settings)


def test_offline_the_file_and_the_key_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(InputError, match=r"shufflenet\S+\.pth is missing .*no network.*set encoder\.path"):
        build_backbone(TorchvisionSettings(model=NET))
    with pytest.raises(InputError, match=r"model\.safetensors is missing .*timm/vit_small_patch14_dinov2"):
        build_backbone(Dinov2Settings())


def test_without_timm_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm.data", None)
    with pytest.raises(InputError, match="uv sync --extra timm"):
        build_backbone(TimmSettings(model=TINY))
