"""How few network evaluations draw as well as a 1,000-step DDPM sampler does?

    python benchmarks/sampling.py generator=DIR data.kind=split_folder data.root=DIR data.image_size=28 \\
        [out=results/sampling] [each=25] [encoder.kind=onnx encoder.path=FILE] [key=value ...]

Draws the same classes from the same weights under the same guidance with DPM-Solver++, with Heun's method
and with the ancestral sampler of DDPM, and compares each with real test cells by KID. Leaves sampling.md
and sampling.png in OUT. The same command goes on where it was stopped.
"""

import argparse
from collections.abc import Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from diffusers import DDPMScheduler
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from cells.cellset import CellSet
from cells.sources import DataSettings, PhantomData
from cells.sources import load as load_cells
from cells.split import SplitSettings, divide
from evaluation.features.encoders import DomainSettings, Encoder, EncoderSettings, build_encoder
from evaluation.quality.pairwise import Pairwise
from generators import Diffusion, load
from generators.protocol import model_folder, noise, to_bytes
from generators.samplers import Output, SamplingSettings, denoised, evaluations
from runtime.checkpoint import WEIGHTS, file_digest
from runtime.command import run_command, take, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError
from runtime.progress import progress
from runtime.rundir import RunDir, write_json, write_text, writing
from runtime.seeds import numpy_generator, seed_of

CHAIN = 1000  # steps of DDPM
BAR = 25  # evaluations
Kids = NDArray[np.float64]


class SamplingBenchmark(Settings):
    """What is drawn, and what it is compared with.

    Attributes:
        generator: Folder of a trained diffusion model.
        data: Source of the real cells; their test side is the reference.
        encoder: Features of the KID; a domain encoder is fitted on the training side.
        levels: Noise levels of DPM-Solver++; Heun's method gets half as many, rounded up.
        each: Cells drawn of each class.
        batch: Cells drawn together, and kept together for a resumption.
        subsets: Random halves of the cells behind each interval.
    """

    generator: Path
    data: DataSettings = PhantomData()
    split: SplitSettings = SplitSettings(leaks="drop")
    encoder: EncoderSettings = DomainSettings()
    levels: tuple[int, ...] = (4, 6, 8, 10, 12, 14, 16, 20, 25, 35, 50)
    each: int = Field(25, ge=4)
    batch: int = Field(40, ge=1)
    subsets: int = Field(400, ge=20)
    seed: int = 0


def ddpm(output: Output, start: Tensor, seeds: Tensor, settings: SamplingSettings) -> Tensor:
    """Noise to images along the 1,000 steps of DDPM's chain, each of which adds noise again.

    The chain's images are EDM's divided by sqrt(1 + σ²), at the σ² = (1 - ᾱ) / ᾱ of its noise schedule.

    Args:
        output: As in `generators.samplers.solve`.
        start: Standard normal noise, shape (b, c, h, w).
        seeds: Of the noise on the way, an image each, shape (b,).
        settings: For `sigma_data`.

    Source:
        Ho et al., arXiv:2006.11239, algorithm 2, by diffusers; change of variables: Karras et al.,
        arXiv:2206.00364, table 1, "VP".
    """
    scheduler, images = chain(), start
    draws = [torch.Generator().manual_seed(seed_of(int(seed), "chain")) for seed in seeds]
    for step in scheduler.timesteps:
        kept = scheduler.alphas_cumprod[step]
        clean = denoised(output, images / kept.sqrt(), sigma_of(kept), settings)  # (b, c, h, w)
        images = scheduler.step(clean, int(step), images, generator=draws).prev_sample
    return images


def chain() -> DDPMScheduler:
    """DDPM's noise schedule and its ancestral step, for a network that says what is clean."""
    scheduler = DDPMScheduler(num_train_timesteps=CHAIN, prediction_type="sample")
    scheduler.set_timesteps(CHAIN)
    return scheduler


def sigma_of(kept: Tensor) -> Tensor:
    """EDM's noise level where DDPM's chain has ᾱ = `kept`."""
    return ((1 - kept) / kept).sqrt()


def chain_evaluations(settings: SamplingSettings) -> int:
    """Network calls of an image by `ddpm`, guidance included."""
    return sum(2 if settings.guided_at(float(sigma_of(kept))) else 1 for kept in chain().alphas_cumprod)


