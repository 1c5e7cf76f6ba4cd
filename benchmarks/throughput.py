"""How fast the diffusion model trains, beside diffusers' own training loop and the machine's limit.

    python benchmarks/throughput.py [out=results/throughput] [sizes=[28,32,64]] [batches=[8,16,32,64]] \\
        [rounds=5]

The peer is the loop of diffusers' unconditional training example: cells in files, a DataLoader with
transforms, UNet2DModel, DDPMScheduler, AdamW, clipping, EMAModel; on the same network, batch and
precision, with the class given to it as to ours. Each has a process of its own, since ours changes how
a process keeps its memory. They take turns, step by step, so that a noisy machine is noisy for both.
The limit is the best rate of a large matrix product between the turns. Leaves throughput.md and
throughput.png in OUT. The same command goes on where it was stopped; sizes and batches may be added.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import matplotlib.pyplot as plt
import torch
from diffusers import DDPMScheduler
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from matplotlib.ticker import FuncFormatter, NullLocator
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
from runtime.command import run_command, take, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.devices import pick_device, prepare_processor
from runtime.rundir import RunDir, read_json, write_json, write_text, writing

PRODUCT = 1024  # edge of the matrices
Step = Callable[[], object]
Make = Callable[[Path, int, int], Step]


class ThroughputSettings(Settings):
    """What to measure."""

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
    """Floating-point operations of a call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


@cache
def flops_per_image(size: int) -> float:
    """Of a training step."""
    cells = phantom_cells(size)
    trainer = Diffusion(DiffusionSettings(batch=8), cells.classes, size)._trainer(cells)
    return flops_of(lambda: trainer.step(0)) / 8


def serve(make: Make, to: Connection) -> None:
    """In a process of its own: make the loop that is asked for, or time a step of it."""
    work: Step | None = None
    while asked := to.recv():
        work = make(*asked) if isinstance(asked, tuple) else work
        assert work is not None, "begin() comes first"
        to.send(0.0 if isinstance(asked, tuple) else timed(work))


class Loop:
    """A training loop in a process of its own.

    Args:
        make: `ours` or `theirs`.
    """

    def __init__(self, make: Make) -> None:
        fresh = get_context("spawn")
        self._to, end = fresh.Pipe()
        self._process = fresh.Process(target=serve, args=(make, end), daemon=True)
        self._process.start()
        end.close()

    def begin(self, folder: Path, size: int, batch: int) -> None:
        """Start anew with cells in files, their edge, and images a step."""
        self._to.send((folder, size, batch))
        self._to.recv()

    def seconds(self) -> float:
        """Of a step done now."""
        self._to.send("step")
        return float(self._to.recv())

    def close(self) -> None:
        """End the process."""
        self._to.send(None)
        self._process.join()


def row(own: Loop, peer: Loop, folder: Path, size: int, batch: int, rounds: int) -> dict[str, float]:
    """Both loops and the machine's limit in turns, at one size and batch."""
    device = pick_device()
    half = torch.bfloat16 if device.type == "cuda" else torch.float32
    matrix = torch.randn(PRODUCT, PRODUCT, device=device, dtype=half)
    times: dict[str, list[float]] = {"ours": [], "theirs": [], "limit": []}
    turns = {
        "ours": own.seconds,
        "theirs": peer.seconds,
        "limit": lambda: min(timed(lambda: matrix @ matrix) for _ in range(5)),
    }
    for loop in (own, peer):
        loop.begin(folder, size, batch)
    for turn in range(rounds + 1):  # memory is laid out in the first
        for name, seconds_of in turns.items():
            seconds = seconds_of()
            if turn:
                times[name].append(seconds)
    work, best = flops_per_image(size), {name: min(found) for name, found in times.items()}
    ratios = [slow / fast for fast, slow in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "size": size, "batch": batch,
        "speed": batch / median(times["ours"]), "peer": batch / median(times["theirs"]),
        "ratio": median(ratios), "low": min(ratios), "high": max(ratios),
        "best": best["theirs"] / best["ours"],
        "share": (work * batch / best["ours"]) / (2 * PRODUCT**3 / best["limit"]), "gflop": work / 1e9,
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
        f"({r['low']:.2f} to {r['high']:.2f}) | {r['best']:.2f} | {r['share']:.0%} | {r['gflop']:.2f} |"
        for r in rows
    ]
    return f"""# Training throughput

`python benchmarks/throughput.py`, {device}, torch {torch.__version__}; medians of {rounds} turns.
The default diffusion network; the peer is diffusers' plain training loop (files, DataLoader, DDPM) on the
same network. The ratio is that of steps taken one after the other; "of the best" is that of the fastest step
of each, which other work on the machine slows least. The share is the fastest step's, of the best rate of a
{PRODUCT}² matrix product measured between the turns.

| px | batch | images/s | peer's | ratio (range) | of the best | share of the machine | GFLOP/image |
|---|---|---|---|---|---|---|---|
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
    batches = sorted({int(r["batch"]) for r in rows})
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.xaxis.set_minor_locator(NullLocator())
    for scale in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        scale(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.set_title("Training cost: ours (solid), diffusers' loop (dashed)", fontsize=10)
    axes.legend()
    with writing(path) as aside:
        figure.savefig(aside, dpi=120, format="png")


def measured(run: RunDir, settings: ThroughputSettings, own: Loop, peer: Loop) -> Iterator[dict[str, float]]:
    """A row per size and batch; what an earlier run measured is read."""
    for size in settings.sizes:
        with tempfile.TemporaryDirectory() as name:
            write_set(phantom_cells(size), Path(name) / "cells")
            for batch in settings.batches:
                path = run.path / f"{size}-{batch}.json"
                if not path.exists():
                    write_json(path, row(own, peer, Path(name) / "cells", size, batch, settings.rounds))
                found = read_json(path)
                print(", ".join(f"{key} {value:.3g}" for key, value in found.items()), flush=True)
                yield found


def main(arguments: argparse.Namespace) -> None:
    """Measure every size and batch."""
    out, words = take(arguments.words, "out")
    settings = load_config(ThroughputSettings, None, words)
    fixed = to_dict(settings.model_copy(update={"sizes": (), "batches": ()}))  # may be others later
    with RunDir(Path(out or "results/throughput"), {**fixed, "threads": torch.get_num_threads()}) as run:
        with closing(Loop(ours)) as own, closing(Loop(theirs)) as peer:
            rows = list(measured(run, settings, own, peer))
        write_text(run.path / "throughput.md", table(rows, settings.rounds))
        plot(rows, run.path / "throughput.png")


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "[key=value ...]", "what to measure"))
