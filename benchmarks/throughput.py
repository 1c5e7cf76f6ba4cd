"""How fast the diffusion model trains, beside diffusers' own training loop and the machine's limit.

    python benchmarks/throughput.py [out=docs/results] [sizes=[28,32,64]] [batches=[8,16,32,64]] [rounds=5]

The peer is the loop of diffusers' unconditional training example: cells in files, a DataLoader with
transforms, UNet2DModel, DDPMScheduler, AdamW, clipping, EMAModel; on the same network, batch and
precision, with the class given to it as to ours. Each has a process of its own, since ours changes how a
process keeps its memory. They take turns, step by step, so that a noisy machine is noisy for both. The
limit is the rate of a large matrix product measured between the turns. Leaves throughput.md and
throughput.png.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from pydantic import Field
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms
from torchvision.datasets import ImageFolder

from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from cells.writing import write_set
from generators.diffusion import Diffusion, DiffusionSettings, _unet
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.devices import pick_device, prepare_processor
from runtime.rundir import write_text

PRODUCT = 1024  # edge of the matrices
WARM = 2  # steps in which memory is laid out
Step = Callable[[], object]
Make = Callable[[Path, int, int], Step]


class ThroughputSettings(Settings):
    """What to measure."""

    out: Path = Path("docs/results")
    sizes: tuple[int, ...] = (28, 32, 64)
    batches: tuple[int, ...] = (8, 16, 32, 64)
    rounds: int = Field(5, ge=1)


def phantom_cells(size: int) -> CellSet:
    """What both train on."""
    return phantoms(dict.fromkeys(CLASSES, 20), size, seed=0, split="train")


def ours(folder: Path, size: int, batch: int) -> Step:
    """A training step of this project."""
    prepare_processor()  # as `train` does
    cells = phantom_cells(size)
    made = Diffusion(DiffusionSettings(batch=batch), cells.classes, cells.image_size)
    numbers, trainer = iter(range(10**9)), made._trainer(cells)
    return lambda: trainer.step(next(numbers))


def endless(loader: DataLoader[tuple[torch.Tensor, torch.Tensor]]) -> Iterator[list[torch.Tensor]]:
    """Epoch after epoch."""
    while True:
        yield from loader  # type: ignore[misc]


def theirs(folder: Path, size: int, batch: int) -> Step:
    """A step of diffusers' example `train_unconditional.py`."""
    seen = transforms.Compose(
        [
            transforms.Resize(size, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(size),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.5], [0.5]),
        ]
    )
    data = ImageFolder(str(folder), transform=seen)
    found = endless(DataLoader(data, batch_size=batch, shuffle=True, drop_last=True))
    device = pick_device()
    network = _unet(DiffusionSettings(), len(CLASSES), size, 0).train().to(device)
    average, noise = EMAModel(network.parameters()), DDPMScheduler(num_train_timesteps=1000)
    adam = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6)
    rate = get_cosine_schedule_with_warmup(adam, 500, 10_000)

    def step() -> None:
        clean, labels = (column.to(device) for column in next(found))
        eps = torch.randn_like(clean)
        when = torch.randint(0, 1000, (batch,), device=device)
        noisy = noise.add_noise(clean, eps, when)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            made = network(noisy, when, class_labels=labels).sample
        functional.mse_loss(made.float(), eps).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        rate.step()
        adam.zero_grad()
        average.step(network.parameters())

    return step


