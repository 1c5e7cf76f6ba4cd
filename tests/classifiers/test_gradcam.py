"""Grad-CAM: the formula where it can be worked out, and a map from every kind of network."""

import pytest
import torch
from torch import nn

from classifiers.gradcam import SMALLEST_MAP, grad_cam
from classifiers.networks import NETWORKS, STACK_NETWORKS, Network, build_network
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


class Mean(nn.Module):
    """Over depth and places."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.mean(dim=(2, 3, 4))


class Swap(nn.Module):
    """Channels before depth."""

    def forward(self, stacks: torch.Tensor) -> torch.Tensor:
        return stacks.transpose(1, 2)


class Each(nn.Module):
    """Of each image the mean brightness, as a feature of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 1, 1), nn.ReLU())

    def forward(self, stacks: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layers(stacks.flatten(0, 1)).mean(dim=(1, 2, 3))
        return found.unflatten(0, stacks.shape[:2])


def test_of_a_3_d_network_it_is_the_class_activation_map_of_the_stack() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(Swap(), nn.Conv3d(3, 4, 3, padding=1), Mean())
    network = Network(body, 4, 2).eval()
    stacks, labels = torch.rand(3, 5, 3, 8, 8), torch.tensor([0, 1, 1])
    found = grad_cam(network, stacks, labels)
    maps = body[1](((stacks - 0.5) / 0.25).transpose(1, 2)).detach()
    expected = torch.einsum("nk,nkdhw->ndhw", network.head.weight[labels], maps).relu().detach()
    torch.testing.assert_close(found, expected / expected.amax(dim=(1, 2, 3), keepdim=True))


def test_of_a_network_that_reads_image_by_image_each_has_its_own_map() -> None:
    network = Network(Each(), 3, 2).eval()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(network.body.layers[0].weight, 1.0)
    with torch.no_grad():
        network.head.weight[1, 2] = 1.0  # the third image speaks for class 1
        network.head.weight[1, 0] = 0.5
    stacks = torch.zeros(1, 3, 3, 8, 8)
    stacks[..., 2:4, 5:7] = 1.0
    found = grad_cam(network, stacks, torch.tensor([1]))[0]
    assert torch.equal(found[2], stacks[0, 2, 0]) and torch.equal(found[0], stacks[0, 0, 0] / 2)
    assert not found[1].any()


@pytest.mark.parametrize("name", list(STACK_NETWORKS))
def test_every_network_of_stacks_has_maps(name: str) -> None:
    network = build_network(name, 3, 4, seed=0).eval()
    stacks = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = grad_cam(network, stacks, torch.tensor([0, 1]))
    assert found.shape == (2, 3, 16, 16) and torch.isfinite(found).all()
    torch.testing.assert_close(found.amax(dim=(1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(grad_cam(network, stacks[1:], torch.tensor([1]))[0], found[1])
