"""Strategies: words, and words joined."""

import pytest

from classifiers.networks import EVERY_NETWORK
from classifiers.phases import FINETUNED
from classifiers.training import ClassifierSettings
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import (
    DECIDED,
    STRATEGIES,
    USES,
    USUAL,
    dose_word,
    plain_strategies,
    strategy_of,
)
from runtime.config import to_dict, validate
from runtime.errors import InputError


@pytest.mark.parametrize("name", [*STRATEGIES, *(f"gan+logit_adjustment+{use}" for use in USES)])
def test_every_word_sets_what_a_classifier_has(name: str) -> None:
    wanted = dict(strategy_of(name).training)
    made = validate(ClassifierSettings, wanted, name)
    assert {key: getattr(made, key) for key in wanted} == wanted


def test_the_usual_ones_are_words() -> None:
    assert set(USUAL) <= set(STRATEGIES)


def test_joined_words_decide_what_each_decides() -> None:
    joined = strategy_of("diffusion+logit_adjustment+balanced")
    assert joined.generator == "diffusion"
    assert joined.training == {"loss": "logit_adjustment", "sampler": "balanced"}
    assert joined.about == (
        "real, plus cells of the diffusion model; logits shifted by class share; classes drawn equally often"
    )


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("balanced", None),
        ("repeat+logit_adjustment", "repeat"),
        ("gan+x3+uncurated", "gan+uncurated"),
        ("uncurated+gan+mixed_seeds", "gan+mixed_seeds+uncurated"),
        ("diffusion+balanced", "diffusion"),
    ],
)
def test_a_source_is_named_by_what_decides_on_its_cells(name: str, source: str | None) -> None:
    assert strategy_of(name).source == source
    if source is not None:
        assert strategy_of(source).source == source


def test_only_gan_and_diffusion_are_models() -> None:
    """What draws from the training cells is a rival of the generative models, not one of them."""
    assert [word for word in STRATEGIES if strategy_of(word).models] == ["gan", "diffusion"]
    assert strategy_of("gan+uncurated+balanced").models and not strategy_of("smote+balanced").models


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gan+feature_smote+light_synthetic", "take light_synthetic or feature_smote"),
        ("smote+uncurated", "'uncurated', which changes nothing: smote trains no model"),
        ("repeat+mixed_seeds", "'mixed_seeds', which changes nothing"),
        ("uncurated", "names none"),
        ("balanced+mixed_seeds", "names none"),
        ("difusion", "Did you mean 'diffusion'"),
        ("diffusion+logit_adjustmnt", "no strategy 'logit_adjustmnt'"),
        ("diffusion+gan", "decides its generator twice"),
        ("class_weights+logit_adjustment", "decides its loss twice"),
        ("diffusion+real", "'real', which changes nothing"),
        ("diffusion+", r"lacks a word before or after '\+'"),
        ("x3", "names none; put one before it"),
        ("balanced+only", "names none"),
        ("diffusion+x1+fill", "decides its dose twice"),
        ("diffusion+x0", "'x0' is no dose; write x1"),
        ("diffusion+x3.0", "'x3.0' is no dose; write x3"),
        ("fast+resnet18", "decides its network twice"),
        ("gan+only+finetune", "alone, and 'finetune' tells them from real"),
        ("real_head+diffusion+only", "'real_head' tells"),
        ("gan+only+pretrain", "'pretrain' tells"),
        ("gan+only+real_priors", "'real_priors' tells"),
        ("gan+x3+light_synthetic+only", "'light_synthetic' tells"),
        ("logit_adjustment+post_hoc", "class share twice"),
        ("gan+post_hoc+balanced_softmax", "take balanced_softmax or post_hoc"),
        ("real_priors", "names none; put one before it, e.g. diffusion.real_priors"),
        ("gan+real_priors", "changes nothing: .* such as logit_adjustment"),
        ("gan+focal+real_priors", "loss does not go by class counts"),
        ("diffusion+crt+real_priors", "loss does not go by class counts"),
        ("gan+pretrain+light_synthetic", "'light_synthetic', which changes nothing"),
        ("logit_adjustment+pretrain", "names none"),
        ("diffusion+pretrain+real_head", "decides its phases twice"),
        ("ldam_drw+crt", "decides its phases twice"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        strategy_of(name)


def test_doses_and_uses_stand_beside_a_generator() -> None:
    dosed = strategy_of("diffusion+x0.25+logit_adjustment")
    assert (dosed.generator, dosed.dose, dosed.only) == ("diffusion", 0.25, False)
    assert dosed.training == {"loss": "logit_adjustment"}
    assert dosed.about.startswith("real, plus cells of the diffusion model; 0.25 synthetic cells per real")
    alone = strategy_of("gan+only+fill")
    assert (alone.generator, alone.dose, alone.only) == ("gan", "fill", True)
    assert [dose_word(dose) for dose in (0.25, 1.0, 10, "fill")] == ["x0.25", "x1", "x10", "fill"]


def test_words_for_synthetic_cells_join_any_loss() -> None:
    joined = strategy_of("diffusion+logit_adjustment+real_priors+light_synthetic+finetune")
    assert joined.training == {
        "loss": "logit_adjustment",
        "priors": "real",
        "synthetic_weight": 0.3,
        "phases": FINETUNED,
    }


@pytest.mark.parametrize(
    "word", ["ldam_drw", "class_weights", "post_hoc", "remix", "ldam", "balanced_softmax"]
)
def test_real_priors_join_all_that_goes_by_class_counts(word: str) -> None:
    assert strategy_of(f"gan+{word}+real_priors").training["priors"] == "real"


@pytest.mark.parametrize("key", DECIDED)
def test_a_study_leaves_to_strategies_what_they_decide(key: str) -> None:
    other = {
        "augmentation": "strong",
        "loss": "focal",
        "mixing": "mixup",
        "phases": [{"share": 1}],
        "post_hoc": 1,
        "priors": "real",
        "sampler": "balanced",
        "synthetic_weight": 0.5,
    }[key]
    plain = {"data": {"kind": "phantom"}, "strategies": ["real"]}
    with pytest.raises(InputError, match=f"'{key}' is what strategies differ in"):
        validate(StudySettings, {**plain, "classifier": {key: other}}, "here")
    study = validate(StudySettings, plain, "here")
    assert validate(StudySettings, to_dict(study), "here") == study


def test_real_cells_alone_are_those_that_nothing_is_done_with() -> None:
    names = ["unaugmented", "fast", "imagenet+resnet18", "balanced", "fast+focal", "repeat", "gan", "mixup"]
    assert plain_strategies(names) == ["unaugmented", "fast", "imagenet+resnet18"]


def test_a_network_is_a_word() -> None:
    assert strategy_of("fast").training == {"network": "fast", "width": None, "lr": None}
    assert strategy_of("repeat+small_resnet").generator == "repeat"
    for network in EVERY_NETWORK:
        validate(ClassifierSettings, dict(strategy_of(network).training), network)


def test_what_leaves_the_real_cells_out_says_so() -> None:
    assert (
        strategy_of("diffusion+only").about == "cells of the diffusion model; in the place of all real cells"
    )