def timed(work: Step) -> float:
    """Seconds of a call, the device's work included."""
    begun = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def flops_of(work: Step) -> int:
    """Floating-point operations of a call, all of them in its own thread."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def flops_per_image(size: int) -> float:
    """Of a training step."""
    cells = phantom_cells(size)
    trainer = Diffusion(DiffusionSettings(batch=8), cells.classes, size)._trainer(cells)
    trainer.descent.threads = 1
    return flops_of(lambda: trainer.step(0)) / 8


def serve(make: Make, folder: Path, size: int, batch: int, to: Connection) -> None:
    """In a process of its own: make a loop, then time a step whenever asked."""
    work = make(folder, size, batch)
    while to.recv():
        to.send(timed(work))


class Loop:
    """A training loop in a process of its own.

    Args:
        make: `ours` or `theirs`.
        folder: The cells as files.
        size: Edge of the images.
        batch: Images a step.
    """

    def __init__(self, make: Make, folder: Path, size: int, batch: int) -> None:
        fresh = get_context("spawn")
        self._to, end = fresh.Pipe()
        self._process = fresh.Process(target=serve, args=(make, folder, size, batch, end), daemon=True)
        self._process.start()
        end.close()

    def seconds(self) -> float:
        """Of a step done now."""
        self._to.send(True)
        return float(self._to.recv())

    def close(self) -> None:
        """End the process."""
        self._to.send(False)
        self._process.join()


def row(folder: Path, size: int, batch: int, rounds: int) -> dict[str, float]:
    """Both loops and the machine's limit in turns, at one size and batch."""
    device = pick_device()
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    matrix = torch.randn(PRODUCT, PRODUCT, device=device, dtype=half)
    times: dict[str, list[float]] = {"ours": [], "theirs": [], "limit": []}
    with closing(Loop(ours, folder, size, batch)) as own, closing(Loop(theirs, folder, size, batch)) as peer:
        turns = {"ours": own.seconds, "theirs": peer.seconds, "limit": lambda: timed(lambda: matrix @ matrix)}
        for turn in range(rounds + WARM):
            for name, seconds_of in turns.items():
                seconds = seconds_of()
                if turn >= WARM:
                    times[name].append(seconds)
    seconds, work = median(times["ours"]), flops_per_image(size)
    limit = 2 * PRODUCT**3 / median(times["limit"])
    ratios = [slow / fast for fast, slow in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "size": size, "batch": batch, "speed": batch / seconds, "peer": batch / median(times["theirs"]),
        "ratio": median(ratios), "low": min(ratios), "high": max(ratios),
        "share": work * batch / seconds / limit, "gflop": work / 1e9,
    }  # fmt: skip


def table(rows: list[dict[str, float]], rounds: int) -> str:
    """The page."""
    device = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} CPU threads"
    )
    lines = [
        f"| {r['size']:.0f} | {r['batch']:.0f} | {r['speed']:.1f} | {r['peer']:.1f} | {r['ratio']:.2f} "
        f"({r['low']:.2f} to {r['high']:.2f}) | {r['share']:.0%} | {r['gflop']:.2f} |"
        for r in rows
    ]
    return f"""# Training throughput

`python benchmarks/throughput.py`, {device}, torch {torch.__version__}; medians of {rounds} turns.
The default diffusion network; the peer is diffusers' plain training loop (files, DataLoader, DDPM) on the
same network. The share is of the rate of a {PRODUCT}² matrix product measured between the turns.

| px | batch | images/s | peer, images/s | ratio (range) | share of the machine | GFLOP/image |
|---|---|---|---|---|---|---|
{chr(10).join(lines)}

![Cost against image size and batch](throughput.png)
"""


def plot(rows: list[dict[str, float]], path: Path) -> None:
    """Milliseconds an image against the batch, a line per size."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for size in sorted({r["size"] for r in rows}):
        own = [r for r in rows if r["size"] == size]
        (line,) = axes.plot(
            [r["batch"] for r in own], [1e3 / r["speed"] for r in own], "o-", label=f"{size:.0f} px"
        )
        axes.plot([r["batch"] for r in own], [1e3 / r["peer"] for r in own], "x--", color=line.get_color())
    axes.set(xlabel="batch", ylabel="milliseconds per image", xscale="log", yscale="log")
    axes.set_title("Training cost: ours (solid), diffusers' loop (dashed)", fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments: argparse.Namespace) -> None:
    """Measure every size and batch."""
    settings = load_config(ThroughputSettings, None, arguments.words)
    rows = []
    for size in settings.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "cells"
            write_set(phantom_cells(size), folder)
            for batch in settings.batches:
                rows.append(row(folder, size, batch, settings.rounds))
                print(", ".join(f"{key} {value:.3g}" for key, value in rows[-1].items()), flush=True)
    write_text(settings.out / "throughput.md", table(rows, settings.rounds))
    plot(rows, settings.out / "throughput.png")


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "[key=value ...]", "what to measure"))
