"""The contest behind `benchmarks/generators.py`: who trains, for how long, and what is measured."""

import argparse
import threading
import time
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from pydantic import Field

from benchmarks.peers import Peer
from cells.cellset import CellSet
from cells.medmnist import MedmnistData
from cells.sources import SplitFolderData, load
from cells.split import Split, SplitSettings, divide
from classifiers.training import Classifier, ClassifierSettings
from evaluation.features.encoders import OnnxSettings, build_encoder
from evaluation.quality.agreement import label_agreement
from evaluation.quality.fidelity import fidelity
from generators import DiffusionSettings, GanSettings, build
from generators.grids import labelled_grid
from generators.synthesize import synthesize
from runtime.command import take
from runtime.config import Settings, load_config, to_dict
from runtime.devices import pick_device, prepare_processor
from runtime.rundir import RunDir, read_json, write_json, write_text, writing

PEER: Literal["denoising-diffusion-pytorch"] = "denoising-diffusion-pytorch"
Name = Literal["gan", "diffusion", "denoising-diffusion-pytorch"]
RARE = ("basophil", "lymphocyte", "monocyte")
NOTED_EVERY = 5.0  # seconds between notes of the time spent
TRIED = 30  # steps behind the estimate of a step's time
MARGIN = 0.97  # of the time is planned for: a schedule must end within it
SHOWN = 6  # cells of a class in the picture


class ComparisonSettings(Settings):
    """What is compared.

    Attributes:
        data: The long-tailed PBC tree.
        judge: ``pbc-natural-28.npz``: the judge learns from its train split, val is for the ceiling.
        encoder: An ONNX file.
        minutes: Of training. On a CPU: CPU time of the process over its threads, so that other programs
            take nothing away; on a GPU: of the clock.
        cells: Drawn of each class.
        contestants: Who takes part.
        gan: Our recipe; the time sets `steps`.
        diffusion: Our recipe; the time sets `steps`.
        peer_guidance: Weights of classifier-free guidance that the peer draws with, each a row of the
            table; 6 is its default.
        peer_sampling_steps: Steps of its DDIM sampler.
        judge_network: What the judge is.
        seed: Of everything.
    """

    data: SplitFolderData = SplitFolderData(root=Path("data/pbc-lt-128"), image_size=28)
    judge: Path = Path("data/pbc-natural-28.npz")
    encoder: OnnxSettings = OnnxSettings(path=Path("weights/mobilenet_v1_075_imagenet.onnx"))
    minutes: float = Field(15, gt=0)
    cells: int = Field(64, ge=50)
    contestants: tuple[Name, ...] = ("gan", "diffusion", PEER)
    gan: GanSettings = GanSettings(grid_every=0)
    diffusion: DiffusionSettings = DiffusionSettings(grid_every=0)
    peer_guidance: tuple[float, ...] = (6.0, 1.5)
    peer_sampling_steps: int = Field(32, ge=2, le=1000)
    judge_network: ClassifierSettings = ClassifierSettings(network="small_resnet", width=16, steps=3000)
    seed: int = 0


