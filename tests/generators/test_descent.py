"""Steps that survive bad numbers and small memories; one batch however it is divided."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cells.cellset import CellSet
from generators import build
from generators.descent import Descent
from generators.diffusion import Diffusion
from generators.training import TrainingSettings, make_descent
from runtime.checkpoint import load_checkpoint
from runtime.errors import InputError
from runtime.rundir import RunDir

every_trained_kind = pytest.mark.parametrize("kind", ["gan", "diffusion"])
ROWS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))


def _descent(**settings: Any) -> Descent:
    return make_descent(TrainingSettings(**settings))


def _linear() -> tuple[nn.Module, torch.optim.Optimizer]:
    layer = nn.Linear(3, 1)
    nn.init.constant_(layer.weight, 0.5)
    nn.init.zeros_(layer.bias)
    return layer, torch.optim.SGD(layer.parameters(), lr=0.1)


def _loss_of(layer: nn.Module, limit: int = 8, error: type[RuntimeError] = torch.OutOfMemoryError) -> Any:
    """Mean square over some rows; more than `limit` of them do not fit."""

    def loss_of(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        rows = ROWS[part]
        if len(rows) > limit:
            raise error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
        loss = layer(rows).square().mean()
        return loss, {"loss": loss}

    return loss_of


def _weights(module: Any) -> list[Tensor]:
    return [value.detach().clone() for value in module.state_dict().values()]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_out_of_memory_halves_the_part_and_keeps_the_step(
    error: type[RuntimeError], capsys: pytest.CaptureFixture[str]
) -> None:
    (whole, one), (halved, other) = _linear(), _linear()
    expected = _descent().down(one, whole, 8, _loss_of(whole))
    descent = _descent()
    found = descent.down(other, halved, 8, _loss_of(halved, limit=3, error=error))
    assert descent.micro_batch == 2
    said = capsys.readouterr().err.splitlines()
    assert said == [f"out of memory: going on with {n} images at a time, same batch" for n in (4, 2)]
    torch.testing.assert_close(found, expected)
    for a, b in zip(_weights(whole), _weights(halved), strict=True):
        torch.testing.assert_close(a, b)


def test_not_even_one_image_fits() -> None:
    layer, sgd = _linear()
    with pytest.raises(InputError, match="out of memory with a single image"):
        _descent().down(sgd, layer, 8, _loss_of(layer, limit=0))


def test_another_runtime_error_is_not_taken_for_memory() -> None:
    layer, sgd = _linear()

    def broken(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        _descent().down(sgd, layer, 8, broken)


@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(bad: str) -> None:
    layer, sgd = _linear()
    descent, before = _descent(), _weights(layer)

    def loss_of(part: slice) -> tuple[Tensor, dict[str, Tensor]]:
        good = layer(ROWS[part]).square().mean()
        # The first has a finite gradient, the second a finite loss.
        loss = good.detach() * 0 + good + torch.inf if bad == "loss" else (good - good.detach()).sqrt()
        return loss, {"loss": loss}

    assert descent.down(sgd, layer, 8, loss_of) == {}
    descent.close_step()
    assert all(torch.equal(a, b) for a, b in zip(before, _weights(layer), strict=True))
    assert (descent.skipped, descent.in_a_row) == (1, 1)
    descent.down(sgd, layer, 8, _loss_of(layer))
    descent.close_step()
    assert (descent.skipped, descent.in_a_row) == (1, 0)
    assert not torch.equal(before[0], layer.weight)


def test_one_of_two_moves_that_always_fails_ends_the_run() -> None:
    """The other network's good moves must not hide it, nor two bad moves count as two steps."""
    layer, sgd = _linear()
    descent = _descent(patience=3)
    for _ in range(2):
        descent.down(sgd, layer, 8, lambda part: (layer(ROWS).mean() * torch.nan, {}))
        descent.down(sgd, layer, 8, _loss_of(layer))
        descent.close_step()
    descent.down(sgd, layer, 8, lambda part: (layer(ROWS).mean() * torch.nan, {}))
    with pytest.raises(InputError, match="not finite in 3 steps in a row"):
        descent.close_step()


def test_the_gradient_is_clipped_to_its_norm() -> None:
    layer, sgd = _linear()
    before = torch.cat([w.flatten() for w in _weights(layer)])
    _descent().down(sgd, layer, 8, _loss_of(layer), clip=1e-3)
    after = torch.cat([w.flatten() for w in _weights(layer)])
    assert float((after - before).norm()) == pytest.approx(0.1 * 1e-3, rel=1e-2)


def _gradients(kind: str, settings: Any, cells: CellSet, micro_batch: int | None) -> dict[str, Tensor]:
    """Gradients of every network at the first two steps; the second has a penalty or none."""
    asked = settings.model_copy(update={"micro_batch": micro_batch, "batch": 8})
    trainer = build(asked, cells.classes, cells.image_size, seed=3)._trainer(cells)
    found = {}
    for name, optimizer in trainer.optimizers.items():

        def keep(*_: Any, name: str = name, optimizer: Any = optimizer) -> None:
            for index, p in enumerate(optimizer.param_groups[0]["params"]):
                found[f"{step}/{name}/{index}"] = p.grad.clone()
                p.grad.zero_()  # nothing moves: rounding does not add up from step to step

        optimizer.register_step_pre_hook(keep)
    for group in (g for optimizer in trainer.optimizers.values() for g in optimizer.param_groups):
        group["weight_decay"] = 0.0
    for step in range(2):
        trainer.step(step)
    return found


