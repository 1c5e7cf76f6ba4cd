"""The page of predictions: each image with its class and where the network saw it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from cells.images import to_tensor
from classifiers.gradcam import grad_cam
from evaluation.predictions.prediction import UNLIKE, UNREADABLE, Labeler, Row
from evaluation.reports.figures import picture
from evaluation.reports.pages import render

EDGE = 112  # pixels that an image is shown at
VEIL = 0.55  # of the map over the image, where it is strongest
UNREADABLE_SHOWN = 50


@dataclass(frozen=True)
class Card:
    """One image of the page."""

    file: str
    label: str
    percent: str
    second: str
    reason: str
    image: str
    map: str


@dataclass(frozen=True)
class Section:
    """Images of one kind, the first ones of `count`."""

    title: str
    text: str
    count: int
    cards: list[Card]


def write_page(
    rows: Sequence[Row], labeler: Labeler, root: Path, file: Path, shown: int, rate: float
) -> None:
    """Write the page; it has everything in it.

    Args:
        rows: Of all images.
        labeler: What they were labelled with.
        root: The folder of the images.
        file: The page.
        shown: Images of each section at most.
        rate: Share of cells like the training cells that may be flagged.
    """
    classes = labeler.classifier.classes
    unlike = sorted((row for row in rows if row.flag == UNLIKE), key=lambda row: row.familiarity or 0)
    plain = [row for row in rows if row.label is not None and not row.flag]
    sections = [_section(UNLIKE, UNLIKE_TEXT, unlike, labeler, root, shown)] if unlike else []
    for label, name in enumerate(classes):
        of_class = sorted((row for row in plain if row.label == label), key=lambda row: row.probability)
        if of_class:
            sections.append(_section(name, "", of_class, labeler, root, shown))
    unreadable = [row for row in rows if row.flag == UNREADABLE]
    render(
        "predictions.html.j2",
        file,
        title="Predictions",
        lead=f"{len(rows):,} files of “{root.name}”, labelled by a classifier of {len(classes)} classes.",
        notices=_notices(labeler),
        tiles=_tiles(rows, classes),
        sections=sections,
        limited=any(section.count > len(section.cards) for section in sections),
        flagging=_flagging(labeler, rate),
        unreadable=unreadable[:UNREADABLE_SHOWN],
        unreadable_count=len(unreadable),
        network=labeler.classifier.settings.network,
        edge=EDGE,
    )


UNLIKE_TEXT = (
    "Most unlike first. The classifier must give one of its classes to any image, also to one that shows "
    "none of them: do not use the class of these without looking."
)


def _section(title: str, text: str, rows: Sequence[Row], labeler: Labeler, root: Path, shown: int) -> Section:
    first = list(rows[:shown])
    cells, reasons = labeler.cells([root / row.file for row in first])
    first = [row for row, reason in zip(first, reasons, strict=True) if not reason]  # gone meanwhile
    classifier = labeler.classifier
    images = to_tensor(np.asarray(cells.pixels)).to(classifier.device)
    labels = torch.tensor([row.label for row in first], dtype=torch.int64, device=classifier.device)
    maps = [
        grad_cam(classifier.network, *part).cpu().numpy()
        for part in zip(images.split(64), labels.split(64), strict=True)
        if len(part[0])
    ]
    pairs = zip(first, cells.pixels, np.concatenate(maps) if maps else [], strict=True)
    cards = [_card(row, pixels, found, classifier.classes) for row, pixels, found in pairs]
    return Section(title, text, len(rows), cards)


def _card(row: Row, pixels: NDArray[np.uint8], found: NDArray[np.float32], classes: Sequence[str]) -> Card:
    assert row.label is not None
    order = np.argsort(row.probabilities)[::-1]
    second = f"{classes[order[1]]} {row.probabilities[order[1]]:.0%}" if len(order) > 1 else ""
    image = Image.fromarray(pixels).resize((EDGE, EDGE), Image.Resampling.BICUBIC)
    return Card(
        row.file,
        classes[row.label],
        f"{row.probability:.0%}",
        second,
        row.reason,
        _embedded(image),
        _embedded(overlay(image, found)),
    )


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
            "missing), so no image is flagged as unlike them. Train it again to have that."
        ]
    return []


def _flagging(labeler: Labeler, rate: float) -> str:
    """What the flag means, with its rate."""
    if labeler.known is None:
        return ""
    count = len(next(iter(labeler.known.views.values())).held_out)
    reached = 2 * labeler.threshold
    more = (
        f" ({rate:.1%} was asked for; {count:,} held-out cells cannot tell less than {reached:.1%})"
        if reached > rate * (1 + 1e-9)
        else ""
    )
    return (
        f"An image is flagged where it lies farther from the training cells than all but "
        f"{labeler.threshold:.2%} of {count:,} held-out cells do, in what the network sees or in color and "
        f"texture. Of images like the training cells at most {reached:.1%} are flagged{more}. What is not "
        "flagged may still be something else that looks alike."
    )
