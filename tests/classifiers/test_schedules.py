"""Learning rates and optimizers: their shape, and that the settings reach the training."""

import pytest
import torch

from classifiers.networks import build_network
from classifiers.schedules import build_optimizer, decayed, milestones, one_cycle


def test_one_cycle_rises_to_the_peak_and_falls_to_nothing() -> None:
    rates = [one_cycle(step, 1000, 0.01) for step in range(1000)]
    assert rates[0] == pytest.approx(0.01 / 25, rel=0.01)
    assert max(rates) == pytest.approx(0.01, rel=1e-4)
    assert rates.index(max(rates)) == pytest.approx(300, abs=1)
    assert 0 < rates[-1] < 1e-7
    assert 0 < one_cycle(0, 1, 0.01) <= 0.01


def test_weight_decay_spares_norms_and_biases() -> None:
    network = build_network("fast", 3, 4, seed=0)
    kernels, others = decayed(network, 0.1)
    assert (kernels["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in kernels["params"]) and len(kernels["params"]) == 6
    named = {id(p): name for name, p in network.named_parameters()}
    assert {named[id(p)].rsplit(".")[-1] for p in others["params"]} == {"weight", "bias"}
    assert len(kernels["params"]) + len(others["params"]) == len(named)


def test_milestones_are_those_of_torch() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.Adam([parameter], lr=1e-3)
    reference = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[50, 75], gamma=0.1)
    for epoch in range(100):
        expected = reference.get_last_lr()[0]
        for step in range(8 * epoch, 8 * epoch + 8):
            assert milestones(step, 800, 1e-3) == pytest.approx(expected, rel=1e-12)
        optimizer.step()
        reference.step()


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam)])
def test_the_optimizer_is_the_one_of_the_name(name: str, kind: type) -> None:
    made = build_optimizer(name, build_network("fast", 3, 4, seed=0), 0.1, 0.01)
    assert type(made) is kind
    assert [group["weight_decay"] for group in made.param_groups] == [0.1, 0.0]