class Stopwatch:
    """Seconds of training over all the processes that it took, noted in a file every few seconds.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before = float(read_json(path)["seconds"]) if path.exists() else 0.0
        self._closed = threading.Event()
        self._noting = threading.Thread(target=self._note, daemon=True)

    @property
    def seconds(self) -> float:
        """Spent so far."""
        return self._before + now() - self._begun

    def __enter__(self) -> Self:
        self._begun = now()
        self._noting.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        self._noting.join()
        write_json(self.path, {"seconds": round(self.seconds, 1)})

    def _note(self) -> None:
        while not self._closed.wait(NOTED_EVERY):
            write_json(self.path, {"seconds": round(self.seconds, 1)})


def now() -> float:
    """Seconds on the clock that counts; see `ComparisonSettings.minutes`."""
    if pick_device().type == "cuda":
        return time.monotonic()
    return time.process_time() / torch.get_num_threads()


def main(arguments: argparse.Namespace) -> None:
    """Train who is left, draw, compare, write the page."""
    out, rest = take(arguments.words, "out")
    settings = load_config(ComparisonSettings, None, ["data.kind=split_folder", "data.image_size=28", *rest])
    prepare_processor()
    split = divide(load(settings.data), SplitSettings(leaks="drop"))  # one cell is in train and in test
    with RunDir(Path(out or "results/generators"), to_dict(settings)) as run:
        sets: dict[str, CellSet] = {}
        for name in settings.contestants:
            sets |= drawn(settings, name, split, run.path / name)
        rows = figures(settings, {"real (val)": split.val, **sets}, split.test, run.path)
        spent: dict[str, Any] = {
            name: read_json(run.path / name / "plan.json") for name in settings.contestants
        }
        write_json(run.path / "generators.json", {"rows": rows, "trainings": spent})
        page = table(settings, rows, spent)
        write_text(run.path / "generators.md", page)
        picture({"real (test)": split.test, **sets}, run.path / "generators.png")
    print(page, end="")


def drawn(settings: ComparisonSettings, name: Name, split: Split, folder: Path) -> dict[str, CellSet]:
    """Cells of a contestant, by the name of its row; read where they were drawn before."""
    draw = trained_peer if name == PEER else trained
    found = {}
    for label, pixels in draw(settings, name, split.train, folder).items():
        labels = np.arange(len(split.train.classes)).repeat(settings.cells)
        found[label] = CellSet.from_arrays(pixels, labels, split.train.classes, origin="synthetic")
    return found


def trained(settings: ComparisonSettings, name: Name, train: CellSet, folder: Path) -> dict[str, np.ndarray]:
    """Train one of ours for the time, and draw."""
    recipe = settings.gan if name == "gan" else settings.diffusion
    plan = folder / "plan.json"
    if not plan.exists():
        made = build(recipe.model_copy(update={"steps": 10**6}), train.classes, train.image_size)
        trainer = made._trainer(train)  # type: ignore[attr-defined]
        step = seconds_a_step(trainer.step)
        write_json(plan, {"steps": int(MARGIN * settings.minutes * 60 / step), "batch": recipe.batch})
    recipe = recipe.model_copy(update={"steps": read_json(plan)["steps"]})
    generator = build(recipe, train.classes, train.image_size, settings.seed)
    with RunDir(folder / "run", to_dict(recipe)) as run, Stopwatch(folder / "spent.json") as watch:
        generator.fit(train, run)
        if "seconds" not in read_json(plan):
            write_json(plan, {**read_json(plan), "seconds": round(watch.seconds)})
    quotas = dict.fromkeys(train.classes, settings.cells)
    return {name: kept(folder / "cells.npz", lambda: synthesize(generator, quotas, 1, name, "").pixels)}


def trained_peer(
    settings: ComparisonSettings, name: Name, train: CellSet, folder: Path
) -> dict[str, np.ndarray]:
    """Train the peer for the time, and draw at each weight of guidance."""
    peer = Peer(train, settings.seed)
    plan = folder / "plan.json"
    with Stopwatch(folder / "spent.json") as watch:
        steps = peer.fit(folder / "checkpoints", lambda: watch.seconds < settings.minutes * 60)
        if not plan.exists():
            write_json(plan, {"steps": steps, "batch": peer.batch, "seconds": round(watch.seconds)})
    labels = torch.arange(len(train.classes)).repeat_interleave(settings.cells)
    return {
        f"{name}, guidance {weight:g}": kept(
            folder / f"cells-{weight:g}.npz",
            lambda w=weight: peer.draw(labels, w, settings.peer_sampling_steps),
        )
        for weight in settings.peer_guidance
    }


def seconds_a_step(step: Any) -> float:
    """Mean over some steps, after a few that lay out memory."""
    for number in range(3):
        step(number)
    begun = now()
    for number in range(3, 3 + TRIED):
        step(number)
    return (now() - begun) / TRIED


def kept(path: Path, draw: Any) -> np.ndarray:
    """Pixels (n, h, w, 3) from a file, or drawn and written there."""
    if not path.exists():
        with writing(path) as aside, aside.open("wb") as file:
            np.savez_compressed(file, pixels=draw())
    with np.load(path, allow_pickle=False) as found:
        return np.asarray(found["pixels"])


def fitted_judge(
    settings: ComparisonSettings, classes: tuple[str, ...], folder: Path
) -> tuple[Classifier, CellSet]:
    """The judge, and the real cells that its ceiling is read on."""
    split = divide(load(MedmnistData(name=str(settings.judge), classes=classes)), SplitSettings())
    if not (folder / "config.json").exists():
        judge = Classifier(classes, settings.judge_network)
        judge.fit(split.train, seed=settings.seed, description="judge")
        judge.save(folder)
    return Classifier.load(folder), split.val


def figures(
    settings: ComparisonSettings, sets: dict[str, CellSet], test: CellSet, folder: Path
) -> dict[str, dict[str, Any]]:
    """KID, coverage and label agreement of each set, overall and by class."""
    encoder = build_encoder(settings.encoder, cache=folder / "cache")
    judge, unseen = fitted_judge(settings, test.classes, folder / "judge")
    rows: dict[str, dict[str, Any]] = {}
    for name, cells in sets.items():
        few = at_most(cells, settings.cells)
        scored = fidelity(test, few, encoder, seed=settings.seed)
        asked = label_agreement(few.resized(unseen.image_size), judge, unseen)
        judged = {one: (asked["per_class"][one], asked["ceiling_per_class"][one]) for one in test.classes}
        judged["overall"] = asked["share"], asked["ceiling"]
        measured = {"overall": scored["overall"], **scored["per_class"]}
        rows[name] = {
            scope: {
                "kid": measured[scope]["kid"],
                "coverage": measured[scope]["coverage"],
                "agreement": share,
                "ceiling": ceiling,
            }
            for scope, (share, ceiling) in judged.items()
        }
    return rows


def at_most(cells: CellSet, count: int) -> CellSet:
    """The first `count` cells of each class."""
    rows = [np.flatnonzero(cells.labels == label)[:count] for label in range(len(cells.classes))]
    return cells.subset(np.concatenate(rows))


def table(settings: ComparisonSettings, rows: dict[str, dict[str, Any]], spent: dict[str, Any]) -> str:
    """The page."""
    clock = f"{torch.get_num_threads()} CPU thread(s)"
    if pick_device().type == "cuda":
        clock = torch.cuda.get_device_name()
    trainings = [
        f"| {name} | {plan['steps']:,} | {plan['steps'] * plan['batch']:,} | {plan['seconds'] / 60:.1f} |"
        for name, plan in spent.items()
    ]
    parts = [block(rows, scope) for scope in ("overall", *RARE)]
    return f"""# Generators side by side, {settings.data.image_size} px, {settings.minutes:g} minutes each

