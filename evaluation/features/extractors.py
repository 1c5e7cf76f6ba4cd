"""Networks from files, as encoders: torch-fidelity's Inception, and any ONNX graph."""

import hashlib
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
from torch.nn import functional
from torch_fidelity.feature_extractor_inceptionv3 import (
    URL_INCEPTION_V3,
    FeatureExtractorInceptionV3,
)

from cells.cellset import CellSet
from evaluation.features.inception_graph import INPUT, OUTPUT, enlarged, inception_session
from runtime.devices import pick_device
from runtime.errors import InputError, suggest
from runtime.progress import progress

BATCH = 32
CPU_BATCH = 8  # no slower than larger ones, and a layer's values stay small
INCEPTION_FILE = URL_INCEPTION_V3.rsplit("/", 1)[1]
INCEPTION_FEATURES = "2048"

# Mean and deviation of ImageNet's pixels in [0, 1], as torchvision publishes them.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)

_ONNX_FAILURES = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.NotImplemented,
    onnx_errors.RuntimeException,
)


class InceptionNetwork:
    """torch-fidelity's Inception-v3: bytes in, the 2048 pooled features out.

    Args:
        path: Weights; None takes them from torch's hub folder, downloading them once.

    Raises:
        InputError: If the weights are not there, cannot be downloaded or do not fit.
    """

    name = "Inception"

    def __init__(self, path: Path | None = None) -> None:
        file = path if path is not None else _downloaded()
        if not file.is_file():
            raise InputError(f"{file}: no such file; set encoder.path to {INCEPTION_FILE}.")
        self.fingerprint: dict[str, Any] = {
            "encoder": self.name,
            "weights": file_sha256(file)[:16],
            "resize": "bilinear to 299 px as in TensorFlow 1",
        }
        self.device = pick_device()
        self.network = _inception(file).to(self.device)
        self.session: onnxruntime.InferenceSession | None = None  # made by the first call

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, 2048); on a CPU by onnxruntime, equal but for rounding (about 1e-6)."""
        features = np.zeros((len(cells), int(INCEPTION_FEATURES)), np.float32)
        batch = CPU_BATCH if self.device.type == "cpu" else BATCH
        run = self._on_cpu if self.device.type == "cpu" else self._on_device
        with progress(len(cells), "Inception features") as bar, torch.inference_mode():
            for start in range(0, len(cells), batch):
                images = _images(cells, start, batch)  # (b, 3, h, w) uint8
                features[start : start + batch] = run(images)  # (b, 2048)
                bar.update(len(images))
        return features

    def _on_cpu(self, images: torch.Tensor) -> NDArray[np.float32]:
        if self.session is None:
            self.session = inception_session(self.network, torch.get_num_threads())
        (encoded,) = self.session.run([OUTPUT], {INPUT: enlarged(images).numpy()})
        return np.asarray(encoded)

    def _on_device(self, images: torch.Tensor) -> NDArray[np.float32]:
        (encoded,) = self.network(images.to(self.device))
        return np.asarray(encoded.cpu().numpy())

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class logits without bias, shape (n, 1008), of what `encode` gave, for the inception score."""
        with torch.inference_mode():
            x = torch.from_numpy(np.asarray(features, dtype=np.float32)).to(self.device)
            return (x @ self.network.get_parameter("fc.weight").T).cpu().numpy()


