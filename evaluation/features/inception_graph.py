"""torch-fidelity's Inception as an ONNX graph, which onnxruntime runs faster on a CPU than torch does.

Same weights and same operations, with two rewritings that change no value beyond rounding: batch
normalization is folded into the convolution before it, and an average pooling that a 1x1 convolution
follows is done after it, on fewer channels (both are linear, and the mean of a constant is the constant).
"""

from collections.abc import Mapping
from typing import Any

import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch_fidelity.feature_extractor_inceptionv3 import BasicConv2d
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

INPUT, OUTPUT = "image", "features"
EDGE = 299
OPSET = 17
IR_VERSION = 8  # of that opset: older onnxruntimes read it

MIXED = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")

# The order in which torch-fidelity's forward calls its parts, up to the pooled features.
PARTS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
    *("MaxPool_2", *(f"Mixed_{part}" for part in MIXED)),
)


def inception_session(network: nn.Module, threads: int) -> onnxruntime.InferenceSession:
    """A session that maps what `enlarged` gives, (n, 3, 299, 299), to the pooled features, (n, 2048).

    Args:
        network: torch-fidelity's `FeatureExtractorInceptionV3`.
        threads: Of the session.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    content = inception_graph(network).SerializeToString()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def inception_graph(network: nn.Module) -> onnx.ModelProto:
    """The graph, weights included.

    Args:
        network: torch-fidelity's `FeatureExtractorInceptionV3`.
    """
    graph = _Graph()
    value = INPUT
    for name in PARTS:
        value = graph.part(network.get_submodule(name), value)
    value = graph.node("GlobalAveragePool", [value])
    graph.nodes.append(helper.make_node("Flatten", [value], [OUTPUT], axis=1))
    return graph.model()


def enlarged(images: Tensor) -> Tensor:
    """What torch-fidelity does before its first layer, as two matrix products.

    Its resize is linear, and rows and columns are treated alike but apart: resizing a unit matrix with
    its own function gives the weights.

    Args:
        images: uint8, shape (n, 3, h, w).

    Returns:
        float32, shape (n, 3, 299, 299), about [-1, 1].
    """
    rows, columns = (_weights(edge).to(images.device) for edge in images.shape[2:])
    return ((rows @ images.float() @ columns.T) - 128) / 128


def _weights(edge: int) -> Tensor:
    """The share of each of `edge` pixels in each of the 299, shape (299, edge)."""
    unit = torch.eye(edge).view(1, 1, edge, edge)
    resized: Tensor = interpolate_bilinear_2d_like_tensorflow1x(unit, size=(EDGE, edge), align_corners=False)
    return resized[0, 0]


class _Tracer(fx.Tracer):
    """Writes down a block's forward with its convolutions whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, BasicConv2d)


class _Graph:
    """Nodes and weights as they are added; values go by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def model(self) -> onnx.ModelProto:
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["n", 3, EDGE, EDGE])
        features = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", 2048])
        graph = helper.make_graph(self.nodes, "inception", [image], [features], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def part(self, module: nn.Module, value: str) -> str:
        """A convolution, a pooling or a block of them."""
        if isinstance(module, BasicConv2d):
            return self.node("Relu", [self._convolution(module, value)])
        if isinstance(module, nn.MaxPool2d):
            sizes = (module.kernel_size, module.stride, module.padding)
            return self.node("MaxPool", [value], **_window(*sizes))
        return self._block(module, value)

    def _block(self, module: nn.Module, value: str) -> str:
        """Follow the block's own forward."""
        names: dict[fx.Node, str] = {}
        postponed: dict[fx.Node, fx.Node] = {}  # an average pooling and what it pools
        for node in _Tracer().trace(module).nodes:
            first: Any = node.args[0] if node.args else None
            if node.op == "placeholder":
                names[node] = value
            elif node.op == "output":
                return names[first]
            elif node.target is functional.avg_pool2d:
                postponed[node] = first
            elif node.op == "call_module" and first in postponed:
                convolved = self._convolution(module.get_submodule(node.target), names[postponed[first]])
                names[node] = self.node("Relu", [self._averaged(convolved, first.kwargs)])
            elif node.op == "call_module":
                names[node] = self.part(module.get_submodule(node.target), names[first])
            elif node.target is torch.cat:
                names[node] = self.node("Concat", [names[one] for one in first], axis=1)
            else:  # max_pool2d: its kernel is the second argument
                window = _window(node.args[1], node.kwargs["stride"], node.kwargs["padding"])
                names[node] = self.node("MaxPool", [names[first]], **window)
        raise ValueError(f"{type(module).__name__} has no output.")

    def _averaged(self, value: str, asked: Mapping[str, Any]) -> str:
        window = _window(asked["kernel_size"], asked["stride"], asked["padding"])
        return self.node("AveragePool", [value], count_include_pad=int(asked["count_include_pad"]), **window)

    def _convolution(self, module: nn.Module, value: str) -> str:
        """With its batch normalization folded in, without its ReLU."""
        assert isinstance(module, BasicConv2d)
        conv = fuse_conv_bn_eval(module.conv, module.bn)
        name = f"w{len(self.weights)}"
        for kind, tensor in (("weight", conv.weight), ("bias", conv.bias)):
            array = tensor.detach().cpu().numpy()
            self.weights.append(numpy_helper.from_array(array, f"{name}.{kind}"))
        window = _window(conv.kernel_size, conv.stride, conv.padding)
        return self.node("Conv", [value, f"{name}.weight", f"{name}.bias"], **window)


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, list[int]]:
    """Attributes of a convolution or pooling, from numbers or pairs of them."""
    kernel, stride, padding = (list(x) if isinstance(x, tuple) else [x, x] for x in (kernel, stride, padding))
    return {"kernel_shape": kernel, "strides": stride, "pads": padding * 2}
