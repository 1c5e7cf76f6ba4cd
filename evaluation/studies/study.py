"""What the trials of a study share: its settings, its directory, its cells, and what is left to do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from cells import sources
from cells.balance import BalancePlan, plan_balance
from cells.found_pairs import FoundPairs, found_pairs, write_pairs
from cells.preprocessing import preprocessed
from cells.split import Split, divide, require_real
from cells.split_file import write_split
from cells.stacks import one_each
from classifiers.samples import Samples
from classifiers.training import Classifier
from evaluation.copies.detector import CopyDetector
from evaluation.features.encoders import Encoder, InceptionSettings, build_encoder
from evaluation.jobs.where import NOT_THE_STUDY, pool_size
from evaluation.studies.checks import check_additions, check_generators, check_strategies
from evaluation.studies.findings import inception_encoder
from evaluation.studies.monitor import ValidationMonitor, watch
from evaluation.studies.quotas import largest, quota_of
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import JOIN, MIXED, strategy_of
from generators import RESAMPLERS
from generators.choosing import Watch
from runtime.config import to_dict
from runtime.errors import InputError
from runtime.lease import FOLDER, holding
from runtime.progress import duration
from runtime.rundir import RunDir, read_json, write_json
from runtime.seeds import seed_of

NEAR = "near_duplicates.json"


@dataclass(frozen=True)
class Trial:
    """One strategy with one seed on one fold: a classifier, and the generator that it got cells from."""

    strategy: str
    classifier_seed: int
    generator_seed: int | None
    fold: int = 0

    @property
    def folder(self) -> Path:
        """Where its result belongs, under the study's directory."""
        return Path(self.strategy) / f"seed-{self.classifier_seed}" / f"fold-{self.fold}"


