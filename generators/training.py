"""What both trained generators schedule alike: batches, averages, checkpoints, grids, the loop."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from accelerate import Accelerator
from pydantic import Field
from torch import Tensor, nn

from generators.augment import AskedSymmetry
from generators.choosing import Choosing, Watch
from generators.class_watch import ClassWatch
from generators.descent import Descent
from generators.grids import write_grid
from generators.protocol import Generator, Monitor, refuse_other
from runtime.checkpoint import fit_state, load_checkpoint, save_checkpoint
from runtime.config import Settings
from runtime.devices import pick_device, prepare_processor
from runtime.errors import InputError
from runtime.progress import progress
from runtime.rundir import RunDir
from runtime.seeds import torch_generator
from runtime.termination import Terminated, held_back

MIN_SIZE = 8


class TrainingSettings(Settings):
    """Settings that every trained generator has.

    Attributes:
        steps: Optimizer steps.
        batch: Images per step.
        learning_rate: Peak, reached after `warmup` steps, then lowered along a cosine.
        warmup: Steps of linear warm-up.
        second_moment: Decay of Adam's second moment; 0.99 learns faster than the usual 0.999 in
            trainings of some thousand steps.
        balance: 0 draws training cells as they come, 1 every class equally often, 0.5 in between
            (class probability ∝ count^(1 - balance)).
        augmentation: Symmetries under which a cell stays a real cell; `auto`: flips and quarter turns,
            for X-rays none.
        ema_half_life: Half-life of the weight average, in images.
        grid_every: Steps between sample grids (and monitor calls); 0 for the last only.
        grid_columns: Images per class in a grid.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the log.
        precision: `auto` computes in bfloat16 on a GPU and in float32 elsewhere; sums, losses,
            penalties and weights stay float32 in either.
        micro_batch: Images that a device works on at a time; null for all. The batch stays what it
            is: gradients are summed. Out of memory halves it by itself.
        patience: A loss or gradient that is not finite skips its step; so many in a row end the run.
        start_from: Folder of a saved model of the same kind whose weights the training starts from.
        class_map: Class of these cells -> class of that model which it begins as, where their names
            differ; classes of the same name need none. Other classes begin at the mean of all.
        freeze: Share of the early layers, counted from the image on, that stay as in `start_from`:
            of the GAN its critic's, of the diffusion model its UNet's.
    """

    #: Settings that change no weight: a trained model can be drawn from with others.
    AFTER_TRAINING: ClassVar[frozenset[str]] = frozenset()

    steps: int = Field(default=5000, ge=1)
    batch: int = Field(default=16, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: int = Field(default=50, ge=0)
    second_moment: float = Field(default=0.99, gt=0, lt=1)
    balance: float = Field(default=0.9, ge=0, le=1)
    augmentation: AskedSymmetry = "auto"
    ema_half_life: int = Field(default=1500, ge=1)
    grid_every: int = Field(default=1000, ge=0)
    grid_columns: int = Field(default=8, ge=1)
    checkpoint_every: int = Field(default=500, ge=1)
    log_every: int = Field(default=20, ge=1)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    micro_batch: int | None = Field(default=None, ge=1)
    patience: int = Field(default=10, ge=1)
    start_from: Path | None = None
    class_map: dict[str, str] = Field(default_factory=dict)
    freeze: float = Field(default=0.0, ge=0, lt=1)


def balanced_indices(labels: Tensor, batch: int, balance: float, seed: int, step: int) -> Tensor:
    """Training cells of one step, with replacement.

    Args:
        labels: int64, shape (n,).
        batch: Cells to draw.
        balance: Class probability is proportional to count^(1 - balance).
        seed: Of the run.
        step: Its number; the same (seed, step) draws the same cells.

    Returns:
        int64, shape (batch,), indices into `labels`.
    """
    counts = torch.bincount(labels).double()
    weights = counts[labels].pow(-balance)  # a class of n cells gets n · n^-balance
    draws = torch_generator(seed, "batch", step)
    return torch.multinomial(weights, batch, replacement=True, generator=draws)


def learning_rate(step: int, settings: TrainingSettings) -> float:
    """Linear warm-up, then a cosine to a fiftieth of the peak."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * (0.02 + 0.98 * 0.5 * (1 + float(np.cos(np.pi * min(1.0, done)))))


