"""The training itself: optimizer steps, phase after phase, within one budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cells.cellset import CellSet
from classifiers.batches import Batches, batches
from classifiers.feature_smote import check_smote, filled_counts, smote_batches
from classifiers.heads import begin_head_anew
from classifiers.losses import LOSSES, Loss
from classifiers.mixing import mixed
from classifiers.networks import Network
from classifiers.phases import Phase, cycles, restarts, step_ranges
from classifiers.samples import Samples
from classifiers.schedules import SCHEDULES, build_optimizer
from classifiers.settings import ClassifierSettings
from runtime.errors import InputError
from runtime.progress import progress
from runtime.seeds import seed_of

LOOKS = 10  # readings of loss and validation figures per training

Look = Callable[[int, float], dict[str, float]]


@dataclass(frozen=True)
class Stage:
    """A phase of a training, ready to run.

    Attributes:
        phase: What was asked for.
        steps: Its optimizer steps, numbered over the whole training.
        restart: Whether it begins with a fresh optimizer.
        cycle: The steps over which its learning rate rises and falls.
        counts: Cells per class that its loss goes by, shape (C,).
        loss_of: Its loss.
        stream: Its batches of images.
        features: From the network as it is when the stage begins to batches of features, which the last layer
            learns from in place of the images.
        seed: Of its own draws.
    """

    phase: Phase
    steps: range
    restart: bool
    cycle: range
    counts: Tensor
    loss_of: Loss
    stream: Batches
    seed: int
    features: Callable[[Network], Batches] | None = None


def stages(train: CellSet, settings: ClassifierSettings, seed: int) -> list[Stage]:
    """The phases of a training on these cells.

    Args:
        train: All training cells, real and synthetic.
        settings: Of the training.
        seed: Decides the batches of every phase, their augmentation and mixing.

    Returns:
        A stage for each phase, in their order.

    Raises:
        InputError: If a phase has no steps, or cells of fewer than two classes.
    """
    plan = settings.plan
    ranges = step_ranges(plan, settings.steps)
    samples = Samples(train)
    pixels, labels, synthetic = samples.images(), samples.labels, samples.synthetic
    if settings.priors == "real" and synthetic.all():
        raise InputError("classifier.priors=real: there is no real training cell to count; use priors=all.")
    made = []
    for number, (phase, steps, anew, cycle) in enumerate(
        zip(plan, ranges, restarts(plan), cycles(plan, ranges), strict=True)
    ):
        own = seed if number == 0 else seed_of(seed, "phase", number)
        chosen = _chosen(phase, synthetic, labels)
        counted = ~synthetic if settings.priors == "real" else chosen
        counts = labels[counted].bincount(minlength=len(train.classes))  # (C,)
        everything = bool(chosen.all())
        stream = batches(
            pixels if everything else pixels[chosen],
            labels if everything else labels[chosen],
            phase.sampler or settings.sampler,
            settings.augmentation,
            modality=train.modality,
            batch=settings.batch,
            steps=len(steps),
            seed=own,
            parts=_parts(synthetic[chosen], settings.synthetic_weight),
        )
        stream = mixed(stream, settings.mixing, counts, own)
        features = None
        if phase.smote:
            features = _smoted(samples, settings, chosen, len(steps), own)
            counts = filled_counts(counts)
        loss_of = LOSSES[phase.loss or settings.loss](counts)
        made.append(Stage(phase, steps, anew, cycle, counts, loss_of, stream, own, features))
    return made


def _smoted(
    samples: Samples, settings: ClassifierSettings, chosen: Tensor, steps: int, seed: int
) -> Callable[[Network], Batches]:
    """Batches of features of the chosen cells, filled up by SMOTE."""
    if settings.synthetic_weight != 1:
        raise InputError(
            "classifier.phases: a phase with smote draws between real and synthetic cells and counts all "
            "alike; use synthetic_weight=1 (no light_synthetic beside feature_smote)."
        )
    labels, train = samples.labels[chosen], samples.cells
    check_smote(labels, train.classes)
    return partial(
        smote_batches,
        pixels=samples.images()[chosen],
        labels=labels,
        augmentation=settings.augmentation,
        modality=train.modality,
        batch=settings.batch,
        steps=steps,
        seed=seed,
    )


def _chosen(phase: Phase, synthetic: Tensor, labels: Tensor) -> Tensor:
    """Which cells a phase sees: bool, shape (n,)."""
    if phase.cells == "all":
        return torch.ones_like(synthetic)
    chosen = synthetic if phase.cells == "synthetic" else ~synthetic
    if len(labels[chosen].unique()) < 2:
        raise InputError(
            f"classifier.phases: {int(chosen.sum())} {phase.cells} training cells of "
            f"{len(labels[chosen].unique())} class(es) teach nothing to tell apart, and one phase sees only "
            "these; add cells of two classes or more, or let it see cells=all."
        )
    return chosen


def _parts(synthetic: Tensor, weight: float) -> Tensor | None:
    if weight == 1 or not synthetic.any():
        return None
    return torch.where(synthetic, weight, 1.0)


def descend(
    network: Network, plan: list[Stage], settings: ClassifierSettings, look: Look, description: str
) -> None:
    """Train a network in place, on the device where it is; it ends in evaluation mode.

    Args:
        network: Fresh.
        plan: As `stages` made them.
        settings: Learning rate and weight decay.
        look: Called ten times and at the end with the steps done and the loss; returns what the progress
            bar shows, and may put the network into evaluation mode.
        description: What the progress bar says at the left.
    """
    steps = settings.steps
    every, about = max(1, steps // LOOKS), description or f"training {settings.network}"
    device = next(network.parameters()).device
    with _own_draws(device, plan[0].seed), progress(steps, about) as bar:
        for stage, step, loss in _steps(network, plan, settings, device):
            if (step + 1) % every == 0 or step + 1 == steps:
                _check_finite(step + 1, loss.item(), settings)
                bar.set_postfix(look(step + 1, loss.item()))
                set_mode(network, stage.phase)
            bar.update()
    network.requires_grad_(True)
    network.eval()


@contextmanager
def _own_draws(device: torch.device, seed: int) -> Iterator[None]:
    """Layers that draw, such as dropout, do so by this seed; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(seed, "layers"))
        yield


