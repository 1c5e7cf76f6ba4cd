"""Settings chosen on validation cells: the same candidates for all, and the record of the choice."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cells.cellset import CellSet
from cells.phantom import phantoms
from classifiers.settings import ClassifierSettings
from classifiers.training import Classifier
from evaluation.benchmark import run_study
from evaluation.studies.settings import StudySettings
from evaluation.studies.tuning import candidates, fit_tuned
from runtime.config import load_config
from runtime.errors import InputError

SMALL = ClassifierSettings(network="fast", width=4, steps=12, batch=8)
STUDY = ["data.kind=phantom", "strategies=[real]"]


def fields() -> tuple[CellSet, CellSet]:
    made = phantoms({"lobed": 30, "round": 20, "blast": 10}, 16, seed=0)
    order = np.random.default_rng(0).permutation(len(made))
    return made.subset(order[:40]), made.subset(order[40:])


def test_candidates_are_all_combinations() -> None:
    made = candidates(SMALL, {"classifier.lr": (0.1, 0.2), "classifier.width": (4, 8)})
    assert [(s.lr, s.width) for _, s in made] == [(0.1, 4), (0.1, 8), (0.2, 4), (0.2, 8)]
    assert all(s.steps == 12 for _, s in made)
    assert made[1][0] == {"classifier.lr": 0.1, "classifier.width": 8}
    assert candidates(SMALL, {}) == [({}, SMALL)]


def test_the_best_on_validation_is_kept_and_recorded() -> None:
    train, val = fields()
    rates = (1e-7, 1e-2)
    net, record = fit_tuned(train, val, SMALL, {"classifier.lr": rates}, ["blast"], seed=3, description="")
    looked = record["tuned"]["candidates"]
    assert [row["values"] for row in looked] == [{"classifier.lr": rate} for rate in rates]
    figures = []
    for rate in rates:  # each is what it would be on its own
        alone = Classifier(train.classes, SMALL.model_copy(update={"lr": rate})).fit(train, seed=3)
        blasts = val.of_class("blast")
        figures.append(float((alone.predict(blasts) == blasts.labels).mean()))
    assert [row["mean_rare_recall"] for row in looked] == figures
    best = rates[int(np.argmax(figures))]
    assert record["tuned"]["chosen"] == {"classifier.lr": best} and net.settings.lr == best


def test_nothing_to_tune_is_one_plain_training() -> None:
    train, val = fields()
    net, record = fit_tuned(train, val, SMALL, {}, ["blast"], seed=3, description="")
    assert record == {}
    plain = Classifier(train.classes, SMALL).fit(train, seed=3)
    np.testing.assert_array_equal(net.probabilities(val), plain.probabilities(val))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("tune.classifier.learning=[1,2]", "'classifier.learning' cannot be tuned.*Did you mean"),
        ("tune.classifier.loss=[focal,ldam]", "'classifier.loss' is what strategies differ in"),
        ("tune.classifier.steps=[1,2]", "'classifier.steps' is the same for all"),
        ("tune.classifier.lr=[0.1]", "needs two candidates"),
        ("tune.classifier.lr=[0.1,0.1]", "each of them once"),
        ("tune.classifier.lr=[0.1,-1]", r"'lr' = -1"),
    ],
)
def test_what_cannot_be_tuned_is_refused(word: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(StudySettings, None, [*STUDY, word])


def test_what_a_strategy_is_named_for_is_not_tuned() -> None:
    words = ["data.kind=phantom", "tune.classifier.weights=[none,imagenet]"]
    with pytest.raises(InputError, match="cannot be tuned beside the strategy 'imagenet', which decides it"):
        load_config(StudySettings, None, [*words, "strategies=[real,imagenet]"])
    assert load_config(StudySettings, None, [*words, "strategies=[real]"]).tune
    rates = ["data.kind=phantom", "tune.classifier.lr=[0.1,0.2]", "strategies=[real,resnet18]"]
    assert load_config(StudySettings, None, rates).tune


def test_a_config_reads_back() -> None:
    words: dict[str, Any] = {"classifier.lr": [0.1, 0.2]}
    study = load_config(StudySettings, None, [*STUDY, "tune.classifier.lr=[0.1,0.2]"])
    assert study.tune == {"classifier.lr": (0.1, 0.2)}
    again = StudySettings.model_validate(study.model_dump(mode="json"))
    assert again == study == StudySettings.model_validate({**study.model_dump(mode="json"), "tune": words})


def test_a_study_tunes_every_strategy_alike_and_says_what_was_chosen(tmp_path: Path) -> None:
    tiny = {"network": "fast", "width": 4, "steps": 5, "batch": 8}
    study = StudySettings.model_validate(
        {
            "data": {
                "kind": "phantom",
                "image_size": 16,
                "counts": {"lobed": 24, "round": 20, "blast": 5},
                "val_per_class": 4,
                "test_per_class": 4,
            },
            "rare": ["blast"],
            "balance": {"to": 0.5},
            "strategies": ["real", "crt", "repeat+logit_adjustment+real_priors+real_head"],
            "seeds": 1,
            "classifier": {**tiny, "keep": "best"},
            "tune": {"classifier.lr": [0.001, 0.01]},
            "encoder": {"kind": "domain", "classifier": tiny},
            "floor_repeats": 2,
        }
    )
    results = run_study(study, tmp_path / "study", lambda _: None)
    assert [trial["strategy"] for trial in results["trials"]] == list(study.strategies)
    for trial in results["trials"]:
        assert len(trial["tuned"]["candidates"]) == 2
        figures = [row["mean_rare_recall"] for row in trial["tuned"]["candidates"]]
        assert trial["validation"]["mean_rare_recall"] == max(figures)
    assert results["trials"][2]["train_counts"]["blast"] > 5
