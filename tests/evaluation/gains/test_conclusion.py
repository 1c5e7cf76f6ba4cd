"""The primary contrast: which pair, what is said of it, and how often it is wrong on planted studies."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from drawn_trials import study, trial

from evaluation.gains.answers import Answers
from evaluation.gains.conclusion import conclude
from evaluation.gains.planted import Plan, expected_difference, planted

SYNTHETIC = ("gan", "diffusion")


def decided(
    records: list[dict[str, Any]], shared: bool | Mapping[str, int] = False, majority: float = 0.5
) -> dict[str, Any]:
    return conclude(records, synthetic=SYNTHETIC, majority_rate=majority, shared_generators=shared)


def test_a_planted_gain_is_found() -> None:
    result = decided(study({"real": 0.80, "logit_adjustment": 0.85, "gan": 0.95, "diffusion": 0.82}))
    assert (result["verdict"], result["synthetic"], result["rival"]) == ("gain", "gan", "logit_adjustment")
    assert result["mean"] == pytest.approx(0.10, abs=0.02)
    assert result["sentence"].startswith("Gain: with cells added by gan")


def test_the_rival_is_the_best_one_not_the_weakest() -> None:
    result = decided(study({"unaugmented": 0.5, "real": 0.90, "gan": 0.85}))
    assert (result["verdict"], result["rival"]) == ("harm", "real")
    assert list(result["lost"]) == ["b"] and "1 class lost recall" in result["sentence"]


def test_the_contrast_is_chosen_on_validation() -> None:
    records = [trial("real", s, 0.8, val=0.9) for s in range(6)]
    records += [trial("balanced", s, 0.95, val=0.7) for s in range(6)]
    records += [trial("gan", s, 0.85, val=0.6) for s in range(6)]
    records += [trial("diffusion", s, 0.70, val=0.8) for s in range(6)]
    result = decided(records)
    assert (result["synthetic"], result["rival"], result["verdict"]) == ("diffusion", "real", "harm")


def test_shared_generators_are_said() -> None:
    assert ", for this generator:" in decided(study({"real": 0.8, "gan": 0.9}), shared=True)["sentence"]
    assert "this generator" not in decided(study({"real": 0.8, "gan": 0.9}))["sentence"]


def test_a_baseline_below_the_majority_rate_breaks_the_study() -> None:
    result = decided(study({"real": 0.8, "gan": 0.9}), majority=0.95)
    assert result["verdict"] == "the study is broken" and "95.0%" in result["sentence"]


@pytest.mark.parametrize(("majority", "broken"), [(0.85, False), (0.95, True)])
def test_without_real_the_strategies_of_real_cells_alone_take_its_place(
    majority: float, broken: bool
) -> None:
    records = [trial("fast", s, 0.8, accuracy=0.5) for s in range(6)]
    records += [trial("resnet18", s, 0.8, accuracy=0.9) for s in range(6)]
    records += [trial("balanced", s, 0.8, accuracy=0.99) for s in range(6)]
    found = conclude(
        records,
        synthetic=SYNTHETIC,
        majority_rate=majority,
        shared_generators=False,
        baselines=["fast", "resnet18"],
    )
    assert (found["verdict"] == "the study is broken") == broken
    assert ("(resnet18, the best of several) is right on 90.0%" in found["sentence"]) == broken


def test_what_stands_in_the_place_of_real_cells_is_not_said_to_be_added() -> None:
    records = study({"real": 0.8, "gan+only": 0.9})
    found = conclude(records, synthetic=["gan+only"], majority_rate=0.5, shared_generators=False)
    assert found["sentence"].startswith("Gain: with the cells of gan+only in the place of all real ones, the")


@pytest.mark.parametrize(
    ("means", "why"),
    [
        ({"real": 0.8}, "no strategy has generated cells. The table of strategies has"),
        ({"gan": 0.8}, "the study needs a rival without generated cells"),
    ],
)
def test_nothing_to_compare(means: dict[str, float], why: str) -> None:
    found = decided(study(means))
    assert found["verdict"] == "nothing to compare"
    assert found["sentence"].startswith(f"Nothing to compare: {why}")


def test_generators_that_units_share_are_said_by_strategy() -> None:
    records = study({"real": 0.8, "gan": 0.9})
    assert decided(records, {"gan": 1})["scope"] == "for this generator"
    assert decided(records, {"gan": 3})["sentence"].startswith("Gain, for these generators: ")
    assert decided(records, {"diffusion": 3})["scope"] == ""


def test_what_could_as_well_have_been_chosen_is_told() -> None:
    found = decided(study({"real": 0.8, "gan": 0.9, "diffusion": 0.5}))
    assert found["contenders"] == ["gan"]
    records = [trial("real", s, 0.8) for s in range(6)]
    records += [trial(k, s, 0.9 + 0.01 * ((s + i) % 2)) for i, k in enumerate(SYNTHETIC) for s in range(6)]
    assert decided(records)["contenders"] == list(SYNTHETIC)


def by_answers(right: dict[str, list[list[int]]], labels: list[int]) -> dict[str, Any]:
    """A conclusion of trials with these answers, one list a seed."""
    known, classes = np.array(labels), ("a", "b")
    answers = {(s, i): np.array(row, dtype=bool) for s, rows in right.items() for i, row in enumerate(rows)}
    records = []
    for (strategy, seed), row in answers.items():
        recall = {c: float(row[known == k].mean()) for k, c in enumerate(classes)}
        part = {"accuracy": float(row.mean()), "mean_rare_recall": recall["b"], "recall": recall}
        records.append({"strategy": strategy, "classifier_seed": seed, "metrics": part, "validation": part})
    return conclude(
        records,
        synthetic=SYNTHETIC,
        majority_rate=0.1,
        shared_generators=False,
        answers=Answers(known, classes, ("b",), answers),
    )


def test_the_rival_is_shifted_to_the_same_accuracy() -> None:
    """It finds the rare cells only where it is shifted, and then they cost it nothing."""
    labels, classes = np.array([0, 0, 1, 1]), ("a", "b")
    unsure = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    records, known = [], {}
    for name, probabilities in {"real": unsure, "gan": np.eye(2)[labels]}.items():
        right = probabilities.argmax(axis=1) == labels
        recall = {"a": 1.0, "b": float(right[2:].mean())}
        part = {"accuracy": float(right.mean()), "mean_rare_recall": recall["b"], "recall": recall}
        records += [
            {"strategy": name, "classifier_seed": s, "metrics": part, "validation": part} for s in range(6)
        ]
        known |= {(name, s): probabilities for s in range(6)}
    right_of = {pair: p.argmax(axis=1) == labels for pair, p in known.items()}
    found = conclude(
        records,
        synthetic=SYNTHETIC,
        majority_rate=0.1,
        shared_generators=False,
        answers=Answers(labels, classes, ("b",), right_of, known),
    )
    assert (found["mean"], found["same_accuracy"]["mean"], found["same_accuracy"]["rival_mean"]) == (1, 0, 1)
    assert "until it is as accurate (100.0%), that rival comes to 100.0%: 0.0 points" in found["sentence"]


def test_few_test_cells_leave_open_what_all_seeds_agree_on() -> None:
    """Every seed gains the same one cell of four: sure for these cells, not for others."""
    found = by_answers(
        {"real": [[1, 1, 1, 0, 0, 1]] * 6, "gan": [[1, 1, 1, 1, 0, 1]] * 6}, [0, 0, 1, 1, 1, 1]
    )
    assert found["p"] == pytest.approx(2 / 64) and found["mean"] == 0.25
    assert found["seed_low"] == 0.25 and found["low"] < 0 < found["high"]
    assert found["verdict"] == "no evidence of gain"
    assert "interval over seeds and test cells" in found["sentence"]


def test_lost_classes_are_counted_and_those_beyond_doubt() -> None:
    labels, random = [0] * 200 + [1] * 40, np.random.default_rng(0)
    real = [(random.random(240) < 0.95).astype(int).tolist() for _ in range(6)]
    gan = [(random.random(240) < np.repeat([0.8, 0.94], [200, 40])).astype(int).tolist() for _ in range(6)]
    found = by_answers({"real": real, "gan": gan}, labels)
    assert found["lost"]["a"]["high"] < 0
    clear = sum(lost["high"] < 0 for lost in found["lost"].values())
    assert f"{clear} of them with its whole 95% interval below zero; the most a (" in found["sentence"]


def test_a_rare_class_of_one_test_cell_tells_nothing() -> None:
    found = by_answers({"real": [[1, 1, 0]] * 6, "gan": [[1, 1, 1]] * 6}, [0, 0, 1])
    assert found["low"] is None and found["verdict"] == "too small to tell"


def verdicts(plan: Plan, studies: int, synthetic: tuple[str, ...]) -> list[dict[str, Any]]:
    random, found = np.random.default_rng(0), []
    for _ in range(studies):
        records, answers = planted(plan, random)
        found.append(
            conclude(
                records,
                synthetic=synthetic,
                majority_rate=0.0,
                shared_generators=False,
                answers=answers,
            )
        )
    return found


def test_at_most_one_planted_null_study_in_twenty_is_called_a_gain() -> None:
    """Six synthetic strategies and two rivals, all alike, the choice on validation included."""
    synthetic = tuple(f"synthetic {i}" for i in range(6))
    plan = Plan(dict.fromkeys(("real", "other", *synthetic), 3.0), units=8, cells=60, validation=60)
    words = [found["verdict"] for found in verdicts(plan, 200, synthetic)]
    assert words.count("gain") <= 10 and words.count("no evidence of gain") > 150


def test_a_planted_gain_of_seven_points_is_found_in_most_studies() -> None:
    plan = Plan({"real": 3.0, "gan": 4.0, "diffusion": 3.0}, units=8, cells=150, validation=60)
    truth = expected_difference(plan, "gan", "real")
    assert truth == pytest.approx(0.07, abs=0.005)
    found = verdicts(plan, 60, SYNTHETIC)
    assert sum(f["verdict"] == "gain" for f in found) >= 48
    held = sum(f["low"] <= truth <= f["high"] for f in found if f["synthetic"] == "gan")
    assert held >= 52


def test_the_planted_model_has_the_spread_that_it_says() -> None:
    plan = Plan({"real": 3.0, "gan": 3.0}, units=400, cells=50)
    records, answers = planted(plan, np.random.default_rng(0))
    recalls = [r["metrics"]["mean_rare_recall"] for r in records]
    assert len(recalls) == 800 and 0.7 < np.mean(recalls) < 0.9
    first = records[0]["metrics"]["recall"]
    assert answers.right["real", 0][answers.labels == 0].mean() == first["rare 0"]
    assert expected_difference(plan, "gan", "real") == 0