@every_trained_kind
@pytest.mark.parametrize("micro_batch", [1, 3])
def test_parts_of_a_batch_give_its_gradient(
    kind: str, micro_batch: int, settings_of: dict[str, Any], cells: CellSet
) -> None:
    whole = _gradients(kind, settings_of[kind], cells, None)
    parts = _gradients(kind, settings_of[kind], cells, micro_batch)
    assert whole.keys() == parts.keys() and len(whole) > 20
    assert any(float(value.norm()) > 1e-3 for value in whole.values())
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-3, atol=2e-5, msg=name)


def _spoil(generator: Any, cells: CellSet, monkeypatch: pytest.MonkeyPatch, bad: set[int]) -> None:
    """Training cells are not finite in some steps."""
    make = type(generator)._trainer

    def spoiled(self: Any, cells: CellSet) -> Any:
        trainer = make(self, cells)
        step, networks = trainer.step, [m for n, m in trainer.modules.items() if n != "ema"]

        def bad_step(number: int) -> dict[str, Tensor]:
            hooks: list[Any] = []
            if number in bad:
                hooks = [m.register_forward_pre_hook(_not_a_number) for m in networks]
            try:
                return step(number)
            finally:
                for hook in hooks:
                    hook.remove()

        trainer.step = bad_step
        return trainer

    monkeypatch.setattr(type(generator), "_trainer", spoiled)


def _not_a_number(module: nn.Module, values: tuple[Any, ...]) -> tuple[Any, ...]:
    return (values[0] * torch.nan, *values[1:])


@every_trained_kind
def test_bad_steps_are_skipped_logged_and_at_last_end_the_run(
    kind: str, settings_of: dict[str, Any], cells: CellSet, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of[kind].model_copy(update={"steps": 9, "patience": 3, "grid_every": 0})
    generator = build(settings, cells.classes, 8, seed=3)
    _spoil(generator, cells, monkeypatch, bad={1, 5, 6, 7})
    with pytest.raises(InputError, match="not finite in 3 steps in a row; lower learning_rate"):
        generator.fit(cells, run)
    kept = load_checkpoint(run.path / "checkpoints")
    assert kept is not None and kept.step == 6
    assert kept.state["descent"]["skipped"] == 2 and kept.state["descent"]["in_a_row"] == 1
    assert all(bool(torch.isfinite(value.float()).all()) for value in kept.tensors.values())
    log = (run.path / "log.jsonl").read_text().splitlines()
    assert '"skipped": 1' in log[1] and '"skipped": 0' in log[0]


@every_trained_kind
def test_bfloat16_computes_in_it_and_keeps_the_rest_in_float32(
    kind: str, settings_of: dict[str, Any], cells: CellSet
) -> None:
    """And a float32 model may be trained before it, by the same process."""
    build(settings_of[kind], cells.classes, 8)._trainer(cells).step(0)
    settings = settings_of[kind].model_copy(update={"precision": "bfloat16"})
    trainer = build(settings, cells.classes, 8)._trainer(cells)
    seen: list[torch.dtype] = []
    for module in trainer.modules["critic" if kind == "gan" else "network"].modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, out: seen.append(out.dtype))
    losses = trainer.step(0)  # with the penalty
    assert torch.bfloat16 in seen
    # The penalty, which differentiates twice, leaves bfloat16; nothing else does.
    assert (torch.float32 in seen) == (kind == "gan")
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    counters = ("transforms/", "watch/")  # beside the networks and their optimizers
    kept = [value for name, value in trainer.tensors().items() if not name.startswith(counters)]
    assert {value.dtype for value in kept if value.is_floating_point()} == {torch.float32}
    full = build(settings_of[kind], cells.classes, 8)._trainer(cells).step(0)
    for name in losses.keys() - {"lead"}:  # a mean of signs jumps
        loss = losses[name]
        torch.testing.assert_close(loss, full[name], rtol=0.1, atol=0.05, msg=name)


def test_compile_is_refused_on_a_cpu(
    settings_of: dict[str, Any], cells: CellSet, run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RARECELL_DEVICE", "cpu")
    settings = settings_of["diffusion"].model_copy(update={"compile": True})
    with pytest.raises(InputError, match=r"compile=true works on a GPU only; set generator\.compile=false"):
        Diffusion(settings, cells.classes, 8).fit(cells, run)


@every_trained_kind
def test_a_flipped_bit_is_named_and_the_checkpoint_before_it_serves(
    kind: str,
    settings_of: dict[str, Any],
    cells: CellSet,
    run: RunDir,
    capsys: pytest.CaptureFixture[str],
    flip_a_bit: Callable[[Path], None],
) -> None:
    whole = build(settings_of[kind], cells.classes, 8).fit(cells, run)
    expected = _weights(whole.network)
    (run.path / "model" / "config.json").unlink()
    folder = run.path / "checkpoints"
    flip_a_bit(folder / "step-00000005" / "state.json")
    again = build(settings_of[kind], cells.classes, 8).fit(cells, run)
    said = capsys.readouterr().err
    assert f"{folder / 'step-00000005'}: damaged; going on from step 4 before it" in said
    assert all(torch.equal(a, b) for a, b in zip(expected, _weights(again.network), strict=True))
    (run.path / "model" / "config.json").unlink()
    for path in folder.glob("*/tensors.safetensors"):
        flip_a_bit(path)
    with pytest.raises(InputError, match="step-00000005: damaged, and no other checkpoint there is whole"):
        build(settings_of[kind], cells.classes, 8).fit(cells, run)
