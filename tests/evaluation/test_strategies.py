"""Strategies: words, and words joined."""

import pytest

from classifiers.training import ClassifierSettings
from evaluation.strategies import STRATEGIES, USUAL, strategy_of
from runtime.config import validate
from runtime.errors import InputError


@pytest.mark.parametrize("word", STRATEGIES)
def test_every_word_sets_what_a_classifier_has(word: str) -> None:
    validate(ClassifierSettings, dict(strategy_of(word).training), word)


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
    ("name", "words"),
    [
        ("difusion", "Did you mean 'diffusion'"),
        ("diffusion+logit_adjustmnt", "no strategy 'logit_adjustmnt'"),
        ("diffusion+gan", "decides its generator twice"),
        ("class_weights+logit_adjustment", "decides its loss twice"),
        ("diffusion+real", "'real', which changes nothing"),
        ("diffusion+", "no strategy ''"),
    ],
)
def test_a_name_that_makes_no_sense_is_refused(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        strategy_of(name)