`uv run benchmarks/generators.py`, {clock}, torch {torch.__version__}, seed {settings.seed}.

| trained | steps | images | minutes |
|---|---:|---:|---:|
{chr(10).join(trainings)}

{settings.cells} cells of each class against real test cells, equally many. KID times 1,000, between brackets
its 95 % range over halves of the test cells (lower is better). "real (val)" is what unseen real cells score.
Agreement: share of cells to which the judge gives their class; the last column is the judge's recall on
real cells.

{(chr(10) * 2).join(parts)}

![Test cells and what each draws of a class](generators.png)
"""


def block(rows: dict[str, dict[str, Any]], scope: str) -> str:
    """A table of one class, or of all."""
    lines = [
        f"## {scope.capitalize()}",
        "",
        "| | KID × 1,000 | coverage | agreement | ceiling |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in rows.items():
        found = row[scope]
        kid, halves = found["kid"], found["kid"]["matched"]
        lines.append(
            f"| {name} | {kid['value'] * 1e3:.1f} ({halves['low'] * 1e3:.1f} to {halves['high'] * 1e3:.1f}) "
            f"| {found['coverage']['value']:.2f} | {found['agreement']:.2f} | {found['ceiling']:.2f} |"
        )
    return chr(10).join(lines)


def picture(sets: dict[str, CellSet], path: Path) -> None:
    """Grids side by side, the first cells of each class, none chosen."""
    grids: list[tuple[str, Image.Image]] = []
    for name, cells in sets.items():
        few = at_most(cells, SHOWN)
        images = few.pixels.reshape(len(few.classes), SHOWN, *few.pixels.shape[1:])
        grids.append((name, labelled_grid(images, few.classes if not grids else ("",) * len(few.classes))))
    head, font = 28, ImageFont.load_default(size=16)
    page = Image.new("RGB", (sum(grid.width for _, grid in grids), grids[0][1].height + head), "white")
    left, pen = 0, ImageDraw.Draw(page)
    for name, grid in grids:
        page.paste(grid, (left, head))
        left += grid.width
        pen.text((left - grid.width / 2 + 8, head / 2), name, fill="black", font=font, anchor="mm")
    page.save(path)
