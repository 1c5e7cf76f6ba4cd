"""All measures of one synthetic set against real folders: what `scripts/evaluate.py` runs."""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from cells.cellset import UNPROCESSED, XRAY, CellSet
from cells.leaks import shared_cells
from cells.medmnist import Modality
from cells.preprocessing import Preprocessing
from classifiers.training import Classifier, ClassifierSettings
from evaluation.agreement import label_agreement
from evaluation.cas import classification_accuracy
from evaluation.codecs import codec_note
from evaluation.encoders import DomainSettings, Encoder, EncoderSettings, build_encoder
from evaluation.fidelity import fidelity
from evaluation.folders import FLAT, aligned, flattened, image_size, read_folder
from evaluation.memorization import near_copies
from runtime.config import Settings, to_dict
from runtime.errors import InputError, suggest
from runtime.seeds import numpy_generator, seed_of

CEILING_SHARE = 5  # without a holdout, one real cell in five is kept from the judge


class EvaluateSettings(Settings):
    """What is scored against what.

    Attributes:
        real: Folder of real images; with `holdout`, those that the generator was trained on.
        synthetic: Folder of synthetic images, whoever made them.
        holdout: Folder of real images that generator and encoder have not seen: the reference.
        encoder: What the features are; see `evaluation.encoders`.
        image_size: Edge in pixels that all images are brought to; None takes the synthetic ones'.
        modality: ``xray`` for images that are not to be flipped or turned; ``auto``: as a saved set says.
        floor_repeats: Random halvings of the reference behind each floor.
        labels: Train a judge on `real` and ask it for the class of each synthetic image.
        judge: What that judge is.
        cas: Classification accuracy score; costs the training of two networks.
        cas_classifier: What those two are.
        seed: Of every draw and fit.
    """

    real: Path
    synthetic: Path
    holdout: Path | None = None
    encoder: EncoderSettings = DomainSettings()
    image_size: int | None = Field(default=None, ge=8, le=1024)
    modality: Modality = "auto"
    floor_repeats: int = Field(default=10, ge=2, le=1000)
    labels: bool = True
    judge: ClassifierSettings = ClassifierSettings(network="fast", sampler="balanced")
    cas: bool = False
    cas_classifier: ClassifierSettings = ClassifierSettings(network="fast", sampler="balanced")
    seed: int = 0


def evaluate_folders(settings: EvaluateSettings, cache: Path | None = None) -> dict[str, Any]:
    """Read the folders and score them; see `evaluate_sets`.

    Where the synthetic folder holds a ``preprocessing.json``, as synthesize writes it, its generator
    learned from preprocessed cells: real images that are not so yet go through the same steps first.

    Raises:
        InputError: If a folder, an image, a class, the encoder or the preprocessing is not usable.
    """
    if _fits_domain(settings) and settings.holdout is None:
        raise InputError(
            "encoder.kind=domain without encoder.path is fitted on real=, so it cannot score "
            "against it: give holdout= with other real images, or encoder.path."
        )
    size = settings.image_size or image_size(settings.synthetic)
    real = read_folder(settings.real, size, cache)
    synthetic = read_folder(settings.synthetic, size, cache)
    holdout = read_folder(settings.holdout, size, cache) if settings.holdout else None
    sides = [side for side in (real, synthetic, holdout) if side is not None]
    asked = settings.modality
    found = XRAY if any(side.modality == XRAY for side in sides) else synthetic.modality
    done = Preprocessing.load(settings.synthetic)
    real, synthetic = (side.with_modality(found if asked == "auto" else asked) for side in (real, synthetic))
    real = _alike(real, done, "real")
    holdout = None if holdout is None else _alike(holdout, done, "holdout")
    result = evaluate_sets(real, synthetic, holdout, settings, cache)
    note = codec_note(real if holdout is None else holdout, synthetic, settings.encoder.codec)
    return {
        **result,
        "preprocessing": None if done is None else done.to_json(),
        "codec_note": note,
    }


def _alike(cells: CellSet, done: Preprocessing | None, role: str) -> CellSet:
    """Real cells in the state of those that the generator learned from.

    Raises:
        InputError: If only some of them are preprocessed, or they are of another size.
    """
    ready = [UNPROCESSED in said for said in cells.provenance]
    if done is None or all(ready):
        return cells
    if any(ready):
        raise InputError(f"{role}=: some of its images are preprocessed and some are not; use one kind.")
    return done.cells(cells)


