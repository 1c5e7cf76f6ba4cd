"""Networks by name as encoders: any of torchvision's or timm's, DINOv2 among them.

Each sees cells as its weights ask for it: their own resize, crop and normalization, which are in the
fingerprint. Weights come from a file or are downloaded once; a pickle of more than tensors is refused.
"""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from cells.cellset import CellSet
from cells.images import to_bytes
from evaluation.features.codecs import CodecSettings
from evaluation.features.digests import network_digest
from runtime.devices import pick_device
from runtime.errors import InputError, suggest
from runtime.progress import progress
from runtime.states import first_line, missing, read_state, torchvision_state

BATCH = 32
DINOV2_EDGE = 224  # as in Stein et al., 2306.04675; the network was finished at 518
HUB_FILE = "model.safetensors"
PATH, INSTEAD = "encoder.path", "take another encoder"  # for errors: the key of a file; what else to do
Prepare = Callable[[NDArray[np.uint8]], Tensor]  # (b, h, w, 3) to (b, 3, h', w')

# Their weights expect an input that is normalized once more inside; drawing random ones takes long.
_REMADE = {"googlenet", "inception_v3"}


class TorchvisionSettings(CodecSettings):
    """A classification network of torchvision: what goes into its last layer.

    Attributes:
        model: Its name there, such as ``resnet50``.
        weights: Name of the weights, such as ``IMAGENET1K_V2``, which also say how images are prepared.
        path: Their file, .pth or .safetensors; None downloads it once.
    """

    kind: Literal["torchvision"] = "torchvision"
    model: str
    weights: str = "DEFAULT"
    path: Path | None = None


class TimmSettings(CodecSettings):
    """A network of timm without its classifier.

    Attributes:
        model: Its name there, such as ``resnet50.a1_in1k``.
        path: Its weights, .safetensors or .pth; None downloads them once.
    """

    kind: Literal["timm"] = "timm"
    model: str
    path: Path | None = None


class Dinov2Settings(CodecSettings):
    """DINOv2 (Oquab et al., 2304.07193) by timm, at 224 px: the class token's features.

    Attributes:
        size: ``small`` (384 features), ``base`` (768), ``large`` (1024) or ``giant`` (1536).
        path: Weights in timm's or in the authors' layout, or a folder with timm's ``model.safetensors``;
            None downloads them once.
    """

    kind: Literal["dinov2"] = "dinov2"
    size: Literal["small", "base", "large", "giant"] = "small"
    path: Path | None = None


BackboneSettings = TorchvisionSettings | TimmSettings | Dinov2Settings


