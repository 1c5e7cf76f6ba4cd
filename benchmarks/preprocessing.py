"""Which images suit Macenko's two stains, what normalization evens out, and a picture of every step.

    python benchmarks/preprocessing.py shared=../shared/data picture=docs/images/preprocessing_pbc.png

Prints a row of percentiles (1st, median, 99th over images) for each collection at 96 px: the angle between
the two stains, the share of the density in their plane, the share of black pixels, the light, and how many
images suit. Then the spread between PBC images before and after normalization. The picture shows cells of PBC
(Acevedo et al. 2020, CC BY 4.0).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter

from cells.images import find_images, pack
from cells.phantom import CLASSES, phantoms
from cells.preprocessing import Preprocessing
from cells.sources import SplitFolderData, load
from cells.stain import Stains, lab_statistics, light_of, optical_density, stains_of
from cells.steps import Steps
from runtime.command import run_command, take_required, words_parser

SIZE = 96
SHOWN = ("basophil", "eosinophil", "lymphocyte", "monocyte", "neutrophil")
STEPS = {
    "as it is": [],
    "crop_to_cell": [{"kind": "crop_to_cell"}],
    "mask, cell": [{"kind": "mask"}],
    "mask, nucleus": [{"kind": "mask", "what": "nucleus"}],
    "reinhard": [{"kind": "stain_normalization"}],
    "macenko": [{"kind": "stain_normalization", "method": "macenko"}],
    "clahe": [{"kind": "clahe"}],
    "equalize": [{"kind": "equalize"}],
    "gamma 0.6": [{"kind": "gamma", "gamma": 0.6}],
    "denoise, nl_means": [{"kind": "denoise", "method": "nl_means"}],
    "unsharp": [{"kind": "unsharp"}],
}


def main(arguments: argparse.Namespace) -> None:
    """Measure and draw."""
    words, rest = take_required(arguments.words, "shared", "../shared/data")
    picture, _ = take_required(rest, "picture", "preprocessing.png")
    root = Path(words)
    print("| images | n | angle between stains | share of their plane | black | light | suit |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, images in collections(root).items():
        print(row(name, images))
    cells = load(SplitFolderData(root=root / "pbc-lt-128", image_size=SIZE))
    train, test = cells.subset(cells.splits == "train"), cells.subset(cells.splits == "val")
    train = train.subset(np.arange(0, len(train), 10))
    for name in ("as it is", "reinhard", "macenko"):
        steps = TypeAdapter(Steps).validate_python(STEPS[name])
        pixels = Preprocessing.fit(steps, train).apply(test.pixels)
        print(f"{name}: {between(pixels)}")
    chosen = test.subset([int(np.flatnonzero(test.labels == test.index_of(c))[3]) for c in SHOWN])
    made = {n: Preprocessing.fit(TypeAdapter(Steps).validate_python(s), train) for n, s in STEPS.items()}
    draw({name: done.apply(chosen.pixels) for name, done in made.items()}, Path(picture))


def collections(root: Path) -> dict[str, NDArray[np.uint8]]:
    """Up to 300 images of each collection, every so many."""
    folders = {
        "PBC": "pbc-lt-128/val",
        "all-taleqani, original": "all-taleqani-sample/original",
        "all-taleqani, segmented (black around)": "all-taleqani-sample/segmented",
        "chest X-rays": "chest-xray-sample",
    }
    found = {}
    for name, folder in folders.items():
        paths = [path for part in sorted((root / folder).iterdir()) for path in find_images(part)]
        found[name] = pack(paths[:: -(-len(paths) // 300)], SIZE)
    found["phantom"] = phantoms(dict.fromkeys(CLASSES, 50), SIZE, 0).pixels
    found["noise"] = np.random.default_rng(0).integers(0, 256, (50, SIZE, SIZE, 3), dtype=np.uint8)
    return found


def row(name: str, images: NDArray[np.uint8]) -> str:
    """A row of the table."""
    found = [stains(image) for image in images]
    known = [one for one in found if one is not None]

    def spread(values: list[float], digits: int) -> str:
        return " / ".join(f"{value:.{digits}f}" for value in np.percentile(values, [1, 50, 99]))

    suit = sum(one.suit for one in known) / len(images)
    return (
        f"| {name} | {len(images)} | {spread([s.angle for s in known], 0)} | "
        f"{spread([s.share for s in known], 3)} | {spread([s.black for s in known], 2)} | "
        f"{spread([float(s.light.min()) for s in known], 0)} | {suit:.0%} |"
    )


def stains(image: NDArray[np.uint8]) -> Stains | None:
    """The stains of one image, relative to its own light."""
    light = light_of(image)
    return stains_of(optical_density(image, light).reshape(-1, 3), light)


def between(pixels: NDArray[np.uint8]) -> str:
    """How much images differ: of light, first stain vector and CIELAB means the mean SD over images."""
    found = [one for one in map(stains, pixels) if one is not None and one.suit]
    light, first = np.array([one.light for one in found]), np.array([one.vectors[0] for one in found])
    lab = np.array([lab_statistics(image)[0] for image in pixels])
    return (
        f"SD between images: light {light.std(axis=0).mean():.1f} levels, first stain "
        f"{first.std(axis=0).mean():.3f}, CIELAB mean {lab.std(axis=0).mean():.2f}"
    )


def draw(made: dict[str, NDArray[np.uint8]], path: Path) -> None:
    """A column a step, a row a class."""
    count = len(SHOWN)
    figure, axes = plt.subplots(count, len(made), figsize=(1.25 * len(made), 1.3 * count + 0.3))
    for column, (name, images) in enumerate(made.items()):
        axes[0, column].set_title(name.replace(", ", ",\n"), fontsize=9)
        for line, image in enumerate(images):
            axes[line, column].imshow(image)
            axes[line, column].set_xticks([])
            axes[line, column].set_yticks([])
    for line, name in enumerate(SHOWN):
        axes[line, 0].set_ylabel(name, fontsize=9)
    figure.tight_layout(pad=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    Image.open(path).quantize(256).save(path, optimize=True)  # a third of the size, to the eye the same


if __name__ == "__main__":
    run_command(main, words_parser(__doc__, "shared=DIR picture=FILE", "the collections; where to draw"))
