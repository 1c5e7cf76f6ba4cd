"""Quotas to synthetic cells, each with the record from which it can be made again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cells.cellset import MICROSCOPY, MODALITY, CellSet
from generators.protocol import Generator, batches
from runtime.errors import InputError, suggest
from runtime.progress import progress
from runtime.seeds import seed_of

TRIAL_SECONDS, TRIAL_CELLS = 2.0, 64  # a trial draw lasts about so long, and has no more cells


def synthesize(
    generator: Generator,
    quotas: Mapping[str, int],
    seed: int,
    generator_name: str,
    split_digest: str,
    batch: int = 256,
) -> CellSet:
    """Draw synthetic cells.

    Args:
        generator: Trained.
        quotas: Cells per class; classes that are left out get none.
        seed: Image i of a class is drawn with ``seed_of(seed, class, i)``, so a larger quota
            begins with the images of a smaller one.
        generator_name: Written into each record.
        split_digest: Of the cells it was trained on; written into each record.
        batch: Images between updates of the progress bar.

    Returns:
        Cells of origin "synthetic", in the order of the generator's classes.

    Raises:
        InputError: If a class is unknown or a quota negative.
    """
    check_quotas(generator, quotas)
    labels = [label for label, name in enumerate(generator.classes) for _ in range(quotas.get(name, 0))]
    places = [i for name in generator.classes for i in range(quotas.get(name, 0))]
    seeds = [seed_of(seed, generator.classes[k], i) for k, i in zip(labels, places, strict=True)]
    pixels = _draw(
        generator,
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(seeds, dtype=torch.int64),
        batch,
    )
    common = _common(generator, generator_name, split_digest)
    return CellSet.from_arrays(
        pixels,
        labels,
        generator.classes,
        names=[
            f"{generator_name}/{generator.classes[k]}/{i:06d}" for k, i in zip(labels, places, strict=True)
        ],
        origin="synthetic",
        provenance=[{**common, "seed": each} for each in seeds],
    )


def seconds_per_cell(generator: Generator, quotas: Mapping[str, int]) -> float:
    """How long a cell takes on this machine, measured by drawing a few and throwing them away.

    A first draw of two warms up and says how many the measured one may have, since a large batch
    takes less time a cell than a small one. Weights have no say: an untrained network takes as long.

    Args:
        generator: Trained or not.
        quotas: Cells per class that are to be drawn, at least one.

    Returns:
        Seconds, above 0.

    Raises:
        InputError: If a class is unknown or a quota negative.
    """
    check_quotas(generator, quotas)
    labels = [label for label, name in enumerate(generator.classes) if quotas.get(name, 0)]
    first = _timed(generator, labels, 2)
    count = int(min(TRIAL_CELLS, sum(quotas.values()), max(2, TRIAL_SECONDS / first)))
    return _timed(generator, labels, count)


def _timed(generator: Generator, labels: list[int], count: int) -> float:
    """Seconds a cell of a draw of `count` cells, of the labels in turn."""
    column = torch.tensor([labels[i % len(labels)] for i in range(count)], dtype=torch.int64)
    begun = time.perf_counter()
    generator.sample(column, torch.arange(count))  # returns on the CPU: a device has finished by then
    return max(time.perf_counter() - begun, 1e-9) / count


def remake(generator: Generator, record: Mapping[str, Any], name: str) -> NDArray[np.uint8]:
    """Make one synthetic cell again.

    Args:
        generator: The one that drew it.
        record: Its provenance.
        name: Its class.

    Returns:
        uint8, shape (h, w, 3).
    """
    label = torch.tensor([generator.classes.index(name)])
    return _hwc(generator.sample(label, torch.tensor([int(record["seed"])])))[0]


def check_quotas(generator: Generator, quotas: Mapping[str, int]) -> None:
    """Refuse cells that the generator cannot draw.

    Raises:
        InputError: If a class is unknown or a quota negative.
    """
    for name, count in quotas.items():
        if name not in generator.classes:
            raise InputError(
                f"the generator has no class '{name}'.{suggest(name, generator.classes)} "
                f"Its classes: {', '.join(generator.classes)}."
            )
        if count < 0:
            raise InputError(f"counts.{name} is {count}; give 0 or more cells.")


def _draw(generator: Generator, labels: Tensor, seeds: Tensor, batch: int) -> NDArray[np.uint8]:
    drawn = [np.zeros((0, generator.image_size, generator.image_size, 3), np.uint8)]
    with progress(len(labels), "drawing cells") as bar:
        for part, own in batches(labels, seeds, batch):
            drawn.append(_hwc(generator.sample(part, own)))
            bar.update(len(part))
    return np.concatenate(drawn)


def _hwc(images: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())


def _common(generator: Generator, name: str, split_digest: str) -> dict[str, Any]:
    """What all records of one synthesis share."""
    common: dict[str, Any] = {"generator": name, "split_digest": split_digest}
    if generator.record is not None and generator.record.modality != MICROSCOPY:
        common[MODALITY] = generator.record.modality
    guidance = getattr(generator.settings, "guidance", None)
    return common if guidance is None else {**common, "guidance": guidance}
