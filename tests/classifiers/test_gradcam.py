"""Grad-CAM: the formula where it can be worked out, and a map from every kind of network."""

import pytest
import torch
from torch import nn

from classifiers.gradcam import SMALLEST_MAP, grad_cam
from classifiers.networks import NETWORKS, Network, build_network
from classifiers.small import Pool


def test_it_is_the_class_activation_map_where_the_head_follows_the_mean() -> None:
    """There the gradient of the logit is the head's weight over the number of places (section 3.1)."""
    torch.manual_seed(0)
    network = Network(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), Pool()), 4, 2).eval()
    images, labels = torch.rand(3, 3, 8, 8), torch.tensor([0, 1, 1])
    found = grad_cam(network, images, labels)
    maps = network.body[0]((images - 0.5) / 0.25).detach()
    expected = torch.einsum("nk,nkhw->nhw", network.head.weight[labels], maps).relu().detach()
    torch.testing.assert_close(found, expected / expected.amax(dim=(1, 2), keepdim=True))


def test_the_map_is_warm_where_the_evidence_is() -> None:
    network = Network(nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU(inplace=True), Pool()), 1, 2).eval()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(network.body[0].weight, 1.0)
    with torch.no_grad():
        network.head.weight[1] = 1.0
    images = torch.zeros(1, 3, 8, 8)
    images[..., 2:4, 5:7] = 1.0
    found = grad_cam(network, images, torch.tensor([1]))[0]
    assert torch.equal(found > 0, images[0, 0] > 0)
    assert not grad_cam(network, images, torch.tensor([0])).any()  # nothing speaks for it


@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in ("resnet50", "resnet18_3x3")])
def test_every_network_has_a_map_that_says_where(name: str) -> None:
    network = build_network(name, 3, None, seed=0).eval()
    size = max(NETWORKS[name].smallest, 28)
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    found = grad_cam(network, image.expand(3, -1, -1, -1), torch.arange(3))
    assert found.shape == (3, size, size)
    assert torch.isfinite(found).all() and found.min() >= 0 and found.max() <= 1
    assert max(len(map_of.unique()) for map_of in found) >= SMALLEST_MAP  # not one value all over
    assert all(parameter.grad is None for parameter in network.parameters())