@dataclass(frozen=True)
class Study:
    """What all trials share: the settings, the directory, and the cells, split once."""

    settings: StudySettings
    run: RunDir
    split: Split
    say: Callable[[str], None]
    near: FoundPairs | None = None  # None where none were looked for

    @cached_property
    def depth(self) -> int:
        """Images of each stack; 0 for single images."""
        return Samples(self.split.train).depth

    @cached_property
    def counted(self) -> Split:
        """The split, of each stack one image: what has the labels and counts, and is shown."""
        split = self.split
        train, val, test = (one_each(cells) for cells in (split.train, split.val, split.test))
        return replace(split, train=train, val=val, test=test)

    @cached_property
    def rare(self) -> tuple[str, ...]:
        """The rare classes: as named, else those below a quarter of the mean class count.

        Raises:
            InputError: If there is none, or one of them is unknown or has no test cell.
        """
        counts = self.counted.train.counts
        mean = sum(counts.values()) / len(counts)
        rare = self.settings.rare or tuple(c for c, n in counts.items() if n < mean / 4)
        if not rare:
            raise InputError(
                f"no class has fewer than a quarter of the mean count ({mean:.0f} cells): "
                f"name the rare ones, e.g. rare=[{min(counts, key=lambda c: counts[c])}]."
            )
        for name in rare:
            if not self.split.test.of_class(name).labels.size:
                raise InputError(
                    f"rare: no test cell of class '{name}', so a gain cannot be measured; name others."
                )
        return tuple(rare)

    @cached_property
    def plan(self) -> BalancePlan:
        """What each class has and is to get."""
        return plan_balance(self.counted.train, self.settings.balance)

    @cached_property
    def shortfall(self) -> dict[str, int]:
        """How many synthetic cells each class is to get: the most that any strategy adds."""
        return self._most(self.settings.strategies)

    def quota(self, strategy: str) -> dict[str, int]:
        """How many synthetic cells of each class a strategy trains on.

        Raises:
            InputError: If it goes by the balance, and that gives none.
        """
        uses, planned = strategy_of(strategy), self.plan.quotas
        if uses.generator and uses.dose is None and not uses.only and not planned:
            raise InputError(
                f"balance.to={self.settings.balance.to}: no class is to get synthetic cells; use 'fill', "
                "a larger ratio, more cells per class, or a looser cap."
            )
        return quota_of(uses, planned, self.split.train.counts, self.rare)

    def wanted(self, kind: str) -> dict[str, int]:
        """Synthetic cells per class that a kind of generator is to give: enough for each strategy with it."""
        return self._most([s for s in self.settings.strategies if strategy_of(s).generator == kind])

    def _most(self, strategies: Sequence[str]) -> dict[str, int]:
        return largest([self.quota(s) for s in strategies], self.split.train.classes)

    def drawn(self, kind: str) -> dict[str, int]:
        """Cells that a generative model draws per class: what is wanted and what curation may reject."""
        return {name: math.ceil(self.settings.surplus * n) for name, n in self.wanted(kind).items()}

    @cached_property
    def copies(self) -> CopyDetector:
        """Knows near-copies of training cells; its threshold is read on validation cells."""
        return CopyDetector(self.split.train, self.split.val)

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Name and seed of every set of synthetic cells of the study, in the order in which they are made."""
        pairs = [(strategy_of(t.strategy).source, t.generator_seed) for t in trials(self.settings)]
        own = [(source, s) for source, s in pairs if source is not None and s is not None]
        return list(dict.fromkeys(one for source, s in own for one in [*self.parts(source), (source, s)]))

    def parts(self, source: str) -> list[tuple[str, int]]:
        """Name and seed of the sets that a source mixes; none for a source that has its own generators."""
        if not strategy_of(source).mixed_seeds:
            return []
        part = JOIN.join(word for word in source.split(JOIN) if word != MIXED)
        return [(part, seed) for seed in range(self.settings.seeds)]

    @property
    def generators(self) -> list[tuple[str, int]]:
        """Kind and seed of every generator of the study, in the order in which they are needed."""
        pairs = [(strategy_of(source).generator, s) for source, s in self.sources if not self.parts(source)]
        return list(dict.fromkeys((kind, s) for kind, s in pairs if kind is not None))

    @cached_property
    def encoders(self) -> list[Encoder | str]:
        """The encoder of the fidelity figures, and that of the FID or why there is none."""
        nets, chosen = self.run.path / "nets", self.settings.encoder
        with self.alone("nets/encoder"):
            own = build_encoder(chosen, self.split.train, seed_of("study", "encoder"), nets)
        if isinstance(chosen, InceptionSettings):
            return [own]
        return [own, inception_encoder(self.settings.inception, nets)]

    @cached_property
    def watch(self) -> Watch | None:
        """What looks at trainings of generators; its networks are trained apart from all others."""
        asked = self.settings.monitor
        if asked is None:
            return None
        train, nets = self.split.train, self.run.path / "nets"
        with self.alone("nets/encoder"):
            encoder = build_encoder(self.settings.encoder, train, seed_of("study", "monitor encoder"), nets)
        judge, seed = self.net("monitor"), seed_of("study", "monitor")
        return watch(asked, ValidationMonitor(self.split.val, encoder, judge, asked.cells, seed))

    @contextmanager
    def alone(self, part: str) -> Iterator[None]:
        """The right to make a part of the study: who else needs it waits until it is there.

        Args:
            part: Its folder under the study's directory, which is looked at again within.
        """
        say = partial(self.say, f"waiting for {part}, which another process makes")
        with holding(self.run.path / FOLDER / f"{part}.lease", say):
            yield

    @property
    def notices(self) -> list[str]:
        """What must be said beside any result of these cells."""
        notes = [
            note for note in (self.split.warning, *self.split.leaks_dropped, *self.settings.notes) if note
        ]
        if self.depth:
            notes.append(
                f"What is classified here is a stack of {self.depth} images: “cell” means one stack in all "
                "counts and figures."
            )
        if self.split.preprocessing is not None:
            notes += self.split.preprocessing.notices
        if (self.split.test.origins == "phantom").any():
            notes.insert(
                0,
                "These are drawn phantoms, not real cells: the study shows that the toolkit "
                "works and says nothing about any microscope's images.",
            )
        return notes

    def net(self, role: str) -> Classifier:
        """A classifier of the evaluation itself, trained once on the real training cells.

        Logit adjustment, so that it knows the rare classes as well as the common ones.

        Args:
            role: `curator`, `judge` or `monitor`; each has its own seed and sees no synthetic cell.
        """
        folder = self.run.path / "nets" / role
        with self.alone(f"nets/{role}"):
            if not (folder / "seconds.json").exists():
                self._train_net(role, folder)
        return Classifier.load(folder)

    def _train_net(self, role: str, folder: Path) -> None:
        self.say(f"training the {role}, a classifier of the evaluation itself")
        begun = time.monotonic()
        settings = self.settings.classifier.model_copy(
            update={
                "loss": "logit_adjustment",
                "augmentation": "mild",
                "sampler": "uniform",
                "keep": "last",
            }
        )
        net = Classifier(self.split.train.classes, settings)
        net.fit(self.split.train, seed=seed_of("study", role), description=role)
        net.save(folder)
        write_json(folder / "seconds.json", {"seconds": round(time.monotonic() - begun, 2)})


def trials(settings: StudySettings) -> list[Trial]:
    """All trials in order: those without a generative model first, then seed by seed."""
    modelled = [s for s in settings.strategies if settings.models(s)]
    plain = [s for s in settings.strategies if s not in modelled]
    pairs = [(s, seed) for names in (plain, modelled) for seed in range(settings.seeds) for s in names]
    fold = settings.split.fold
    return [Trial(s, seed, settings.generator_seed(s, seed), fold) for s, seed in pairs]


def pending(study: Study) -> Iterator[tuple[int, Trial]]:
    """The trials that have no result yet, with their number, counted from 1."""
    for number, trial in enumerate(trials(study.settings), start=1):
        if not (study.run.path / trial.folder / "result.json").exists():
            yield number, trial


def open_study(settings: StudySettings, run: RunDir, say: Callable[[str], None]) -> Study:
    """Read and split the cells, and refuse what cannot give an answer before anything is written.

    Args:
        settings: The study.
        run: Its directory, not yet entered.
        say: Takes each line of progress.

    Returns:
        The study, ready to run once its directory is entered and claimed.

    Raises:
        InputError: Synthetic cells in validation or test, no rare class, no shortfall, a preprocessing
            that does not suit the cells, a missing file of weights, or what `check_additions`,
            `check_strategies` and `check_generators` refuse.
    """
    for key, path in (("inception", settings.inception), ("encoder.path", settings.encoder.path)):
        if path is not None and not path.exists():
            raise InputError(f"{key}={path}: no such file; set it to where the weights are.")
    if settings.inception is not None and isinstance(settings.encoder, InceptionSettings):
        raise InputError(
            f"inception={settings.inception}: with encoder.kind=inception the weights are those of "
            "encoder.path; set that, and leave inception out."
        )
    assert not isinstance(settings.preprocess, dict), "several preprocessings are several studies"
    cells = sources.load(settings.data)
    near = found_pairs(cells, run.path / NEAR) if settings.split.near_duplicates else None
    split = preprocessed(divide(cells, settings.split, near.pairs if near else ()), settings.preprocess)
    require_real(split.val, "validation")
    require_real(split.test, "test")
    study = Study(settings, run, split, say, near)
    check_additions(settings, study.depth)
    assert study.rare  # it and the shortfall refuse what cannot work
    assert study.shortfall is not None
    check_strategies(settings, split, study.quota)
    check_generators(settings, split)
    return study


def claim(study: Study) -> None:
    """Note split and near duplicates in the study's directory, or refuse cells that it did not begin with.

    Raises:
        InputError: If the directory holds a study of other cells.
    """
    known, split = study.run.path / "split.json", study.split
    if known.exists() and read_json(known)["digest"] != split.source_digest:
        raise InputError(
            f"{study.run.path}: was begun with other cells than data now holds; choose a new out=."
        )
    if split.preprocessing is not None:
        split.preprocessing.save(study.run.path)
    write_split(known, split, study.settings.split)
    if study.near is not None:
        write_pairs(study.run.path / NEAR, study.near)


def time_left(study: Study) -> str:
    """How long the trials left will take, in words, from what those so far took."""
    classifier = float(np.mean([r["seconds"]["classifier"] for r in finished(study)]))
    left = [trial for _, trial in pending(study)]
    if not left:
        return "the last trial"
    seconds, unknown = classifier * len(left), []
    for kind in dict.fromkeys(k for k, _ in study.generators if k not in RESAMPLERS):
        # The first set of a kind stands for all: the others have no training of their own.
        source = next(name for name, _ in study.sources if strategy_of(name).generator == kind)
        folder = study.run.path / "synthetic" / source
        files = [folder / f"seed-{s}" / "funnel.json" for k, s in study.generators if k == kind]
        spent = [sum(read_json(f)["seconds"].values()) for f in files if f.exists()]
        seconds += (len(files) - len(spent)) * (float(np.mean(spent)) if spent else 0.0)
        unknown += [] if spent else [kind]
    seconds /= pool_size(study.settings.workers, len(left))
    return f"{duration(seconds)} left" + (f" and the training of {' and '.join(unknown)}" if unknown else "")


def finished(study: Study) -> list[dict[str, Any]]:
    """The results on disk, in the order of the trials."""
    files = [study.run.path / t.folder / "result.json" for t in trials(study.settings)]
    return [read_json(f) for f in files if f.exists()]


def study_config(settings: StudySettings) -> dict[str, Any]:
    """What makes a study this study: all settings but where it is written and where it runs."""
    return {key: value for key, value in to_dict(settings).items() if key not in NOT_THE_STUDY}