class OnnxNetwork:
    """An ONNX graph with one image input, run by onnxruntime.

    Args:
        path: The file.
        output: Name of the output; None takes ``features``, else the first.
        input_size: Edge in pixels; None takes the model's, else 224.
        input_range: ``byte``, ``unit`` or ``imagenet``.

    Raises:
        InputError: If the file is missing, is no ONNX graph, or has no such input or output.
    """

    def __init__(
        self,
        path: Path,
        output: str | None = None,
        input_size: int | None = None,
        input_range: str = "byte",
    ) -> None:
        self.path = path
        self.session = _session(path)
        self.input, self.batch, edge = _image_input(self.session, path)
        if edge is not None and input_size not in (None, edge):
            raise InputError(f"encoder.input_size={input_size}: {path.name} takes {edge} px; leave it out.")
        self.size = edge or input_size or 224
        self.output = _output(self.session, path, output)
        self.input_range = input_range
        self.name = path.name
        self.fingerprint: dict[str, Any] = {
            "encoder": f"ONNX {path.name}, output {self.output}",
            "weights": file_sha256(path)[:16],
            "resize": f"antialiased bilinear to {self.size} px, {input_range}",
        }

    def encode(self, cells: CellSet) -> NDArray[np.float32]:
        """Features, shape (n, d); a feature map is averaged over its places."""
        rows = []
        with progress(len(cells), f"{self.name} features") as bar:
            for start in range(0, len(cells), self.batch or BATCH):
                images = _images(cells, start, self.batch or BATCH)  # (b, 3, h, w)
                rows.append(self._run(self._prepared(images)))  # (b, d)
                bar.update(len(images))
        return np.concatenate(rows) if rows else np.zeros((0, 1), np.float32)

    def _prepared(self, images: torch.Tensor) -> NDArray[np.float32]:
        x = functional.interpolate(
            images.float(), (self.size, self.size), mode="bilinear", antialias=True
        ).clamp(0, 255)
        if self.input_range != "byte":
            x = x / 255
        if self.input_range == "imagenet":
            mean, deviation = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_DEVIATION)
            x = (x - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
        return x.numpy()

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        count = len(x)
        if self.batch is not None:  # a graph of fixed batch: fill up, and drop the surplus
            x = np.concatenate([x, np.repeat(x[-1:], self.batch - count, axis=0)])
        try:
            (encoded,) = self.session.run([self.output], {self.input: x})
        except _ONNX_FAILURES as error:
            raise InputError(
                f"{self.path}: does not run on images of {self.size} px "
                f"({_first_line(error)}); set encoder.input_size to what it was made for."
            ) from None
        features = np.asarray(encoded[:count], dtype=np.float32)
        if features.ndim == 4:
            features = features.mean(axis=(2, 3))
        if features.ndim != 2 or len(features) != count:
            raise InputError(
                f"{self.path}: output '{self.output}' has shape {features.shape}, not (n, d); "
                "set encoder.output to another one."
            )
        return features


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _images(cells: CellSet, start: int, batch: int = BATCH) -> torch.Tensor:
    pixels = cells.pixels[start : start + batch]
    return torch.from_numpy(np.array(pixels.transpose(0, 3, 1, 2), order="C"))


def _downloaded() -> Path:
    """The published weights, from torch's hub folder."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if file.is_file():
        return file
    prefix = INCEPTION_FILE.rsplit("-", 1)[1].removesuffix(".pth")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            URL_INCEPTION_V3, str(file), hash_prefix=prefix, progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError) as error:  # no network, or a damaged download
        raise InputError(
            f"{INCEPTION_FILE} is missing and cannot be downloaded ({_first_line(error)}); fetch "
            "it from torch-fidelity's releases and set encoder.path to it, or take another encoder."
        ) from None
    return file


def _inception(file: Path) -> torch.nn.Module:
    """Weights only: torch-fidelity itself would unpickle whatever the file holds."""
    try:
        torch.load(file, map_location="cpu", weights_only=True)
        network: torch.nn.Module = FeatureExtractorInceptionV3(
            "rarecell", [INCEPTION_FEATURES], feature_extractor_weights_path=str(file)
        )
    except (RuntimeError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{file}: not torch-fidelity's Inception weights ({_first_line(error)}); "
            f"set encoder.path to {INCEPTION_FILE}."
        ) from None
    return network.eval()


def _session(path: Path) -> onnxruntime.InferenceSession:
    if not path.is_file():
        raise InputError(f"{path}: no such file; set encoder.path to an ONNX file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _ONNX_FAILURES as error:
        raise InputError(
            f"{path}: onnxruntime cannot open it ({_first_line(error)}); set encoder.path to a "
            "valid ONNX file."
        ) from None


def _image_input(session: onnxruntime.InferenceSession, path: Path) -> tuple[str, int | None, int | None]:
    """Name, fixed batch and fixed edge (None where open) of the image input."""
    inputs = session.get_inputs()
    first = inputs[0]
    shape = list(first.shape)
    fits = len(inputs) == 1 and first.type == "tensor(float)" and len(shape) == 4
    if not fits or (isinstance(shape[1], int) and shape[1] != 3) or _edge(shape) == -1:
        described = ", ".join(f"{x.name} {x.type} {list(x.shape)}" for x in inputs)
        raise InputError(
            f"{path}: its input is {described}, not one float32 image (n, 3, h, h); "
            "set encoder.path to an image encoder."
        )
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    return first.name, batch, _edge(shape)


def _edge(shape: list[Any]) -> int | None:
    """The square's edge, None where the graph leaves it open, -1 where it is not square."""
    height, width = (side if isinstance(side, int) and side > 0 else None for side in shape[2:])
    if height is not None and width is not None and height != width:
        return -1
    return height if height is not None else width


def _output(session: onnxruntime.InferenceSession, path: Path, wanted: str | None) -> str:
    names = [str(output.name) for output in session.get_outputs()]
    if wanted is not None and wanted not in names:
        raise InputError(f"encoder.output={wanted}: no such output of {path.name}.{suggest(wanted, names)}")
    return wanted or ("features" if "features" in names else names[0])


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(".") if lines else type(error).__name__
