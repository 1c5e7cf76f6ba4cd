"""What every generator promises, and how a fitted one lies on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from cells.cellset import MICROSCOPY, CellSet
from cells.stacks import refuse_stacks
from runtime.checkpoint import load_weights, save_weights
from runtime.errors import InputError
from runtime.rundir import RunDir, first_difference, read_json, write_text

FORMAT = 1
MODEL = "model"  # sub-directory of a run that holds the finished generator


class Generator(Protocol):
    """A class-conditional source of images.

    Attributes:
        classes: Class names; a label is an index into them.
        image_size: Edge of its square images in pixels.
        seed: Seed of its training.
        record: What it was trained on; None before `fit`.
    """

    classes: tuple[str, ...]
    image_size: int
    seed: int
    record: FitRecord | None

    @property
    def settings(self) -> Any:
        """The validated settings it was built from."""

    def fit(self, cells: CellSet, run: RunDir, monitor: Monitor | None = None) -> Self:
        """Train on cells; the same call in the same directory goes on where it stopped.

        Args:
            cells: Training cells only, with this generator's classes and image size.
            run: Receives checkpoints/, samples/, log.jsonl, events/ and, last, model/.
            monitor: Called at every grid with (steps done, generator); its figures are logged. A
                `generators.choosing.Watch` is called at its own interval, and decides which moment of
                the training is kept.

        Raises:
            InputError: If the cells do not fit, or the directory holds another run.
        """

    def sample(self, labels: Tensor, seeds: Tensor) -> Tensor:
        """Draw images; each depends on its own class and seed only.

        Args:
            labels: int64, shape (n,).
            seeds: int64, shape (n,), non-negative.

        Returns:
            uint8, shape (n, 3, h, w), on the CPU.
        """

    def save(self, folder: Path) -> None:
        """Write weights.safetensors, config.json and seen.txt."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: If a file is missing, damaged, or of another kind.
        """


Monitor = Callable[[int, Generator], Mapping[str, float]]


@dataclass(frozen=True)
class FitRecord:
    """What a generator was trained on.

    Attributes:
        split_digest: Digest over the pixels of the training cells, in any order.
        seen: Pixel digest of every training cell, and where it was preprocessed also that of before;
            sorted.
        origins: Kinds of cells, e.g. ``("phantom",)``.
        counts: Training cells per class.
        modality: One of `cells.cellset.MODALITIES`.
        start: The saved model that the training started from: digests of its weights and training
            cells, ``class_map`` (class -> its class or None), classes ``left_out``, layers ``frozen``.
        watch: How the moment to keep was looked for; None where nobody looked.
        chosen: The moment that was kept: its ``step``, and where there was a watch its ``figures``,
            those of the last step and their fingerprint.
        findings: What was wrong with a class at the end of the training, in sentences, by class.
    """

    split_digest: str
    seen: tuple[str, ...]
    origins: tuple[str, ...]
    counts: Mapping[str, int]
    modality: str = MICROSCOPY
    start: Mapping[str, Any] | None = None
    watch: Mapping[str, Any] | None = None
    chosen: Mapping[str, Any] | None = None
    findings: Mapping[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, cells: CellSet) -> FitRecord:
        """The record of a training set."""
        seen = tuple(sorted({str(digest) for digest in (*cells.digests, *cells.original_digests)}))
        origins = tuple(sorted({str(origin) for origin in cells.origins}))
        return cls(cells.digest, seen, origins, dict(cells.counts), cells.modality)


def check_cells(generator: Generator, cells: CellSet) -> None:
    """Refuse cells that the generator cannot be trained on.

    Raises:
        InputError: Other classes or size, an empty class, stacks, or synthetic cells.
    """
    refuse_stacks(cells, "synthesis")
    if cells.classes != generator.classes:
        raise InputError(
            f"the generator has classes {list(generator.classes)}, the cells "
            f"{list(cells.classes)}: give both the same classes in the same order."
        )
    if cells.image_size != generator.image_size:
        raise InputError(
            f"the generator draws {generator.image_size} px, the cells have {cells.image_size} px: "
            "set data.image_size to the generator's size."
        )
    empty = [name for name, count in cells.counts.items() if count == 0]
    if empty:
        raise InputError(f"class '{empty[0]}' has no training cell; add some or drop the class.")
    if cells.is_synthetic.any():
        raise InputError("the training cells hold synthetic ones; train generators on real cells.")


def describe(generator: Generator, kind: str) -> dict[str, Any]:
    """The identity of a fit as plain values: the same identity resumes, another is refused."""
    record = generator.record
    assert record is not None, "describe() is for a generator that has its cells"
    return {
        "kind": kind,
        # Where the start model lies is not what it is: `start` has its digest.
        "settings": generator.settings.model_dump(mode="json", exclude={"start_from"}),
        "classes": list(generator.classes),
        "image_size": generator.image_size,
        "seed": generator.seed,
        "split_digest": record.split_digest,
        "modality": record.modality,
        "start": record.start,
        "watch": record.watch,
    }


def refuse_other(before: Mapping[str, Any], now: Mapping[str, Any], where: Path) -> None:
    """Raise InputError naming the first setting in which a saved run differs from this one."""
    changed = first_difference(dict(before), dict(now))
    if changed:
        raise InputError(
            f"{where}: was trained with another config ({changed}); undo the change or choose another out=."
        )


def save_model(
    generator: Generator,
    kind: str,
    tensors: Mapping[str, Tensor],
    folder: Path,
    beside: Callable[[Path], Mapping[str, Any]],
) -> None:
    """Write a fitted generator: seen.txt and weights first, then what `beside` writes, config.json last.

    Args:
        generator: Fitted.
        kind: One of `generators.GENERATORS`.
        tensors: Its weights.
        folder: Where to.
        beside: Writes other files of the model; returns what config.json says of them.
    """
    record = generator.record
    if record is None:
        raise InputError("the generator has not been trained yet; call fit() before save().")
    write_text(folder / "seen.txt", "".join(digest + "\n" for digest in record.seen))
    config = {
        "format": FORMAT,
        **describe(generator, kind),
        "origins": list(record.origins),
        "counts": dict(record.counts),
        "chosen": record.chosen,
        "findings": dict(record.findings),
        "versions": {name: version(name) for name in ("torch", "diffusers", "numpy")},
    }
    save_weights(folder, tensors, config, beside)


def model_folder(folder: Path) -> Path:
    """The saved model in a folder: the folder itself, or ``model/`` in a training's own directory."""
    inner = folder / MODEL
    own = (folder / "config.json").is_file()
    return inner if not own and (inner / "config.json").is_file() else folder