def make_descent(settings: TrainingSettings) -> Descent:
    """Steps on the device that `runtime.devices` picks, or on each process's own of `accelerate launch`."""
    on_cpu = pick_device().type == "cpu"
    bfloat16 = settings.precision == "bfloat16" or (settings.precision == "auto" and not on_cpu)
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no")
    return Descent(accelerator, settings.patience, settings.micro_batch, bfloat16)


class Trainer:
    """Networks and optimizers of a training in progress, with the step that advances them.

    Args:
        modules: Networks by name, the average included.
        optimizers: Optimizers by name.
        step: Does step number `step` and returns its losses.
        descent: What took the optimizers' steps.
        kept: Names of the modules that a finished model consists of.
        class_watch: Looks at the classes at every grid; one of `modules`, where it has a state.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimizers: Mapping[str, torch.optim.Optimizer],
        step: Callable[[int], dict[str, Tensor]],
        descent: Descent,
        kept: tuple[str, ...] = ("ema",),
        class_watch: ClassWatch | None = None,
    ) -> None:
        self.modules = modules
        self.optimizers = optimizers
        self.step = step
        self.descent = descent
        self.kept = {name: modules[name] for name in kept}
        self.class_watch = class_watch

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint needs, by name."""
        found = {
            f"{name}/{key}": value
            for name, module in self.modules.items()
            for key, value in module.state_dict().items()
        }
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                for key, value in slots.items():
                    found[f"{name}/{index}/{key}"] = torch.as_tensor(value)
        return found

    def restore(self, tensors: Mapping[str, Tensor], where: Path) -> None:
        """Put back what `tensors` gave.

        Raises:
            InputError: If they are of other networks.
        """
        for name, module in self.modules.items():
            fit_state(module, _under(tensors, name), where)
        for name, optimizer in self.optimizers.items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in _under(tensors, name).items():
                index, slot = key.split("/")
                state.setdefault(int(index), {})[slot] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            _lay_out(optimizer)


def compile_network(network: nn.Module, device: torch.device) -> None:
    """Have a network run through torch.compile from now on.

    Raises:
        InputError: If the device is not a GPU: a CPU gains little by it.
    """
    if device.type != "cuda":
        raise InputError("compile=true works on a GPU only; set generator.compile=false.")
    network.compile()  # in place: the names of the weights stay


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give an optimizer's averages the memory format of their parameters, which files do not keep."""
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if value.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def train(
    trainer: Trainer,
    generator: Generator,
    identity: Mapping[str, Any],
    run: RunDir,
    monitor: Monitor | None = None,
) -> Choosing | None:
    """Run the training loop from the newest checkpoint to the last step.

    SIGTERM finishes the step and saves a checkpoint. Of several processes, the first one writes.

    Args:
        trainer: Networks, optimizers and the step.
        generator: Draws the grids; its network is the average that the trainer updates.
        identity: Names this fit; a checkpoint of another is refused.
        run: Receives checkpoints/, samples/, log.jsonl and events/.
        monitor: Its figures are logged at every grid; a `Watch` is asked at its own interval.

    Returns:
        The looks of a `Watch` at this training; on processes that do not write it has seen none.

    Raises:
        InputError: If no checkpoint there fits or is whole, one cannot be written, or the loss is
            not finite for too long.
        Terminated: After SIGTERM.
    """
    prepare_processor()
    settings: TrainingSettings = generator.settings
    choosing = Choosing(monitor, trainer.kept) if isinstance(monitor, Watch) else None
    start = _resume(trainer, identity, run, choosing)
    begun, losses = time.monotonic(), []
    with held_back() as termination, progress(settings.steps, f"training {identity['kind']}", start) as bar:
        for done in range(start + 1, settings.steps + 1):
            losses.append(trainer.step(done - 1))
            trainer.descent.close_step()
            bar.update(1)
            if done % settings.log_every == 0 or done == settings.steps:
                means, losses = _means(losses), []
                bar.set_postfix({name: f"{value:.3g}" for name, value in means.items()})
                speed = settings.batch * (done - start) / (time.monotonic() - begun)
                run.scalars(done, **means, images_per_second=speed, skipped=trainer.descent.skipped)
            if grid_due(done, settings) and run.writes:
                if trainer.class_watch is not None:
                    trainer.class_watch.look(done, generator, run)
                _look(generator, run, done, None if choosing else monitor)
            if choosing and choosing.due(done, settings.steps) and run.writes:
                choosing.look(done, generator, run)
            stopping = trainer.descent.anywhere(termination.requested)
            if stopping or done % settings.checkpoint_every == 0 or done == settings.steps:
                _save(trainer, identity, run, done, choosing)
            if stopping:
                raise Terminated
    trainer.descent.accelerator.wait_for_everyone()
    return choosing


