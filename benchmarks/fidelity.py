"""How fast the fidelity suite is and how much memory it takes, beside torch-fidelity and prdc.

    python benchmarks/fidelity.py out=DIR [parts=[features,suite,manifold]] [each=20] [edge=64]

features: Inception features of the same images by both, in turns; the weights file is random, since the
published one cannot be had everywhere and the time does not depend on what it holds. suite: eight classes,
overall and each class: ours with an empty and with a filled cache, against one call of torch-fidelity and of
prdc for the whole and for each class; prdc is handed our features, so that its time is its own. manifold:
precision, recall, density and coverage of n against n cells, each in a process of its own.

Times are CPU seconds of the process: on a machine that others use too, they say more than a clock.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch_fidelity
from numpy.typing import NDArray
from prdc import compute_prdc
from pydantic import Field
from torch.utils.data import Dataset
from torch_fidelity import feature_extractor_inceptionv3 as inception

from benchmarks.random_inception import random_weights
from cells.cellset import CellSet
from cells.phantom import CLASSES, phantoms
from evaluation.features.encoders import CachedEncoder
from evaluation.features.extractors import InceptionNetwork
from evaluation.quality.blocks import manifold
from evaluation.quality.fidelity import fidelity
from evaluation.quality.metrics import KID_SUBSET, NEIGHBOURS
from runtime.command import run_command, words_parser
from runtime.config import Settings, load_config
from runtime.rundir import write_json

BATCH = 64  # torch-fidelity's own default
PEER_MOST = 5000  # prdc's matrices of more cells would not leave room for others on this machine


class FidelitySettings(Settings):
    """What to measure.

    Attributes:
        out: Folder of the results.
        parts: Of the three.
        each: Cells of each class and side.
        edge: Their edge in pixels.
        rounds: Turns of `features`.
        sizes: n of `manifold`.
        width: Features a cell of `manifold`.
    """

    out: Path
    parts: tuple[Literal["features", "suite", "manifold"], ...] = ("features", "suite", "manifold")
    each: int = Field(20, ge=NEIGHBOURS + 1)
    edge: int = Field(64, ge=28)
    rounds: int = Field(3, ge=1)
    sizes: tuple[int, ...] = (1000, 2000, 5000, 10_000, 20_000, 50_000)
    width: int = 64


class Images(Dataset[torch.Tensor]):
    """Cells as torch-fidelity takes them."""

    def __init__(self, cells: CellSet) -> None:
        self.pixels = torch.from_numpy(np.ascontiguousarray(cells.pixels.transpose(0, 3, 1, 2)))

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.pixels[index]


def main(arguments: argparse.Namespace) -> None:
    """Measure each part, and write it as it is done."""
    settings = load_config(FidelitySettings, None, arguments.words)
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    parts = {"features": features, "suite": suite, "manifold": manifolds}
    with tempfile.TemporaryDirectory() as scratch:
        for name in settings.parts:
            found = parts[name](settings, Path(scratch))
            write_json(settings.out / f"{name}.json", {"processor": platform.machine(), **found})
            print(json.dumps(found, indent=1), flush=True)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds, and what it gave."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def features(settings: FidelitySettings, scratch: Path) -> dict[str, Any]:
    """Images a second of both, in turns, and the largest difference between their features."""
    weights = random_weights(scratch / "inception.pth", 2, 64)
    cells = phantoms(dict.fromkeys(CLASSES, BATCH // len(CLASSES)), settings.edge, 5)
    ours = InceptionNetwork(weights)
    theirs = inception.FeatureExtractorInceptionV3(
        "peer", ["2048"], feature_extractor_weights_path=str(weights)
    )
    images = Images(cells).pixels
    with torch.inference_mode():
        ours.encode(cells.subset(np.arange(8)))  # makes the graph
        theirs(images[:8])
        rounds, largest = [], 0.0
        for _ in range(settings.rounds):
            seconds, (expected,) = timed(lambda: theirs(images))
            our_seconds, found = timed(lambda: ours.encode(cells))
            rounds.append({"torch-fidelity": len(cells) / seconds, "rarecell": len(cells) / our_seconds})
            largest = max(largest, float(np.abs(found - expected.numpy()).max()))
    return {
        "images": len(cells),
        "images_per_cpu_second": rounds,
        "times_faster": float(np.median([r["rarecell"] / r["torch-fidelity"] for r in rounds])),
        "largest_difference": largest,
        "largest_feature": float(expected.abs().max()),
    }


def suite(settings: FidelitySettings, scratch: Path) -> dict[str, Any]:
    """The complete suite, cold and warm, against a call for the whole and for each class."""
    weights = random_weights(scratch / "inception.pth", 2, 64)
    names = CLASSES if len(CLASSES) == 8 else tuple(f"class {i}" for i in range(8))
    real, made = (eight_classes(names, settings, seed) for seed in (11, 12))
    cache = scratch / "cache"
    cold, _ = timed(lambda: fidelity(real, made, CachedEncoder(InceptionNetwork(weights), cache)))
    encoder = CachedEncoder(InceptionNetwork(weights), cache)
    warm, _ = timed(lambda: fidelity(real, made, encoder))
    pairs = [(real, made)]
    for label in range(len(names)):
        pairs.append((real.subset(real.labels == label), made.subset(made.labels == label)))
    peer = 0.0
    for one, other in pairs:
        of_both = encoder.encode(one), encoder.encode(other)
        peer += timed(partial(torch_fidelity_scores, one, other, weights))[0]
        peer += timed(partial(compute_prdc, *of_both, nearest_k=NEIGHBOURS))[0]
    return {
        "cells_a_class_and_side": settings.each,
        "cpu_seconds": {"torch-fidelity and prdc": peer, "rarecell, cold": cold, "rarecell, warm": warm},
        "times_faster": {"cold": peer / cold, "warm": peer / warm},
    }


def eight_classes(names: tuple[str, ...], settings: FidelitySettings, seed: int) -> CellSet:
    """Phantoms in eight classes, whatever number the phantom itself has."""
    total = settings.each * len(names)
    drawn = phantoms(dict.fromkeys(CLASSES, -(-total // len(CLASSES))), settings.edge, seed)
    labels = np.repeat(np.arange(len(names)), settings.each)
    return CellSet.from_arrays(drawn.pixels[:total], labels, names)


def torch_fidelity_scores(real: CellSet, made: CellSet, weights: Path) -> dict[str, float]:
    """Its FID, KID and precision/recall in one call, on one extraction of features."""
    found: dict[str, float] = torch_fidelity.calculate_metrics(
        input1=Images(made),
        input2=Images(real),
        cuda=False,
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=min(len(real), len(made), KID_SUBSET),
        kid_subsets=1,
        feature_extractor="inception-v3-compat",
        feature_extractor_weights_path=str(weights),
        batch_size=BATCH,
        cache=False,
        verbose=False,
    )
    return found


def manifolds(settings: FidelitySettings, scratch: Path) -> dict[str, Any]:
    """Seconds and peak memory of both against n, and a figure of them."""
    rows = []
    for n in settings.sizes:
        for who in ("rarecell", "prdc") if n <= PEER_MOST else ("rarecell",):
            words = [sys.executable, __file__, "--manifold", who, str(n), str(settings.width)]
            done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
            rows.append({"who": who, "n": n, **json.loads(done.stdout.splitlines()[-1])})
            print(rows[-1], file=sys.stderr, flush=True)
    draw(rows, settings.out / "fidelity.png")
    return {"width": settings.width, "rows": rows}


def one_manifold(who: str, n: int, width: int) -> None:
    """In a process of its own: its peak memory is that of this call and of what it imports."""
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    real, made = (random.normal(size=(n, width)).astype(np.float32) for _ in range(2))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call = manifold if who == "rarecell" else prdc_scores
    seconds, scores = timed(lambda: call(real, made))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"seconds": seconds, "mib": peak / 1024, "mib_before": before / 1024}
    print(json.dumps({**found, "scores": {name: float(value) for name, value in scores.items()}}))


def prdc_scores(real: NDArray[np.float32], made: NDArray[np.float32]) -> dict[str, float]:
    """Of the package, at the neighbours of density and coverage."""
    scores: dict[str, float] = compute_prdc(real, made, nearest_k=NEIGHBOURS)
    return scores


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Seconds and memory against n."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
    for axis, key, label in zip(axes, ("seconds", "mib"), ("CPU seconds", "peak memory, MiB"), strict=True):
        for who in ("rarecell", "prdc"):
            points = [(row["n"], row[key]) for row in rows if row["who"] == who]
            axis.plot(*zip(*points, strict=True), marker="o", label=who)
        axis.set_xscale("log")
        axis.set_xlabel("cells a side")
        axis.set_ylabel(label)
        axis.legend()
    axes[0].set_yscale("log")
    axes[1].set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--manifold"]:
        one_manifold(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        run_command(main, words_parser(__doc__, "key=value", "out=DIR, parts=[…], each=20"))