def load_model(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any], FitRecord]:
    """Read what `save_model` wrote.

    Raises:
        InputError: If a file is missing or damaged, or the model is of another kind or format.
    """
    tensors, config = load_weights(folder)
    if config.get("kind") != kind:
        raise InputError(f"{folder}: holds a generator of kind {config.get('kind')!r}, not {kind!r}.")
    if config.get("format") != FORMAT:
        raise InputError(
            f"{folder}: has format {config.get('format')}, this version reads {FORMAT}; "
            "train it again or use the version it was made with."
        )
    seen = folder / "seen.txt"
    if not seen.is_file():
        raise InputError(f"{seen}: no such file; without it evaluation cannot tell seen cells.")
    record = FitRecord(
        config["split_digest"],
        tuple(seen.read_text(encoding="utf-8").split()),
        tuple(config["origins"]),
        config["counts"],
        config.get("modality", MICROSCOPY),
        config.get("start"),
        config.get("watch"),
        config.get("chosen"),
        config.get("findings", {}),
    )
    return tensors, config, record


def finished(folder: Path, identity: Mapping[str, Any]) -> bool:
    """True where a finished model of this very fit lies.

    Raises:
        InputError: If a model of another fit lies there.
    """
    if not (folder / "config.json").is_file():
        return False
    saved = read_json(folder / "config.json")
    refuse_other({key: saved.get(key) for key in identity}, identity, folder)
    return True


def check_request(generator: Generator, labels: Tensor, seeds: Tensor) -> None:
    """Refuse labels and seeds that do not fit.

    Raises:
        InputError: Unequal lengths, a label out of range, or a negative seed.
    """
    if labels.shape != seeds.shape or labels.ndim != 1:
        raise InputError(
            f"labels {tuple(labels.shape)} and seeds {tuple(seeds.shape)}: give one of each per image."
        )
    if len(labels) == 0:
        return
    if int(labels.min()) < 0 or int(labels.max()) >= len(generator.classes):
        raise InputError(f"a label is outside 0 to {len(generator.classes) - 1}.")
    if int(seeds.min()) < 0:
        raise InputError("a seed is negative; seeds are integers from 0 on.")


def batches(labels: Tensor, seeds: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels and seeds in parts of at most `size`; none for no images."""
    for start in range(0, len(labels), size):
        yield labels[start : start + size], seeds[start : start + size]


def noise(seeds: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of which each row depends on its own seed only.

    Args:
        seeds: int64, shape (n,).
        shape: Shape of one row.

    Returns:
        float32, shape (n, *shape), on the CPU so that a seed means the same everywhere.
    """
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(rows) if rows else torch.zeros((0, *shape))


def as_tensor(cells: CellSet) -> tuple[Tensor, Tensor]:
    """Cells as tensors: uint8 (n, 3, h, w) and int64 (n,)."""
    images = torch.from_numpy(np.ascontiguousarray(cells.pixels.transpose(0, 3, 1, 2)))
    return images, torch.from_numpy(cells.labels.copy())


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] to uint8 on the CPU, same shape."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()
