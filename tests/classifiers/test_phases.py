"""Phases: how a budget of steps is divided, and where the learning rate begins anew."""

import pytest

from classifiers.phases import (
    DEFERRED,
    FINETUNED,
    PRETRAINED,
    REAL_HEAD,
    RETRAINED,
    WHOLE,
    Phase,
    cycles,
    restarts,
    step_ranges,
)
from classifiers.settings import ClassifierSettings
from runtime.config import validate
from runtime.errors import InputError

PLANS = {
    "whole": (WHOLE,),
    "deferred": DEFERRED,
    "retrained": RETRAINED,
    "pretrained": PRETRAINED,
    "finetuned": FINETUNED,
    "real_head": REAL_HEAD,
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
@pytest.mark.parametrize("steps", [3, 7, 1500])
def test_every_step_belongs_to_one_phase(plan: tuple[Phase, ...], steps: int) -> None:
    ranges = step_ranges(plan, steps)
    assert [step for part in ranges for step in part] == list(range(steps))
    assert len(ranges) == len(plan)


def test_shares_are_shares_of_the_steps() -> None:
    assert step_ranges(DEFERRED, 1000) == [range(800), range(800, 1000)]


def test_a_phase_without_a_step_is_refused() -> None:
    with pytest.raises(InputError, match=r"steps=1 leaves phase 2 of 2 without a step|phase 1 of 2"):
        step_ranges(DEFERRED, 1)


def test_a_rate_of_its_own_asks_for_a_restart() -> None:
    plan = (Phase(share=0.5), Phase(share=0.5, lr=0.1))
    with pytest.raises(InputError, match=r"phase 2 has lr=0\.1 and goes on .*; set restart: true"):
        step_ranges(plan, 100)
    step_ranges((Phase(share=0.5, lr=0.5), Phase(share=0.5, lr=0.1, trains="head")), 100)


def test_a_phase_goes_on_unless_it_restarts_or_trains_other_layers() -> None:
    assert restarts(DEFERRED) == [True, False]
    assert cycles(DEFERRED, step_ranges(DEFERRED, 100)) == [range(100), range(100)]
    for plan in (RETRAINED, REAL_HEAD):
        assert restarts(plan) == [True, True]
        assert cycles(plan, step_ranges(plan, 100)) == [range(80), range(80, 100)]
    three = (Phase(share=0.5), Phase(share=0.25, restart=True), Phase(share=0.25, loss="focal"))
    assert cycles(three, step_ranges(three, 100)) == [range(50), range(50, 100), range(50, 100)]


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        ([{"share": 0.5}], "add up to 0.5; make them add up to 1"),
        ([{"share": 1, "loss": "focl"}], "Did you mean 'focal'"),
        ([{"share": 1, "cell": "real"}], "unknown key 'phases.0.cell'"),
        ([{"share": 0}, {"share": 1}], r"phases\.0\.share"),
    ],
)
def test_phases_that_make_no_sense_are_refused(phases: list[dict[str, object]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        validate(ClassifierSettings, {"phases": phases}, "here")
