"""The settings of a study, as one YAML file gives them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from cells.balance import BalanceSettings
from cells.sources import DataSettings
from cells.split import SplitSettings
from cells.steps import Steps
from classifiers.training import ClassifierSettings
from evaluation.features.encoders import DomainSettings, EncoderSettings
from evaluation.filters.curation import CurationSettings
from evaluation.jobs.where import SlurmSettings, Workers
from evaluation.studies.data_hunger import HungerDesign
from evaluation.studies.dose_response import DoseDesign
from evaluation.studies.model_selection import SelectionDesign
from evaluation.studies.monitor import WatchSettings
from evaluation.studies.strategies import DECIDED, JOIN, USUAL, strategy_of
from evaluation.studies.tuning import Tune, check_free, check_tune
from generators.diffusion import DiffusionSettings
from generators.gan import GanSettings
from generators.smote import SmoteSettings
from runtime.config import Settings

FolderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


Preprocess = Annotated[
    Annotated[Steps, Tag("list")] | Annotated[dict[FolderName, Steps], Tag("names")],
    Discriminator(lambda value: "names" if isinstance(value, dict) else "list"),
]


Design = Annotated[DoseDesign | HungerDesign | SelectionDesign, Field(discriminator="kind")]


class GeneratorsSettings(Settings):
    """One recipe per kind of generator."""

    gan: GanSettings = GanSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    smote: SmoteSettings = SmoteSettings()


class StudySettings(Settings):
    """A study, as one YAML file describes it.

    Attributes:
        data: Where the cells come from.
        split: How they are split, where the source has no split of its own.
        preprocess: What the images go through first, fitted to the training cells alone: a list of
            steps, or several lists by name, each of which is then a study of its own.
        balance: How many synthetic cells each class gets.
        rare: Names of the rare classes; null for those below a quarter of the mean class count.
        strategies: Names of strategies: words of `evaluation.studies.strategies.STRATEGIES`, alone or
            joined by "+".
        seeds: Units of the study. Six are the least that can show anything.
        shared_generators: One generator of each kind for all seeds, in place of one per seed.
        generators: Recipe of each kind of generator.
        monitor: How trainings of generators are watched on validation cells, and which moment is kept;
            null keeps the last step.
        classifier: The downstream network; the strategy sets its loss, sampler, augmentation, phases, ….
        tune: Settings of the classifier to choose on validation cells, by key, each with its candidates, e.g.
            ``classifier.lr: [0.005, 0.01]``: the same ones for every trial of every strategy.
        curation: What synthetic cells must pass.
        ablation: Score what each filter of the curation alone lets through, on the cells drawn by the
            generators of seed 0, which are kept under ``drawn/``.
        surplus: Synthetic cells drawn per cell wanted, so that curation has something to reject.
        encoder: Features for the fidelity figures.
        inception: Weights of torch-fidelity's Inception for the FID row; null uses them only if an
            earlier download left them in torch's hub folder.
        floor_repeats: Random halvings of the reference behind each floor.
        design: What is varied, over several studies where need be: ``dose``, ``data_hunger`` or
            ``model_selection``; null is one fixed split.
        morphology: Compare nuclei of synthetic cells with those of real ones; not of X-rays.
        notes: Sentences that the report prints beside the verdict.
        screen: Compare on the validation cells alone and leave the test cells alone, to find out which
            strategies a study is to have.
        out: Where the study is written; not part of what it is, nor are the next three.
        workers: Trials at a time on this machine, each in a process with its share of the cores or its own
            GPU; ``auto`` is one for each GPU, or without a GPU for each core.
        cluster: A cluster that runs the trials in place of this machine.
        reuse: Other studies, or folders of studies: a generator that one of them has trained with the same
            settings, seed and cells is copied, and not trained again; how it draws (guidance, sampler)
            may differ.
    """

    data: DataSettings
    split: SplitSettings = SplitSettings()
    preprocess: Preprocess = ()
    balance: BalanceSettings = BalanceSettings()
    rare: tuple[str, ...] | None = None
    strategies: tuple[str, ...] = USUAL
    seeds: int = Field(6, ge=1)
    shared_generators: bool = False
    generators: GeneratorsSettings = GeneratorsSettings()
    monitor: WatchSettings | None = None
    classifier: ClassifierSettings = ClassifierSettings()
    tune: Tune = Field(default_factory=dict)
    curation: CurationSettings = CurationSettings()
    ablation: bool = True
    surplus: float = Field(1.5, ge=1.0, le=20.0)
    encoder: EncoderSettings = DomainSettings()
    inception: Path | None = None
    floor_repeats: int = Field(10, ge=2)
    design: Design | None = None
    morphology: bool = True
    notes: tuple[str, ...] = ()
    screen: bool = False
    out: Path | None = None
    workers: Workers = 1
    cluster: SlurmSettings | None = None
    reuse: tuple[Path, ...] = ()

    @field_validator("strategies")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            strategy_of(name)
        if len({frozenset(name.split(JOIN)) for name in names}) < len(names) or not names:
            raise ValueError("name at least one strategy, and each only once, in any order of its words")
        return names

    @field_validator("rare")
    @classmethod
    def _each_once(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and len(set(names)) < len(names):
            raise ValueError("name each rare class once: their mean recall would count it twice")
        return names

    @field_validator("classifier", mode="before")
    @classmethod
    def _left_to_strategies(cls, value: Any) -> Any:
        if isinstance(value, dict):
            for key in DECIDED:
                usual = ClassifierSettings.model_fields[key].default  # as in a saved config
                given = value.get(key, usual)
                if (tuple(given) if isinstance(given, list) else given) != usual:
                    raise ValueError(f"'{key}' is what strategies differ in: leave it out")
        return value

    @field_validator("tune", mode="before")
    @classmethod
    def _dotted(cls, value: Any) -> Any:
        nested = value.get("classifier") if isinstance(value, dict) else None
        if not isinstance(nested, dict):
            return value
        rest = {key: values for key, values in value.items() if key != "classifier"}
        return {**rest, **{f"classifier.{key}": values for key, values in nested.items()}}

    @field_validator("tune")
    @classmethod
    def _tunable(cls, tune: Tune) -> Tune:
        check_tune(tune)
        return tune

    @field_validator("preprocess")
    @classmethod
    def _two_or_more(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) < 2:
            raise ValueError("name two or more lists of steps to compare, or give one list without a name")
        return value

    @model_validator(mode="after")
    def _something_to_mix(self) -> Self:
        mixed = [name for name in self.strategies if strategy_of(name).mixed_seeds]
        if mixed and (self.shared_generators or self.seeds < 2):
            raise ValueError(
                f"strategies: {mixed[0]} mixes the generators of several seeds, and here is one; "
                "set shared_generators=false and seeds=2 or more"
            )
        return self

    @model_validator(mode="after")
    def _screened_once(self) -> Self:
        if self.screen and (self.design is not None or isinstance(self.preprocess, dict)):
            raise ValueError(
                "screen=true is for one study: leave out design, and give one list in preprocess"
            )
        return self

    @model_validator(mode="after")
    def _tunes_what_is_free(self) -> Self:
        check_free(self.tune, self.strategies)
        return self

    @model_validator(mode="after")
    def _one_axis(self) -> Self:
        kind = None if self.design is None else self.design.kind
        if kind not in (None, "model_selection") and isinstance(self.preprocess, dict):
            raise ValueError(
                f"several lists of steps in preprocess do not go with design.kind={kind}: give one"
            )
        return self

    def models(self, strategy: str) -> bool:
        """Whether a strategy needs a generative model to be trained."""
        return strategy_of(strategy).models

    def generator_seed(self, strategy: str, seed: int) -> int | None:
        """The seed of the generator that a strategy uses with a seed; None if it uses none."""
        if strategy_of(strategy).generator is None:
            return None
        return 0 if self.shared_generators else seed

    def generators_in_common(self) -> dict[str, int]:
        """How many generators all units of a strategy share; without those whose units share none."""
        modelled = [name for name in self.strategies if self.models(name)]
        if self.shared_generators:
            return dict.fromkeys(modelled, 1)
        return {name: self.seeds for name in modelled if strategy_of(name).mixed_seeds}
