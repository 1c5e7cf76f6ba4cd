"""What tells a training which of its moments is best: validation KID and label agreement.

The networks that look are the monitor's own: the encoder, the judge and the curator of a study are
others, so that a generator is not chosen by what it is scored with later. Test cells play no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cells.cellset import CellSet
from cells.split import require_real
from classifiers.training import Classifier, ClassifierSettings
from evaluation.copies.seen import refuse_seen
from evaluation.features.encoders import (
    CachedEncoder,
    DomainSettings,
    Encoder,
    EncoderSettings,
    build_encoder,
)
from evaluation.quality.agreement import confusion
from evaluation.quality.fidelity import MIX_MINIMUM
from evaluation.quality.metrics import kid
from generators.choosing import Watch
from generators.protocol import Generator, model_folder
from generators.synthesize import synthesize
from runtime.config import Settings, digest, to_dict
from runtime.errors import InputError
from runtime.seeds import numpy_generator, seed_of

Deciding = Literal["kid", "label_agreement"]
ENDS: dict[Deciding, Literal["low", "high"]] = {"kid": "low", "label_agreement": "high"}


class WatchSettings(Settings):
    """How a training is watched.

    Attributes:
        every: Steps between looks; the last step is always looked at.
        cells: Synthetic cells drawn of each class at a look, with the same seeds each time.
        decide_by: The figure that decides; where it is equal the other one does, then the earlier step.
        choose: Keep the ``best`` moment as the model or the ``last``; the other lies beside it.
    """

    every: int = Field(default=500, ge=1)
    cells: int = Field(default=64, ge=2, le=5000)
    decide_by: Deciding = "kid"
    choose: Literal["best", "last"] = "best"


class MonitorSettings(WatchSettings):
    """How a training outside of a study is watched, and by which networks.

    Attributes:
        encoder: Features for the KID.
        classifier: What is asked for the class of a synthetic cell; fitted on the training cells.
    """

    encoder: EncoderSettings = DomainSettings()
    classifier: ClassifierSettings = ClassifierSettings(network="fast", sampler="balanced")


class ValidationMonitor:
    """Looks at a generator: how near its cells are to validation cells, and of which class.

    Args:
        val: Real cells that the generator does not learn from.
        encoder: Features for the KID.
        judge: Trained on real training cells.
        count: Cells drawn of each class.
        seed: Of the draws.

    Raises:
        InputError: If `val` has a synthetic cell, other classes than the judge, or fewer than two cells
            of each class.
    """

    def __init__(self, val: CellSet, encoder: Encoder, judge: Classifier, count: int, seed: int) -> None:
        require_real(val, "validation")
        if val.classes != tuple(judge.classes):
            raise InputError(f"monitor: knows classes {list(judge.classes)}, val has {list(val.classes)}.")
        self.encoder = encoder.encoder if isinstance(encoder, CachedEncoder) else encoder
        self.judge, self.count, self.seed = judge, count, seed
        self.mix = _mix(val)
        self.each = min(count, *(val.counts[name] for name in self.mix))
        rows = np.concatenate([self._rows(val, name) for name in self.mix])
        self.reference = val.subset(rows)
        self._features = self.encoder.encode(self.reference)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the figures were measured with; only figures of equal fingerprint are comparable."""
        total = len(self.reference)
        return {
            **self.encoder.fingerprint,
            "image_size": self.reference.image_size,
            "n_reference": total,
            "n_synthetic": total,
            "reference_split": "val",
            "reference": self.reference.digest,
            "classes": list(self.mix),
            "judge": digest({"settings": to_dict(self.judge.settings), **self.judge.origin}),
            "n_judged_per_class": self.count,
            "seed": self.seed,
        }

    def __call__(self, step: int, generator: Generator) -> Mapping[str, float]:
        """The figures of a moment.

        Returns:
            ``kid`` over equally many cells of each class of the mix; ``label_agreement``, the mean over
            classes of the share that the judge gives its class; that share of each class.
        """
        made = synthesize(generator, dict.fromkeys(generator.classes, self.count), self.seed, "look", "")
        compared = made.subset(np.concatenate([rows_of(made, name)[: self.each] for name in self.mix]))
        shares = np.diag(confusion(self.judge, made)) / self.count  # (C,)
        return {
            "kid": kid(self._features, self.encoder.encode(compared), self.seed),
            "label_agreement": float(shares.mean()),
            **{f"label_agreement/{c}": float(s) for c, s in zip(generator.classes, shares, strict=True)},
        }

    def _rows(self, val: CellSet, name: str) -> NDArray[np.int64]:
        random = numpy_generator(self.seed, "reference", name)
        return random.permutation(rows_of(val, name))[: self.each]


def rows_of(cells: CellSet, name: str) -> NDArray[np.int64]:
    """Rows of a class, in order."""
    return np.flatnonzero(cells.labels == cells.classes.index(name)).astype(np.int64)


def _mix(val: CellSet) -> tuple[str, ...]:
    """Classes that the KID is over: those with plenty of validation cells, else all that have two."""
    plenty = tuple(name for name, count in val.counts.items() if count >= MIX_MINIMUM)
    mix = plenty or tuple(name for name, count in val.counts.items() if count >= 2)
    if not mix:
        raise InputError(
            "monitor: no class has two validation cells; give more (split.fractions), or set monitor=null."
        )
    return mix


def watch(settings: WatchSettings, monitor: ValidationMonitor) -> Watch:
    """The monitor with its interval and its say."""
    names = sorted(ENDS, key=lambda name: name != settings.decide_by)
    order = tuple((name, ENDS[name]) for name in names)
    return Watch(monitor, settings.every, order, settings.choose, monitor.fingerprint)


def own_watch(
    settings: MonitorSettings, train: CellSet, val: CellSet, seed: int, folder: Path, start: Path | None
) -> Watch:
    """The watch of a training outside of a study, with networks of its own.

    Args:
        settings: The monitor's.
        train: Real cells that its networks are fitted on, once.
        val: Real cells that it compares with.
        seed: Of its networks and draws.
        folder: Where the networks are kept.
        start: Model that the training starts from, which must not have seen a cell of `val`.

    Raises:
        InputError: For cells that cannot serve, or that the start model has seen.
    """
    if start is not None:
        refuse_seen(model_folder(start) / "seen.txt", val)
    encoder = build_encoder(settings.encoder, train, seed_of(seed, "monitor", "encoder"), folder)
    if not (folder / "judge" / "config.json").is_file():
        judge = Classifier(train.classes, settings.classifier)
        judge.fit(train, seed=seed_of(seed, "monitor", "judge"), description="monitor's classifier")
        judge.save(folder / "judge")
    judge = Classifier.load(folder / "judge")
    return watch(settings, ValidationMonitor(val, encoder, judge, settings.cells, seed_of(seed, "look")))
