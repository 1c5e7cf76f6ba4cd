"""Label new images, or new stacks of images, with a trained classifier.

    uv run scripts/predict.py classifier=DIR images=DIR_OR_TABLE out=DIR [rate=0.01] [shown=24]

Images are read, cut out and preprocessed as those of the training were; folders in the folder are searched,
too. A classifier of stacks takes a table with the columns file, stack and index, or a folder that prepare
wrote. Writes predictions.csv (every image or stack: class, probabilities, a flag for what looks like nothing
in the training set) and predictions.html (images with their class and Grad-CAM maps).
"""

import argparse
from pathlib import Path
from typing import Annotated

from pydantic import Field

from evaluation.predictions.inputs import find_samples
from evaluation.predictions.page import write_page
from evaluation.predictions.prediction import UNLIKE, UNREADABLE, Labeler, write_csv
from runtime.command import run_command, split_arguments, take_required, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError
from runtime.rundir import RunDir


class PredictSettings(Settings):
    """What to label, and with what.

    Attributes:
        classifier: Folder that train_classifier wrote.
        images: Folder of images; class folders in it are searched, and their names mean nothing. Or a table
            (CSV, TSV, JSONL) of images or stacks; a column `label` in it is not looked at.
        rate: Share of cells like the training cells that may be flagged as unlike them.
        shown: Images or stacks that the page shows of each class, and of the flagged ones, at most.
    """

    classifier: Path
    images: Path
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.01
    shown: Annotated[int, Field(ge=1, le=500)] = 24


def main(arguments: argparse.Namespace) -> None:
    """Label the images that the arguments name."""
    paths, overrides = split_arguments(arguments.words)
    if paths:
        raise InputError(f"'{paths[0]}': predict takes key=value words only, e.g. images={paths[0]}.")
    out, overrides = take_required(overrides, "out", "results/predictions")
    settings = load_config(PredictSettings, None, overrides)
    labeler = Labeler(settings.classifier, settings.rate)
    samples = find_samples(settings.images, labeler.classifier.depth)
    with RunDir(Path(out), to_dict(settings)) as run:
        rows = labeler.label(samples)
        first = "stack" if labeler.classifier.depth else "file"
        write_csv(rows, labeler.classifier.classes, run.path / "predictions.csv", first)
        page = run.path / "predictions.html"
        write_page(rows, samples, labeler, settings.images, page, settings.shown, settings.rate)
    unlike, unread = (sum(row.flag == flag for row in rows) for flag in (UNLIKE, UNREADABLE))
    print(f"{len(rows)} {labeler.unit}s: {unlike} {UNLIKE}, {unread} {UNREADABLE}")
    if labeler.known is None:
        print(f"WARNING: {settings.classifier} has no known.json, so nothing is flagged as {UNLIKE}.")
    print(f"predictions: {page}")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(
        __doc__,
        "key=value",
        "classifier=DIR, as train_classifier wrote it; images=DIR, or a table; out=DIR; rate=0.01, the share "
        "of usual cells that may be flagged; shown=24, images of a class on the page",
    )


if __name__ == "__main__":
    run_command(main, parser())