def _look(generator: Generator, run: RunDir, done: int, monitor: Monitor | None) -> None:
    """Draw a grid, and log what the monitor sees."""
    write_grid(generator, run.path / "samples" / f"step-{done:06d}.png", generator.settings.grid_columns)
    if monitor is not None:
        run.scalars(done, **{f"monitor/{k}": v for k, v in monitor(done, generator).items()})


def _save(
    trainer: Trainer, identity: Mapping[str, Any], run: RunDir, done: int, choosing: Choosing | None
) -> None:
    if not run.writes:
        return
    tensors, state = trainer.tensors(), {"identity": dict(identity), "descent": trainer.descent.state()}
    if choosing:
        tensors, state = {**tensors, **choosing.tensors()}, {**state, "choosing": choosing.state()}
    save_checkpoint(run.path / "checkpoints", done, tensors, state)


def grid_due(done: int, settings: TrainingSettings) -> bool:
    """A first grid early on, so that a person sees within a minute that it learns."""
    if done == settings.steps or settings.grid_every == 0:
        return done == settings.steps
    return done % settings.grid_every == 0 or done == min(100, settings.grid_every)


def _resume(trainer: Trainer, identity: Mapping[str, Any], run: RunDir, choosing: Choosing | None) -> int:
    folder = run.path / "checkpoints"
    found = load_checkpoint(folder)
    if found is None:
        return 0
    refuse_other(found.state["identity"], identity, folder)
    for path in found.damaged if run.writes else ():
        print(f"{path}: damaged; going on from step {found.step} before it", file=sys.stderr)
        run.log(damaged=str(path), step=found.step)
    trainer.restore(found.tensors, folder)
    trainer.descent.restore(found.state["descent"])
    if choosing:
        choosing.restore(found.tensors, found.state["choosing"])
    return found.step


def _means(losses: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean of each loss over the steps that report it."""
    names = dict.fromkeys(name for step in losses for name in step)
    return {
        name: float(torch.stack([step[name] for step in losses if name in step]).mean()) for name in names
    }


def _under(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}/")}


def check_size(image_size: int, kind: Literal["gan", "diffusion"], halvings: int = 2) -> None:
    """Refuse sizes that cannot be halved as often as the network does.

    Raises:
        InputError: If `image_size` is below 8 or not divisible by 2^halvings (4 at the least).
    """
    unit = 2 ** max(2, halvings)
    if image_size < MIN_SIZE or image_size % unit:
        fits = max(MIN_SIZE, round(image_size / unit) * unit)
        raise InputError(
            f"image_size {image_size} does not fit generator '{kind}': it must be divisible by "
            f"{unit} and at least {MIN_SIZE}; set data.image_size, e.g. to {fits}."
        )
