"""The page of predictions: each image or stack with its class and where the network saw it."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from classifiers.gradcam import grad_cam
from classifiers.samples import Samples
from evaluation.predictions.inputs import Sample
from evaluation.predictions.prediction import UNLIKE, UNREADABLE, Labeler, Row
from evaluation.reports.figures import picture
from evaluation.reports.pages import render

EDGE = 112  # pixels that an image is shown at
STACK_EDGE = 78  # and each of a stack: two stacks of six abreast
SLICES = 6  # images of a stack that are shown, at most
VEIL = 0.55  # of the map over the image, where it is strongest
UNREADABLE_SHOWN = 50
AT_A_TIME = 64  # images whose maps are computed at a time


@dataclass(frozen=True)
class Card:
    """One image or stack of the page.

    Attributes:
        rows: Pictures with what they show, row by row: an image and its map; of a stack its images, and
            below their maps.
    """

    name: str
    label: str
    percent: str
    second: str
    reason: str
    rows: list[list[tuple[str, str]]]


@dataclass(frozen=True)
class Section:
    """Samples of one kind, the first ones of `count`."""

    title: str
    text: str
    count: int
    cards: list[Card]


def write_page(
    rows: Sequence[Row],
    samples: Sequence[Sample],
    labeler: Labeler,
    origin: Path,
    file: Path,
    shown: int,
    rate: float,
) -> None:
    """Write the page; it has everything in it.

    Args:
        rows: Of all samples.
        samples: What was labelled, in the order of the rows.
        labeler: What they were labelled with.
        origin: The folder or table that they come from.
        file: The page.
        shown: Samples of each section at most.
        rate: Share of cells like the training cells that may be flagged.
    """
    classes, unit, depth = labeler.classifier.classes, labeler.unit, labeler.classifier.depth
    pairs = list(zip(rows, samples, strict=True))
    unlike = sorted((p for p in pairs if p[0].flag == UNLIKE), key=lambda pair: pair[0].familiarity or 0)
    plain = [pair for pair in pairs if pair[0].label is not None and not pair[0].flag]
    text = UNLIKE_TEXT.format(unit=unit)
    sections = [_section(UNLIKE, text, unlike, labeler, shown)] if unlike else []
    for label, name in enumerate(classes):
        of_class = sorted((p for p in plain if p[0].label == label), key=lambda pair: pair[0].probability)
        if of_class:
            sections.append(_section(name, "", of_class, labeler, shown))
    unreadable = [row for row in rows if row.flag == UNREADABLE]
    many = f"{len(rows):,} {unit}{'s' if len(rows) != 1 else ''}"
    render(
        "predictions.html.j2",
        file,
        title="Predictions",
        lead=f"{many} of “{origin.name}”, labelled by a classifier of {len(classes)} classes.",
        notices=_notices(labeler),
        tiles=_tiles(rows, classes),
        sections=sections,
        pictures=_what_is_shown(depth),
        unit=unit,
        limited=any(section.count > len(section.cards) for section in sections),
        flagging=_flagging(labeler, rate),
        unreadable=unreadable[:UNREADABLE_SHOWN],
        unreadable_count=len(unreadable),
        network=labeler.classifier.settings.network,
        edge=STACK_EDGE if depth else EDGE,
        columns=len(slices_shown(depth)) if depth else 2,
    )


UNLIKE_TEXT = (
    "Most unlike first. The classifier must give one of its classes to any {unit}, also to one that shows "
    "none of them: do not use the class of these without looking."
)


def slices_shown(depth: int) -> list[int]:
    """Which images of a stack the page shows: all, or `SLICES` at even distances, the first and last among
    them.
    """
    count = min(depth, SLICES)
    return [round(i * (depth - 1) / max(1, count - 1)) for i in range(count)]


def _what_is_shown(depth: int) -> str:
    """Which pictures are where, in words."""
    where = "where it found what speaks for the class (Grad-CAM, warmer is more)"
    if not depth:
        return f"Left, the image as the network sees it; right, {where}."
    shown = slices_shown(depth)
    which = "the images of the stack in their order"
    if len(shown) < depth:
        numbers = ", ".join(str(index + 1) for index in shown)
        which = f"{len(shown)} of the {depth} images of the stack (numbers {numbers})"
    return f"Above, {which}, as the network sees them; below each, {where}, on one scale for the whole stack."


def _section(
    title: str, text: str, pairs: Sequence[tuple[Row, Sample]], labeler: Labeler, shown: int
) -> Section:
    first = list(pairs[:shown])
    cells, reasons = labeler.cells([sample for _, sample in first])
    rows = [row for (row, _), reason in zip(first, reasons, strict=True) if not reason]  # not gone meanwhile
    classifier, depth = labeler.classifier, labeler.classifier.depth
    images = Samples(cells).images()  # (n, 3, h, w), or of stacks (n, depth, 3, h, w)
    labels = torch.tensor([row.label for row in rows], dtype=torch.int64)
    at_a_time = max(1, AT_A_TIME // max(1, depth))
    maps = [
        grad_cam(
            classifier.network, part.to(classifier.device).float().div_(255), of_part.to(classifier.device)
        )
        for part, of_part in zip(images.split(at_a_time), labels.split(at_a_time), strict=True)
        if len(part)
    ]
    pixels = images.movedim(-3, -1).numpy()  # (n, h, w, 3), or of stacks (n, depth, h, w, 3)
    found: Iterable[NDArray[np.float32]] = torch.cat(maps).cpu().numpy() if maps else ()
    cards = [_card(*one, classifier.classes) for one in zip(rows, pixels, found, strict=True)]
    return Section(title, text, len(pairs), cards)


def _card(row: Row, pixels: NDArray[np.uint8], found: NDArray[np.float32], classes: Sequence[str]) -> Card:
    assert row.label is not None
    order = np.argsort(row.probabilities)[::-1]
    second = f"{classes[order[1]]} {row.probabilities[order[1]]:.0%}" if len(order) > 1 else ""
    name, saw = row.name, f"Where the network saw {classes[row.label]}"
    if pixels.ndim == 3:
        seen, warm = _pictures(pixels, found, EDGE)
        rows = [[(seen, name), (warm, saw)]]
    else:
        rows = [[], []]
        for index in slices_shown(len(pixels)):
            seen, warm = _pictures(pixels[index], found[index], STACK_EDGE)
            rows[0].append((seen, f"{name}, image {index + 1}"))
            rows[1].append((warm, f"{saw}, image {index + 1}"))
    return Card(name, classes[row.label], f"{row.probability:.0%}", second, row.reason, rows)


def _pictures(pixels: NDArray[np.uint8], found: NDArray[np.float32], edge: int) -> tuple[str, str]:
    """An image and its map."""
    image = Image.fromarray(pixels).resize((edge, edge), Image.Resampling.BICUBIC)
    return _embedded(image), _embedded(overlay(image, found))


def overlay(image: Image.Image, found: NDArray[np.float32]) -> Image.Image:
    """The map over a gray copy of the image: the warmer, the more it speaks for the class.

    Args:
        image: RGB.
        found: The map, in [0, 1], shape (h, w); resized to the image.
    """
    strength = Image.fromarray((found * 255).round().astype(np.uint8)).resize(
        image.size, Image.Resampling.BICUBIC
    )
    share = np.asarray(strength, dtype=np.float32) / 255  # (h, w)
    color = matplotlib.colormaps["inferno"](share)[..., :3] * 255  # (h, w, 3)
    gray = np.asarray(image.convert("L"), dtype=np.float32)[..., None]
    veil = (0.25 + (VEIL - 0.25) * share)[..., None]
    return Image.fromarray((gray * (1 - veil) + color * veil).round().astype(np.uint8))


def _embedded(image: Image.Image) -> str:
    return "data:image/png;base64," + base64.b64encode(picture(image)).decode("ascii")


def _tiles(rows: Sequence[Row], classes: Sequence[str]) -> list[dict[str, Any]]:
    """How many images of each class, flagged ones apart."""
    plain = [row.label for row in rows if not row.flag]
    counts = [(name, plain.count(label)) for label, name in enumerate(classes)]
    flags = [(flag, sum(row.flag == flag for row in rows)) for flag in (UNLIKE, UNREADABLE)]
    return [{"value": f"{count:,}", "label": name} for name, count in [*counts, *flags]]


def _notices(labeler: Labeler) -> list[str]:
    if labeler.known is None:
        return [
            "This classifier's folder does not say what its training cells look like (known.json is "
            "missing), so nothing is flagged as unlike them. Train it again to have that."
        ]
    return []


def _flagging(labeler: Labeler, rate: float) -> str:
    """What the flag means, with its rate."""
    if labeler.known is None:
        return ""
    unit = labeler.unit
    of = "stack" if unit == "stack" else "cell"
    count = len(next(iter(labeler.known.views.values())).held_out)
    reached = 2 * labeler.threshold
    more = (
        f" ({rate:.1%} was asked for; {count:,} held-out {of}s cannot tell less than {reached:.1%})"
        if reached > rate * (1 + 1e-9)
        else ""
    )
    return (
        f"{'A stack' if of == unit else 'An image'} is flagged where it lies farther from the training {of}s "
        f"than all but {labeler.threshold:.2%} of {count:,} held-out {of}s do, in what the network sees or "
        f"in color and texture. Of {unit}s like the held-out {of}s, at most {reached:.1%} are flagged on "
        f"average{more}. What is not flagged may still be something else that looks alike."
    )
