import pytest
import torch
from torch import nn

from classifiers.networks import NETWORKS, build_network, check_size
from runtime.errors import InputError

WIDTHS = {"small_resnet": 4, "fast": 4, "resnet18": 64, "mobilenet_v2": 8}


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("size", [28, 32, 45, 64])
def test_logits_of_any_size_from_the_smallest(name: str, size: int) -> None:
    network = build_network(name, 5, WIDTHS[name], seed=0).eval()
    with torch.inference_mode():
        assert network(torch.rand(2, 3, size, size)).shape == (2, 5)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_smallest_size_is_enough_to_train(name: str) -> None:
    size = NETWORKS[name].smallest
    check_size(name, size)
    network = build_network(name, 3, WIDTHS[name], seed=0).train()
    network(torch.rand(4, 3, size, size)).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_too_small_an_image_is_refused_with_the_number(name: str) -> None:
    smallest = NETWORKS[name].smallest
    with pytest.raises(InputError, match=rf"at least {smallest} px, these have {smallest - 1} px"):
        check_size(name, smallest - 1)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_weights_follow_the_seed_and_leave_the_global_state(name: str) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    one, same, other = (build_network(name, 3, WIDTHS[name], seed) for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    for left, right in zip(one.parameters(), same.parameters(), strict=True):
        assert torch.equal(left, right)
    assert not torch.equal(one.head.weight, other.head.weight)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_head_reads_the_features(name: str) -> None:
    network = build_network(name, 3, WIDTHS[name], seed=0).eval()
    images = torch.rand(2, 3, 28, 28)
    with torch.inference_mode():
        features = network.features(images)
        assert features.shape == (2, network.head.in_features)
        torch.testing.assert_close(network.head(features), network(images))


@pytest.mark.parametrize("name", ["small_resnet", "fast", "mobilenet_v2"])
def test_width_sets_the_size_of_the_network(name: str) -> None:
    def parameters(width: int | None) -> int:
        return sum(p.numel() for p in build_network(name, 8, width, seed=0).parameters())

    assert parameters(8) < parameters(16) < parameters(32)
    assert parameters(None) == parameters(NETWORKS[name].width)


def test_small_resnet_has_two_convolutions_a_block_and_halves_twice() -> None:
    network = build_network("small_resnet", 8, 16, seed=0)
    kernels = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [m.out_channels for m in kernels] == [16, 16, 16, 32, 32, 64, 64]
    assert sum(m.stride == (2, 2) for m in kernels) == 2


def test_resnet18_says_that_its_width_is_fixed() -> None:
    with pytest.raises(InputError, match=r"width = 16.*leave width out"):
        build_network("resnet18", 3, 16, seed=0)


def test_an_unknown_network_gets_a_suggestion() -> None:
    with pytest.raises(InputError, match="Did you mean 'resnet18'"):
        build_network("resnet-18", 3, None, seed=0)
