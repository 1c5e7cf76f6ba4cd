from functools import cache

import pytest
import torch
from torch import nn
from torchvision import models

from classifiers.networks import NETWORKS, NORMALIZATIONS, Network, build_network, check_size
from runtime.errors import InputError

WIDTHS = {"small_resnet": 4, "fast": 4, "convnet": 4, "mobilenet_v2": 8}
LARGE = ("resnet18_3x3", "resnet50", "vgg19_bn", "efficientnet_b0", "convnext_tiny")
QUICK = [name for name in NETWORKS if name not in LARGE]


@cache
def built(name: str, seed: int = 0) -> Network:
    """One network for several tests, which leave its weights alone: large ones take long to draw."""
    return build_network(name, 3, WIDTHS.get(name), seed)


def sizes() -> list[tuple[str, int]]:
    """Large networks at their smallest size only, where most can go wrong."""
    edges = {name: [28, 32, 45, 64] if name in QUICK else [NETWORKS[name].smallest, 45] for name in NETWORKS}
    return [(name, size) for name, found in edges.items() for size in found]


@pytest.mark.parametrize(("name", "size"), sizes())
def test_logits_of_any_size_from_the_smallest(name: str, size: int) -> None:
    network = built(name).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 3, size, size)).shape == (2, 3)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_smallest_size_is_enough_to_train(name: str) -> None:
    size = NETWORKS[name].smallest
    check_size(name, size)
    network = built(name).train()
    network(torch.rand(2, 3, size, size)).sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in gradients)
    network.zero_grad(set_to_none=True)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_too_small_an_image_is_refused_with_the_number(name: str) -> None:
    smallest = NETWORKS[name].smallest
    with pytest.raises(InputError, match=rf"at least {smallest} px, these have {smallest - 1} px"):
        check_size(name, smallest - 1)


@pytest.mark.parametrize("name", ["vgg19_bn", "convnext_tiny", "convnet"])
def test_below_the_smallest_size_no_map_is_left(name: str) -> None:
    size = NETWORKS[name].smallest - 1
    with pytest.raises(RuntimeError):
        built(name).eval()(torch.rand(2, 3, size, size))


@pytest.mark.parametrize("name", QUICK)
def test_weights_follow_the_seed_and_leave_the_global_state(name: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, same, other = (build_network(name, 3, WIDTHS.get(name), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    for left, right in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_head_reads_the_features(name: str) -> None:
    network = built(name).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        features = network.features(images)
        assert features.shape == (2, network.head.in_features)
        torch.testing.assert_close(network.head(features), network(images))


@pytest.mark.parametrize("name", list(WIDTHS))
def test_width_sets_the_size_of_the_network(name: str) -> None:
    def parameters(width: int | None) -> int:
        return sum(p.numel() for p in build_network(name, 8, width, seed=0).parameters())

    assert parameters(8) < parameters(16) < parameters(48)
    assert parameters(None) == parameters(NETWORKS[name].width)


def test_small_resnet_has_two_convolutions_a_block_and_halves_twice() -> None:
    network = build_network("small_resnet", 8, 16, seed=0)
    kernels = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [m.out_channels for m in kernels] == [16, 16, 16, 32, 32, 64, 64]
    assert sum(m.stride == (2, 2) for m in kernels) == 2


def test_resnet18_3x3_is_that_of_medmnist() -> None:
    """Full resolution through the stem, then 28, 14, 7 and 4 px; 11.17 million weights at 8 classes."""
    network = build_network("resnet18_3x3", 8, None, seed=0)
    assert sum(p.numel() for p in network.parameters()) == 11_172_936
    edges = []
    for stage in ("layer1", "layer2", "layer3", "layer4"):
        layer = network.body.get_submodule(stage)
        layer.register_forward_hook(lambda _, inputs, out: edges.append((out.shape[1], out.shape[2])))
    with torch.inference_mode():
        network.eval()(torch.rand(1, 3, 28, 28))
    assert edges == [(64, 28), (128, 14), (256, 7), (512, 4)]


@pytest.mark.parametrize("name", [name for name in NETWORKS if NETWORKS[name].published])
def test_bodies_have_the_weights_of_torchvision_s_networks(name: str) -> None:
    """So that published ones fit: all but those of the last layer."""
    architecture = NETWORKS[name]
    assert architecture.published is not None
    with torch.device("meta"):
        whole = models.get_model(architecture.published, weights=None).state_dict()
    kept = {key: value.shape for key, value in whole.items() if not key.startswith(architecture.last)}
    body = build_network(name, 3, None, seed=0).body.state_dict() if name in WIDTHS else built(name).body
    ours = body if isinstance(body, dict) else body.state_dict()
    assert {key: value.shape for key, value in ours.items()} == kept


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in WIDTHS])
def test_a_fixed_width_is_said(name: str) -> None:
    with pytest.raises(InputError, match=r"width = 16.*leave width out"):
        build_network(name, 3, 16, seed=0)


def test_an_unknown_network_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        build_network("resnet-18", 3, None, seed=0)
    with pytest.raises(InputError, match="Did you mean 'vgg19_bn'"):
        build_network("vgg19", 3, None, seed=0)


def test_pixels_are_normalized_by_mean_and_spread() -> None:
    network = Network(nn.Flatten(), 3, 2)
    pixel = torch.tensor([0.1, 0.5, 0.9]).reshape(1, 3, 1, 1)
    assert network.features(pixel).flatten().tolist() == pytest.approx([-1.6, 0.0, 1.6])
    network.normalize_by(NORMALIZATIONS["imagenet"])
    expected = [(0.1 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.9 - 0.406) / 0.225]
    assert network.features(pixel).flatten().tolist() == pytest.approx(expected)
    assert network.normalization == NORMALIZATIONS["imagenet"]
    assert "center" not in network.state_dict()