def _steps(
    network: Network, plan: list[Stage], settings: ClassifierSettings, device: torch.device
) -> Iterator[tuple[Stage, int, Tensor]]:
    """Make the optimizer steps, one at a time: the stage, the step and its loss."""
    optimizer: torch.optim.Optimizer | None = None
    rate = SCHEDULES[settings.schedule]
    for stage in plan:
        if stage.phase.fresh_head:
            begin_head_anew(network, stage.seed)
        set_mode(network, stage.phase)
        if optimizer is None or stage.restart:
            optimizer = build_optimizer(settings.optimizer, network, settings.weight_decay, settings.peak_lr)
        peak = settings.peak_lr * _cycle_phase(plan, stage).lr
        forward: Callable[[Tensor], Tensor] = network if stage.features is None else network.head
        stream = stage.stream if stage.features is None else stage.features(network)
        for step, batch in zip(stage.steps, stream, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate(step - stage.cycle.start, len(stage.cycle), peak)
            logits = forward(batch.images.to(device))  # (b, C)
            targets = batch.targets.to(device)
            if len(targets) > len(logits):  # mixed: each image has two
                logits = logits.repeat(2, 1)  # (2b, C)
            loss = stage.loss_of(logits, targets, None if batch.parts is None else batch.parts.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            yield stage, step, loss


def _cycle_phase(plan: list[Stage], stage: Stage) -> Phase:
    """The phase with which the cycle of a stage began: it sets the peak."""
    return next(other.phase for other in plan if other.steps.start == stage.cycle.start)


def set_mode(network: Network, phase: Phase) -> None:
    """Training mode for the layers that a phase trains; all others frozen, their batch statistics too."""
    network.train()
    whole = phase.trains == "all"
    network.body.train(whole)
    network.body.requires_grad_(whole)


def _check_finite(step: int, loss: float, settings: ClassifierSettings) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"training diverged by step {step} (loss {loss}); lower classifier.lr, now {settings.peak_lr:g}."
        )
