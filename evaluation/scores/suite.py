"""All measures of one synthetic set against real folders: what `scripts/evaluate.py` runs."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from cells.cellset import UNPROCESSED, XRAY, CellSet
from cells.leaks import shared_cells
from cells.medmnist import Modality
from cells.preprocessing import Preprocessing
from classifiers.training import Classifier, ClassifierSettings
from evaluation.copies.memorization import near_copies
from evaluation.features.codecs import codec_note
from evaluation.features.encoders import DomainSettings, Encoder, EncoderSettings, build_encoder
from evaluation.quality.agreement import label_agreement
from evaluation.quality.cas import classification_accuracy
from evaluation.quality.cross_fitting import TooFewReal, cross_fitted_agreement
from evaluation.quality.fidelity import fidelity
from evaluation.quality.morphology_match import Known, known_numbers, morphology_match
from evaluation.scores.folders import FLAT, aligned, flattened, image_size, read_folder
from runtime.config import Settings, to_dict
from runtime.errors import InputError, suggest
from runtime.seeds import seed_of


class ScoreSettings(Settings):
    """How synthetic cells are scored, wherever they come from.

    Attributes:
        encoder: What the features are; see `evaluation.features.encoders`.
        modality: ``xray`` for images that are not to be flipped or turned; ``auto``: as a saved set says.
        floor_repeats: Random halvings of the reference behind each floor.
        copy_features: Look for copies in feature space, too; encodes `real`, or `synthetic` and
            `holdout` if they are fewer, in eight orientations.
        labels: Train a judge on `real` and ask it for the class of each synthetic image.
        judge: What that judge is.
        judge_folds: Without a holdout the judge is cross-fitted: so many nets, so many trainings.
        morphology: Compare areas, nucleus-to-cytoplasm ratio, lobes, granularity and hue; not of X-rays.
        cas: Classification accuracy score; costs the training of two networks.
        cas_classifier: What those two are.
        seed: Of every draw and fit.
    """

    encoder: EncoderSettings = DomainSettings()
    modality: Modality = "auto"
    floor_repeats: int = Field(default=10, ge=2, le=1000)
    copy_features: bool = True
    labels: bool = True
    judge: ClassifierSettings = ClassifierSettings(network="fast", sampler="balanced")
    judge_folds: int = Field(default=5, ge=3, le=20)
    morphology: bool = True
    cas: bool = False
    cas_classifier: ClassifierSettings = ClassifierSettings(network="fast", sampler="balanced")
    seed: int = 0


class EvaluateSettings(ScoreSettings):
    """What is scored against what, and how.

    Attributes:
        real: Folder of real images; with `holdout`, those that the generator was trained on.
        synthetic: Folder of synthetic images, whoever made them.
        holdout: Folder of real images that generator and encoder have not seen: the reference.
        image_size: Edge in pixels that all images are brought to; None takes the synthetic ones'.
    """

    real: Path
    synthetic: Path
    holdout: Path | None = None
    image_size: int | None = Field(default=None, ge=8, le=1024)


@dataclass(frozen=True)
class Sides:
    """The cells that are scored, and what they are scored against.

    Attributes:
        real: Real cells; with `holdout`, those that the generator was trained on.
        synthetic: Cells of the same classes and image size.
        holdout: Real cells that generator and encoder have not seen, or None.
        known: Morphology of cells where a written set has it; see `evaluation.quality.morphology_match`.
    """

    real: CellSet
    synthetic: CellSet
    holdout: CellSet | None
    known: Known = field(default_factory=dict)

    @property
    def reference(self) -> CellSet:
        """The real cells that the synthetic ones are compared with."""
        return self.real if self.holdout is None else self.holdout

    def as_modality(self, asked: str) -> "Sides":
        """The same cells, said to be of one modality; ``auto`` is what any of them says."""
        every = [side for side in (self.real, self.synthetic, self.holdout) if side is not None]
        found = XRAY if any(side.modality == XRAY for side in every) else self.synthetic.modality
        modality = found if asked == "auto" else asked
        return replace(
            self,
            real=self.real.with_modality(modality),
            synthetic=self.synthetic.with_modality(modality),
        )

    def of_same_classes(self) -> "Sides":
        """All sides in the classes of the real one, or all as one class where a side has none.

        Raises:
            InputError: If a side has cells of a class that the real one lacks.
        """
        return Sides(*_same_classes(self.real, self.synthetic, self.holdout), self.known)


def evaluate_folders(settings: EvaluateSettings, cache: Path | None = None) -> dict[str, Any]:
    """Read the folders and score them; see `read_sides` and `evaluate_sets`."""
    sides, said = read_sides(settings, cache)
    result = evaluate_sets(sides.real, sides.synthetic, sides.holdout, settings, cache, None, sides.known)
    return {**result, **said}


def read_sides(settings: EvaluateSettings, cache: Path | None = None) -> tuple[Sides, dict[str, Any]]:
    """Read the folders; beside their cells, what the result says of them (``preprocessing``,
    ``codec_note``).

    Where the synthetic folder holds a ``preprocessing.json``, as synthesize writes it, its generator
    learned from preprocessed cells: real images that are not so yet go through the same steps first.

    Raises:
        InputError: If a folder, an image, a class, the encoder or the preprocessing is not usable.
    """
    refuse_own_reference(settings, settings.holdout is not None)
    size = settings.image_size or image_size(settings.synthetic)
    real = read_folder(settings.real, size, cache)
    synthetic = read_folder(settings.synthetic, size, cache)
    holdout = read_folder(settings.holdout, size, cache) if settings.holdout else None
    sides = Sides(real, synthetic, holdout).as_modality(settings.modality)
    done = Preprocessing.load(settings.synthetic)
    unseen = None if sides.holdout is None else _alike(sides.holdout, done, "holdout")
    sides = replace(sides, real=_alike(sides.real, done, "real"), holdout=unseen)
    sides = replace(sides, known=_known_morphology(settings, sides))
    return sides, {
        "preprocessing": None if done is None else done.to_json(),
        "codec_note": codec_note(sides.reference, sides.synthetic, settings.encoder.codec),
    }


def refuse_own_reference(settings: ScoreSettings, unseen: bool) -> None:
    """Refuse an encoder that would be fitted on the cells that it scores against.

    Args:
        settings: Name the encoder.
        unseen: Whether there is a holdout.

    Raises:
        InputError: If so.
    """
    if _fits_domain(settings) and not unseen:
        raise InputError(
            "encoder.kind=domain without encoder.path is fitted on real=, so it cannot score "
            "against it: give holdout= with other real images, or encoder.path."
        )


def _known_morphology(settings: EvaluateSettings, sides: Sides) -> Known:
    """What the folders that rarecell wrote already say of their cells."""
    if not settings.morphology:
        return {}
    pairs = (
        (settings.real, sides.real),
        (settings.synthetic, sides.synthetic),
        (settings.holdout, sides.holdout),
    )
    found = [known_numbers(f, cells) for f, cells in pairs if f is not None and cells is not None]
    return {digest: values for each in found for digest, values in each.items()}


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
    settings: ScoreSettings,
    cache: Path | None = None,
    encoder: Encoder | None = None,
    known: Known | None = None,
) -> dict[str, Any]:
    """Score synthetic cells: fidelity, near-copies, label agreement, morphology.

    Args:
        real: Real cells; the generator's training cells where there is a holdout.
        synthetic: Cells of the same image size.
        holdout: Unseen real cells, the reference; None makes `real` the reference.
        settings: Folders in it are not read.
        cache: For features.
        encoder: What `suite_encoder` returned; None calls it.
        known: Morphology of cells where a written set has it; see `evaluation.quality.morphology_match`.

    Returns:
        JSON values: ``config``, ``copies`` (True where the generator copies its training cells, None where
        that cannot be told), ``counts`` per side, ``leaking`` (how many of `real` share an image
        or a group with a cell of `holdout`; None without one), and the results of `fidelity`,
        `near_copies`, `label_agreement`, `classification_accuracy` and `morphology`, each of the last
        four a ``{"reason": …}`` where it cannot be had.
    """
    real, synthetic, holdout = _same_classes(real, synthetic, holdout)
    encoder = encoder or suite_encoder(real, settings, cache)
    reference = real if holdout is None else holdout
    copies = _copies(real, synthetic, holdout, encoder if settings.copy_features else None, settings.seed)
    sides = {"real": real, "synthetic": synthetic, "holdout": holdout}
    return {
        "config": to_dict(settings),
        "copies": copies.get("copies"),
        "counts": {name: cells.counts for name, cells in sides.items() if cells is not None},
        "leaking": None if holdout is None else shared_cells(real, holdout),
        "reference": "real" if holdout is None else "holdout",
        "fidelity": fidelity(
            reference, synthetic, encoder, floor_repeats=settings.floor_repeats, seed=settings.seed
        ),
        "near_copies": copies,
        "label_agreement": _labels(real, synthetic, holdout, settings),
        "morphology": _morphology(reference, synthetic, known, settings),
        "classification_accuracy": _accuracy(real, synthetic, holdout, settings),
    }


def suite_encoder(real: CellSet, settings: ScoreSettings, cache: Path | None = None) -> Encoder:
    """The encoder of all figures of one scoring.

    Args:
        real: What a domain encoder is fitted on.
        settings: Name it, and the seed of its fit.
        cache: For features.

    Raises:
        InputError: If its weights are not usable, or a domain encoder has no classes to learn.
    """
    if _fits_domain(settings) and len(real.classes) < 2:
        raise InputError(
            "encoder.kind=domain needs class folders to be fitted on; set encoder.path, or use "
            "encoder.kind=onnx."
        )
    return build_encoder(settings.encoder, real, seed_of(settings.seed, "encoder"), cache)


def _fits_domain(settings: ScoreSettings) -> bool:
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


def _copies(
    real: CellSet, synthetic: CellSet, holdout: CellSet | None, encoder: Encoder | None, seed: int
) -> dict[str, Any]:
    if holdout is None:
        return {"reason": "not computable: give holdout= with real images the generator has not seen"}
    found = near_copies(synthetic, real, holdout, encoder=encoder, seed=seed)
    spaces = [found, found["features"] or {"worst": []}]
    for pair in [pair for one in spaces for pair in one["worst"]]:
        pair["synthetic"] = str(synthetic.names[pair["synthetic_index"]])
        pair["train"] = str(real.names[pair["train_index"]])
    return found


def _morphology(
    reference: CellSet, synthetic: CellSet, known: Known | None, settings: ScoreSettings
) -> dict[str, Any]:
    if not settings.morphology:
        return {"reason": "switched off by morphology=false"}
    return morphology_match(
        reference, synthetic, floor_repeats=settings.floor_repeats, seed=settings.seed, known=known
    )


def _labels(
    real: CellSet, synthetic: CellSet, holdout: CellSet | None, settings: ScoreSettings
) -> dict[str, Any]:
    if not settings.labels:
        return {"reason": "switched off by labels=false"}
    if len(real.classes) < 2:
        return {"reason": "not computable: needs class folders on every side"}
    if min(real.counts.values()) == 0:
        empty = min(real.counts, key=lambda name: real.counts[name])
        return {"reason": f"not computable: no real image of class '{empty}' to train a judge on"}
    if holdout is None:
        return _cross_fitted(real, synthetic, settings)
    judge = Classifier(real.classes, settings.judge)
    judge.fit(real, seed=seed_of(settings.seed, "judge"), description="judge of labels")
    return label_agreement(synthetic, judge, holdout)


def _cross_fitted(real: CellSet, synthetic: CellSet, settings: ScoreSettings) -> dict[str, Any]:
    seed = seed_of(settings.seed, "judge")
    try:
        return cross_fitted_agreement(synthetic, real, settings.judge, settings.judge_folds, seed)
    except TooFewReal as error:
        return {"reason": f"not computable: {error}"}


def _accuracy(
    real: CellSet, synthetic: CellSet, holdout: CellSet | None, settings: ScoreSettings
) -> dict[str, Any]:
    if not settings.cas:
        return {"reason": "switched off; cas=true trains two networks for it"}
    if holdout is None:
        return {"reason": "not computable: give holdout= with real images the generator has not seen"}
    seed = seed_of(settings.seed, "accuracy score")
    return classification_accuracy(real, synthetic, holdout, settings.cas_classifier, seed)