def evaluate_sets(
    real: CellSet,
    synthetic: CellSet,
    holdout: CellSet | None,
    settings: EvaluateSettings,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Score synthetic cells: fidelity, near-copies, label agreement.

    Args:
        real: Real cells; the generator's training cells where there is a holdout.
        synthetic: Cells of the same image size.
        holdout: Unseen real cells, the reference; None makes `real` the reference.
        settings: The folders in it are not read.
        cache: For features.

    Returns:
        JSON values: ``config``, ``counts`` per side, ``leaking`` (how many of `real` share an image
        or a group with a cell of `holdout`; None without one), and the results of `fidelity`, `near_copies`,
        `label_agreement` and `classification_accuracy`, each of the last three a ``{"reason": …}``
        where it cannot be had.
    """
    real, synthetic, holdout = _same_classes(real, synthetic, holdout)
    if _fits_domain(settings) and len(real.classes) < 2:
        raise InputError(
            "encoder.kind=domain needs class folders to be fitted on; set encoder.path, or use "
            "encoder.kind=onnx."
        )
    encoder: Encoder = build_encoder(settings.encoder, real, seed_of(settings.seed, "encoder"), cache)
    reference = real if holdout is None else holdout
    sides = {"real": real, "synthetic": synthetic, "holdout": holdout}
    return {
        "config": to_dict(settings),
        "counts": {name: cells.counts for name, cells in sides.items() if cells is not None},
        "leaking": None if holdout is None else shared_cells(real, holdout),
        "reference": "real" if holdout is None else "holdout",
        "fidelity": fidelity(
            reference, synthetic, encoder, floor_repeats=settings.floor_repeats, seed=settings.seed
        ),
        "near_copies": _copies(real, synthetic, holdout),
        "label_agreement": _labels(real, synthetic, holdout, settings),
        "classification_accuracy": _accuracy(real, synthetic, holdout, settings),
    }


def _fits_domain(settings: EvaluateSettings) -> bool:
    return isinstance(settings.encoder, DomainSettings) and settings.encoder.path is None


def _same_classes(
    real: CellSet, synthetic: CellSet, holdout: CellSet | None
) -> tuple[CellSet, CellSet, CellSet | None]:
    """All sides in the classes of the real one, or all as one class where a side has none."""
    sides = [side for side in (real, synthetic, holdout) if side is not None]
    if any(side.classes == (FLAT,) for side in sides):
        return flattened(real), flattened(synthetic), flattened(holdout) if holdout else None
    for side in sides:
        for name, count in side.counts.items():
            if count and name not in real.classes:
                raise InputError(f"class '{name}' has no folder under real=.{suggest(name, real.classes)}")
    classes = real.classes
    other = aligned(holdout, classes) if holdout is not None else None
    return real, aligned(synthetic, classes), other


def _copies(real: CellSet, synthetic: CellSet, holdout: CellSet | None) -> dict[str, Any]:
    if holdout is None:
        return {"reason": "not computable: give holdout= with real images the generator has not seen"}
    found = near_copies(synthetic, real, holdout)
    for pair in found["worst"]:
        pair["synthetic"] = str(synthetic.names[pair["synthetic_index"]])
        pair["train"] = str(real.names[pair["train_index"]])
    return found


def _labels(
    real: CellSet, synthetic: CellSet, holdout: CellSet | None, settings: EvaluateSettings
) -> dict[str, Any]:
    if not settings.labels:
        return {"reason": "switched off by labels=false"}
    if len(real.classes) < 2:
        return {"reason": "not computable: needs class folders on every side"}
    train, unseen = (real, holdout) if holdout is not None else _ceiling_split(real, settings.seed)
    if min(train.counts.values()) == 0:
        empty = min(train.counts, key=lambda name: train.counts[name])
        return {"reason": f"not computable: no real image of class '{empty}' to train a judge on"}
    judge = Classifier(train.classes, settings.judge)
    judge.fit(train, seed=seed_of(settings.seed, "judge"), description="judge of labels")
    return label_agreement(synthetic, judge, unseen)


def _accuracy(
    real: CellSet, synthetic: CellSet, holdout: CellSet | None, settings: EvaluateSettings
) -> dict[str, Any]:
    if not settings.cas:
        return {"reason": "switched off; cas=true trains two networks for it"}
    if holdout is None:
        return {"reason": "not computable: give holdout= with real images the generator has not seen"}
    seed = seed_of(settings.seed, "accuracy score")
    return classification_accuracy(real, synthetic, holdout, settings.cas_classifier, seed)


def _ceiling_split(real: CellSet, seed: int) -> tuple[CellSet, CellSet]:
    """Keep one cell in five of each class from the judge."""
    random = numpy_generator(seed, "ceiling")
    kept = np.zeros(len(real), dtype=bool)
    for label in range(len(real.classes)):
        rows = random.permutation(np.flatnonzero(real.labels == label))
        kept[rows[: len(rows) // CEILING_SHARE]] = True
    return real.subset(~kept), real.subset(kept)