def drawn_by_ddpm(model: Diffusion, labels: Tensor, seeds: Tensor) -> Tensor:
    """As `Diffusion.sample`, with the other sampler; uint8 (n, 3, h, w)."""
    shape, patch = (3, model.image_size, model.image_size), model.settings.patch
    device = next(model.network.parameters()).device
    start = pixel_unshuffle(noise(seeds, shape), patch).to(device)
    made = ddpm(model._guided(labels.to(device)), start, seeds, model.settings)
    return to_bytes(pixel_shuffle(made, patch))


def samplers(model: Diffusion, levels: tuple[int, ...]) -> dict[str, Diffusion | None]:
    """Every way to draw, by name: the model with another sampler, or None for DDPM."""
    found: dict[str, Diffusion | None] = {"ddpm": None}
    for count in levels:
        for name, steps in (("dpm++", count), ("heun", max(2, -(-count // 2)))):
            other = copy(model)
            other.settings = model.settings.model_copy(update={"sampler": name, "sampling_steps": steps})
            found[f"{name}-{steps}"] = other
    return found


@torch.no_grad()
def drawn(
    model: Diffusion, how: Diffusion | None, name: str, asked: SamplingBenchmark, folder: Path
) -> CellSet:
    """The cells of one sampler; what an earlier run drew is read."""
    labels = torch.arange(len(model.classes)).repeat(asked.each)  # every batch has every class
    seeds = torch.arange(len(labels)) + 10**6
    pixels = []
    with progress(len(labels), f"drawing by {name}") as bar:
        for first in range(0, len(labels), asked.batch):
            rows = slice(first, first + asked.batch)
            path = folder / name / f"{first:05d}.npy"
            if not path.exists():
                work = partial(drawn_by_ddpm, model) if how is None else how.sample
                with writing(path) as aside, aside.open("wb") as file:
                    np.save(file, work(labels[rows], seeds[rows]).permute(0, 2, 3, 1).numpy())
            pixels.append(np.load(path, allow_pickle=False))
            bar.update(len(pixels[-1]))
    return CellSet.from_arrays(np.concatenate(pixels), labels.numpy(), model.classes, origin="synthetic")


def kids(reference: NDArray[np.float32], features: NDArray[np.float32], asked: SamplingBenchmark) -> Kids:
    """KID of random halves of the drawn cells and as many real ones; the same halves for each sampler.

    Drawn without replacement, halves spread as means of all cells do.
    """
    pairs, random = Pairwise(reference, features), numpy_generator(asked.seed, "halves")
    size = min(len(features), len(reference)) // 2
    halves = [
        (random.permutation(len(reference))[:size], random.permutation(len(features))[:size])
        for _ in range(asked.subsets)
    ]
    return np.array([pairs.kid_matched(*half) for half in halves])


def interval(values: Kids) -> tuple[float, float]:
    """Of 95 %."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def row(name: str, how: Diffusion | None, model: Diffusion, found: Kids, peer: Kids) -> dict[str, Any]:
    """One sampler's figures."""
    low, high = interval(found)
    less, more = interval(found - peer)
    return {
        "sampler": name.split("-")[0],
        "levels": how.settings.sampling_steps if how else CHAIN,
        "evaluations": evaluations(how.settings) if how else chain_evaluations(model.settings),
        "kid": float(found.mean()), "low": low, "high": high,
        "difference": float((found - peer).mean()), "less": less, "more": more,
    }  # fmt: skip


def equal(found: Mapping[str, Any], peer: Mapping[str, Any]) -> bool:
    """Whether a sampler's KID is no higher than the interval of DDPM's."""
    return bool(found["kid"] <= peer["high"])


def fewest(rows: list[dict[str, Any]], sampler: str) -> dict[str, Any] | None:
    """The fewest evaluations from which on a sampler is as good as DDPM, however many more it gets."""
    best = None
    for found in sorted((r for r in rows if r["sampler"] == sampler), key=lambda r: -r["evaluations"]):
        if not equal(found, rows[0]):
            break
        best = found
    return best


def page(rows: list[dict[str, Any]], asked: SamplingBenchmark, model: Diffusion, encoder: Encoder) -> str:
    """sampling.md."""
    lines = [
        f"| {r['sampler']} | {r['levels']} | {r['evaluations']} | {r['kid']:.4f} ({r['low']:.4f} to "
        f"{r['high']:.4f}) | {r['difference']:+.4f} ({r['less']:+.4f} to {r['more']:+.4f}) | "
        f"{'yes' if equal(r, rows[0]) else 'no'} |"
        for r in rows
    ]
    best = {name: fewest(rows, name) for name in ("dpm++", "heun")}
    said = [
        f"{name}: {found['evaluations']} evaluations" if found else f"{name}: never"
        for name, found in best.items()
    ]
    reached = any(found and found["evaluations"] <= BAR for found in best.values())
    count, settings = asked.each * len(model.classes), model.settings
    return f"""# Sampling: evaluations at equal KID

`python benchmarks/sampling.py`, {model.image_size} px, {count} cells ({asked.each} a class) by each sampler,
the same weights, classes and guidance ({settings.guidance} for σ in {list(settings.guidance_interval)}).
KID on the features of {encoder.name}, against real test cells; in brackets the 95 % interval over
{asked.subsets} random halves. `ddpm` is the ancestral sampler with {CHAIN} steps (arXiv:2006.11239,
algorithm 2) on the same EDM network. An evaluation is a call of the network; where guidance acts, a noise
level takes two. "As good": its KID is no higher than the interval of DDPM's. The difference is taken half
by half.

As good as DDPM from so many evaluations on: {"; ".join(said)}.
At most {BAR}: {"reached" if reached else "not reached"}.

| sampler | levels | evaluations | KID | difference from DDPM | as good |
|---|---:|---:|---|---|---|
{chr(10).join(lines)}

![KID against evaluations](sampling.png)
"""


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """KID against evaluations, with DDPM's interval as a band."""
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    peer = rows[0]
    axes.axhspan(peer["low"], peer["high"], color="0.88")
    axes.axhline(peer["kid"], color="0.4", label=f"ddpm, {peer['evaluations']} evaluations")
    for shift, name in ((0.99, "dpm++"), (1.01, "heun")):  # apart, so that both bars are seen
        own = [r for r in rows if r["sampler"] == name]
        values = np.array([r["kid"] for r in own])
        ends = np.abs(np.array([[r["low"], r["high"]] for r in own]).T - values)
        calls = [shift * r["evaluations"] for r in own]
        axes.errorbar(calls, values, ends, fmt="o-", capsize=2, label=name)
    axes.axvline(BAR, color="0.4", linestyle=":")
    axes.set(xlabel="network evaluations of a cell", ylabel="KID", xscale="log")
    ticks = [5, 10, 25, 50, 100]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.legend()
    with writing(path) as aside:
        figure.savefig(aside, dpi=120, format="png")


def reference_of(cells: CellSet, model: Diffusion) -> CellSet:
    """Equally many test cells of each class.

    Raises:
        InputError: If they are of other classes or another size than the model's.
    """
    if cells.classes != model.classes or cells.image_size != model.image_size:
        raise InputError(
            f"generator: draws {list(model.classes)} at {model.image_size} px, the data has "
            f"{list(cells.classes)} at {cells.image_size} px; give the data that it was trained on."
        )
    least = min(cells.counts.values())
    rows = [np.flatnonzero(cells.labels == label)[:least] for label in range(len(cells.classes))]
    return cells.subset(np.concatenate(rows))


def weights_of(asked: SamplingBenchmark) -> Path:
    """The model's file: other weights must not go on with these cells."""
    return model_folder(asked.generator) / WEIGHTS


def main(arguments: argparse.Namespace) -> None:
    """Draw, compare, write."""
    out, words = take(arguments.words, "out")
    asked = load_config(SamplingBenchmark, None, words)
    model = load(asked.generator)
    if not isinstance(model, Diffusion):
        raise InputError(f"generator={asked.generator}: is no diffusion model; give the folder of one.")
    split = divide(load_cells(asked.data), asked.split)
    reference = reference_of(split.test, model)
    fixed = {**to_dict(asked.model_copy(update={"levels": ()})), "model": file_digest(weights_of(asked))}
    with RunDir(Path(out or "results/sampling"), fixed) as run:
        encoder = build_encoder(asked.encoder, split.train, asked.seed)
        real, ways, found = encoder.encode(reference), samplers(model, asked.levels), {}
        for name, how in ways.items():
            found[name] = kids(real, encoder.encode(drawn(model, how, name, asked, run.path)), asked)
            print(f"{name}: KID {found[name].mean():.4f}", flush=True)
        rows = [row(name, how, model, found[name], found["ddpm"]) for name, how in ways.items()]
        write_json(run.path / "sampling.json", rows)
        write_text(run.path / "sampling.md", page(rows, asked, model, encoder))
        plot(rows, run.path / "sampling.png")


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "generator=DIR [key=value ...]", "what to draw and compare"))