class Backbone:
    """A network that maps prepared images to features.

    Args:
        name: In words, for tables.
        network: (b, 3, h', w') to (b, d).
        prepare: What it does to bytes first.
        preparation: The same in words, for the fingerprint.
    """

    def __init__(self, name: str, network: nn.Module, prepare: Prepare, preparation: str) -> None:
        self.name = name
        self.prepare = prepare
        self.device = pick_device()
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.fingerprint: dict[str, Any] = {
            "encoder": name,
            "weights": network_digest(network),
            "resize": preparation,
        }

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, d)."""
        rows = []
        with progress(len(cells), f"{self.name} features") as bar, torch.inference_mode():
            for start in range(0, len(cells), BATCH):
                images = self.prepare(np.asarray(cells.pixels[start : start + BATCH])).to(self.device)
                features = self.network(images)
                if features.ndim != 2:
                    raise InputError(
                        f"{self.name}: gives features of shape {tuple(features.shape)}, not (n, d); "
                        "set encoder.model to another network."
                    )
                rows.append(features.float().cpu().numpy())
                bar.update(len(images))
        return np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)


def build_backbone(settings: BackboneSettings) -> Backbone:
    """The network that the settings name, with its weights.

    Raises:
        InputError: If there is no such network, its weights are missing or do not fit, or timm is absent.
    """
    if isinstance(settings, TorchvisionSettings):
        return _torchvision(settings)
    if isinstance(settings, TimmSettings):
        return _timm(settings.model, settings.path, settings.model)
    path = settings.path
    if path is not None and path.is_dir():
        path = path / HUB_FILE
    name = f"vit_{settings.size}_patch14_dinov2.lvd142m"
    return _timm(name, path, f"DINOv2 {settings.size}", img_size=DINOV2_EDGE)


def _torchvision(settings: TorchvisionSettings) -> Backbone:
    names = models.list_models(module=models)
    if settings.model not in names:
        raise InputError(
            f"encoder.model={settings.model}: torchvision has no such classification network."
            f"{suggest(settings.model, names)}"
        )
    options = models.get_model_weights(settings.model).__members__
    if settings.weights not in options:
        raise InputError(
            f"encoder.weights={settings.weights}: no such weights of {settings.model}; "
            f"set it to one of {', '.join(options)}."
        )
    weights = options[settings.weights]
    more = {"transform_input": True, "init_weights": False} if settings.model in _REMADE else {}
    network = models.get_model(settings.model, weights=None, **more)
    state = _torchvision_state(weights, settings)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(_unfit(settings.path, settings.model, error)) from None
    _behead(network, len(weights.meta["categories"]), settings.model)
    transforms = weights.transforms()
    preparation = re.sub(r"\s+", " ", f"torchvision {transforms}")
    return Backbone(settings.model, network, lambda pixels: transforms(to_bytes(pixels)), preparation)


def _torchvision_state(weights: Any, settings: TorchvisionSettings) -> dict[str, Tensor]:
    if settings.path is not None:
        return read_state(settings.path, PATH)
    return torchvision_state(weights, PATH, INSTEAD)


def _behead(network: nn.Module, classes: int, name: str) -> None:
    """Put nothing in the place of the last linear layer, whose outputs are the classes."""
    layers = [(path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Linear)]
    if not layers or layers[-1][1].out_features != classes:
        raise InputError(f"encoder.model={name}: does not end in a linear layer; take another network.")
    parent, _, last = layers[-1][0].rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())


def _timm(model: str, path: Path | None, name: str, **more: Any) -> Backbone:
    timm = _timm_library()
    config = _timm_config(timm, model)
    file = path if path is not None else _fetched(model, config)
    if not file.is_file():
        raise InputError(f"{file}: no such file; set encoder.path to the weights of {model}.")
    # Read here, so that no way of timm's to read a file is taken; it still converts layouts.
    overlay = {"state_dict": read_state(file, PATH), "custom_load": False}
    try:
        network = timm.create_model(model, pretrained=True, pretrained_cfg_overlay=overlay, **more)
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise InputError(_unfit(path, model, error)) from None
    network.reset_classifier(0)
    asked = timm.data.resolve_data_config(more, model=network)
    transform = timm.data.create_transform(**asked, is_training=False)

    def prepare(pixels: NDArray[np.uint8]) -> Tensor:
        return torch.stack([transform(Image.fromarray(image)) for image in pixels])

    preparation = "timm " + ", ".join(f"{key} {value}" for key, value in sorted(asked.items()))
    return Backbone(name, network, prepare, preparation)


def _timm_library() -> Any:
    try:
        importlib.import_module("timm.data")
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        raise InputError(
            f"encoder.kind=timm and dinov2 need the package timm ({error}); run `uv sync --extra timm`."
        ) from None


def _timm_config(timm: Any, model: str) -> Any:
    """What timm knows of the weights of a name."""
    architecture, _, tag = model.partition(".")
    if not timm.is_model(architecture):
        raise InputError(
            f"encoder.model={model}: timm has no such network.{suggest(architecture, timm.list_models())}"
        )
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        raise InputError(
            f"encoder.model={model}: timm has no such weights of {architecture}.{suggest(tag, tags)}"
        )
    return timm.models.get_pretrained_cfg(model)


def _fetched(model: str, config: Any) -> Path:
    """The weights from the hub's cache, downloaded once; in safetensors only."""
    hub = getattr(config, "hf_hub_id", None)
    if not hub:
        raise InputError(
            f"encoder.model={model}: timm publishes no weights of it; set encoder.path to a file."
        )
    repository = str(hub) if not str(hub).endswith("/") else f"{hub}{model}"
    try:
        return Path(huggingface_hub.hf_hub_download(repository, HUB_FILE))
    except Exception as error:  # its HTTP client has its own errors, which changed between versions
        where = f"the Hugging Face repository {repository}"
        raise InputError(missing(HUB_FILE, where, error, PATH, INSTEAD)) from None


def _unfit(path: Path | None, model: str, error: BaseException) -> str:
    return (
        f"{path or 'the weights'}: not weights of {model} ({first_line(error)}); set encoder.path to "
        "its file, or encoder.model to what the file is of."
    )
