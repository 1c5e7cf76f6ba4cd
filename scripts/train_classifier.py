"""Train one classifier on real cells, and on synthetic ones beside them; score it on real ones.

    uv run scripts/train_classifier.py CONFIG out=DIR [synthetic=DIR] [key=value ...]

Writes weights.safetensors and config.json (the classifier: Classifier.load reads it back), known.json and
known.safetensors (what its training cells look like, for predict), scores.json (on val and test) and
log.jsonl. A finished classifier in out= is recognised; one that was stopped half-way is trained again from
the start.
"""

import argparse
from pathlib import Path
from typing import Any

from pydantic import Field

from cells.cellset import CellSet
from cells.preprocessing import preprocessed
from cells.reading import read_set
from cells.sources import DataSettings, load
from cells.split import Split, SplitSettings, divide
from cells.steps import Steps
from classifiers.samples import Samples
from classifiers.training import Classifier, ClassifierSettings
from evaluation.gains.gain import METRICS, scores
from evaluation.predictions.known import Known
from runtime.command import run_command, split_arguments, take_required, words_parser
from runtime.config import Settings, load_config, to_dict
from runtime.errors import InputError, suggest
from runtime.rundir import RunDir, read_json, write_json


class TrainClassifierSettings(Settings):
    """What to train, on what.

    Attributes:
        data: Where the real cells come from.
        split: How they are divided.
        preprocess: Steps that all images go through first, fitted to the training side.
        classifier: The network and its training.
        seed: Decides weights, batches and augmentation.
        rare: Classes whose mean recall is of interest; none: the one with the fewest cells.
        synthetic: Folder of a set that synthesize wrote; its cells join the training cells.
    """

    data: DataSettings
    split: SplitSettings = Field(default_factory=SplitSettings)
    preprocess: Steps = ()
    classifier: ClassifierSettings = Field(default_factory=ClassifierSettings)
    seed: int = 0
    rare: tuple[str, ...] = ()
    synthetic: Path | None = None


def main(arguments: argparse.Namespace) -> None:
    """Train, score and save the classifier that the arguments describe."""
    paths, overrides = split_arguments(arguments.words)
    out, overrides = take_required(overrides, "out", "results/classifier")
    if len(paths) != 1:
        raise InputError(f"give one config, e.g. configs/classifier_pbc.yaml, not {len(paths)}.")
    settings = load_config(TrainClassifierSettings, paths[0], overrides)
    split = preprocessed(divide(load(settings.data), settings.split), settings.preprocess)
    check_rare(settings.rare, split.train.classes)
    train = with_synthetic(split.train, settings.synthetic)
    check_weighing(settings.classifier, train)
    with RunDir(Path(out), to_dict(settings)) as run:
        if is_done(run.path, train, split):
            print(f"{out}: this classifier is trained already; nothing to do.")
        else:
            train_and_score(settings, train, split, run)
        found = read_json(run.path / "scores.json")["test"]
    print(", ".join(f"{name} {found[key]:.3f}" for key, name in METRICS.items()) + " on test cells")
    if split.warning:
        print(f"WARNING: {split.warning}")
    for notice in split.leaks_dropped:
        print(notice)
    print(f"classifier: {out}")


def check_rare(rare: tuple[str, ...], classes: tuple[str, ...]) -> None:
    """Refuse an unknown class before the training, not after it."""
    for name in rare:
        if name not in classes:
            raise InputError(f"rare: there is no class '{name}'.{suggest(name, classes)}")


def with_synthetic(train: CellSet, folder: Path | None) -> CellSet:
    """The training cells, and those of a saved set that was made from these very cells alone.

    Raises:
        InputError: If the set holds real cells, or was made from other cells.
    """
    if folder is None:
        return train
    added = read_set(folder)
    if not added.is_synthetic.all():
        raise InputError(
            f"{folder}: holds cells that are not synthetic; real ones belong into data, where they are split."
        )
    makers = {str(origin.get("split_digest")) for origin in added.provenance}
    if makers - {train.digest}:
        raise InputError(
            f"{folder}: its generator learned from other cells than these training cells (digest "
            f"{', '.join(sorted(makers))}, not {train.digest}) and may have seen the test cells; "
            "use a generator that was trained with the same data, split and preprocess."
        )
    try:
        return train + added
    except InputError as error:
        raise InputError(f"synthetic={folder}: {error}") from None


def check_weighing(classifier: ClassifierSettings, train: CellSet) -> None:
    """Refuse settings that tell synthetic cells from real ones where there are none.

    Raises:
        InputError: With the first such key.
    """
    for key in ("synthetic_weight", "priors"):
        usual = ClassifierSettings.model_fields[key].default
        if getattr(classifier, key) != usual and not train.is_synthetic.any():
            raise InputError(
                f"classifier.{key}: tells synthetic training cells from real ones, and there are none; add "
                "synthetic=DIR, or leave it out."
            )


def is_done(out: Path, train: CellSet, split: Split) -> bool:
    """True if `out` holds a classifier of these very cells.

    Raises:
        InputError: If it holds one of other cells, or a damaged one.
    """
    if not (out / "scores.json").is_file():
        return False
    before = read_json(out / "scores.json")
    if (before["trained_on"], before["split_digest"]) != (train.digest, split.digest):
        raise InputError(
            f"{out}: holds a classifier of the same config, but of images that have changed since; "
            "choose another out=."
        )
    Classifier.load(out)  # or it says what is wrong with the files
    return True


def train_and_score(settings: TrainClassifierSettings, train: CellSet, split: Split, run: RunDir) -> None:
    """Train; then write the classifier and, last, its scores."""
    classifier = Classifier(train.classes, settings.classifier)
    classifier.fit(train, seed=settings.seed, val=split.val)
    for row in classifier.history:
        run.log(**row)
    classifier.save(run.path)
    Known.fit(classifier, train, split.val).save(run.path)
    if split.preprocessing is not None:
        split.preprocessing.save(run.path)
        for notice in split.preprocessing.notices:
            print(f"WARNING: {notice}")
    counts = split.train.counts
    rare = settings.rare or (min(counts, key=lambda name: counts[name]),)
    found: dict[str, Any] = {
        side: scores(Samples(cells).labels.numpy(), classifier.probabilities(cells), train.classes, rare)
        for side, cells in (("val", split.val), ("test", split.test))
    }
    found |= {"rare": list(rare), "train_counts": train.counts}
    found |= {"trained_on": train.digest, "split_digest": split.digest, "leaking": split.leaking}
    write_json(run.path / "scores.json", found)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return words_parser(
        __doc__,
        "CONFIG | key=value",
        "a YAML such as configs/classifier_pbc.yaml; out=DIR; synthetic=DIR, a set that "
        "synthesize wrote; and any key of the config, e.g. classifier.network=fast seed=1",
    )


if __name__ == "__main__":
    run_command(main, parser())
