"""torchvision's networks as bodies: their last linear layer taken off."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models import vgg

from classifiers.small import Body, Pool
from runtime.errors import InputError


def resnet(name: str) -> Callable[[int], Body]:
    """ResNet-18 or ResNet-50 [1512.03385]: a stem that quarters the edge, then four stages."""

    def build(width: int) -> Body:
        body = _made(name, width, 64)
        return _without(body, "fc")

    return build


def resnet18_3x3(width: int) -> Body:
    """ResNet-18 for 28 px as MedMNIST trains it: a 3×3 stem at full resolution and no pooling after it.

    Convolutions begin as PyTorch's own, which is what that code leaves them at.

    Source:
        Yang et al. 2023, doi 10.1038/s41597-022-01721-8, "Baseline methods"; the stem is that of He et
        al. 2016, arXiv:1512.03385, section 4.2.
    """
    body = _made("resnet18", width, 64)
    body.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    body.maxpool = nn.Identity()
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return _without(body, "fc")


def mobilenet_v2(width: int) -> Body:
    """MobileNetV2 [1801.04381]; the width is that of its stem, 32 in the paper."""
    body = models.mobilenet_v2(weights=None, width_mult=width / 32)
    body.classifier = nn.Identity()
    return body, body.last_channel


def vgg19_bn(width: int) -> Body:
    """VGG-19's sixteen convolutions [1409.1556] with batch normalization, then the mean over the map.

    Its three large linear layers, 120 million weights made for 224 px, are left out. Without batch
    normalization a VGG-19 hardly trains from fresh weights.
    """
    _check_width("vgg19_bn", width, 64)
    features = vgg.make_layers(vgg.cfgs["E"], batch_norm=True)
    for layer in features:
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:  # as torchvision begins them
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return nn.Sequential(OrderedDict(features=features, pool=Pool())), 512


def efficientnet_b0(width: int) -> Body:
    """EfficientNet-B0 [1905.11946]."""
    body = _made("efficientnet_b0", width, 32)
    features = body.classifier[1].in_features
    body.classifier = nn.Identity()
    return body, features


def convnext_tiny(width: int) -> Body:
    """ConvNeXt-Tiny [2201.03545]; the layer norm before its last layer stays."""
    body = _made("convnext_tiny", width, 96)
    features = body.classifier[2].in_features
    body.classifier[2] = nn.Identity()
    return body, features


def _made(name: str, width: int, own: int) -> Any:
    _check_width(name, width, own)
    return models.get_model(name, weights=None)


def _check_width(name: str, width: int, own: int) -> None:
    if width != own:
        raise InputError(
            f"classifier.width = {width}: torchvision's {name} comes at width {own} only; leave "
            "width out, or use network=small_resnet, whose width is free."
        )


def _without(body: Any, last: str) -> Body:
    """The network with nothing in the place of its last layer, and how many features went into that."""
    features = getattr(body, last).in_features
    setattr(body, last, nn.Identity())
    return body, features
