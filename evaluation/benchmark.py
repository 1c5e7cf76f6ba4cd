"""The study: strategies x seeds, each trained on the same real cells and scored on unseen ones.

Everything is kept in pieces under `out/`, each written last and by rename, so that a study that
was killed goes on from where it was when the same command is run again:

    cells.png                                a look at the real cells, first of all
    preprocessing.json                       what the images went through, if anything
    split.json                               the split that everything here belongs to, as a file
    nets/{curator,judge,encoder}/            networks of the evaluation, each trained apart
    generators/<kind>/seed-<s>/              one generator: checkpoints, samples, model
    drawn/<kind>/seed-<s>/                   its cells before curation, where they are needed again
    synthetic/<source>/seed-<s>/             the cells of a source, e.g. gan or gan+uncurated; funnel.json
    <strategy>/seed-<s>/fold-<f>/result.json one trial; probabilities.npy beside it
    fidelity/<source>/seed-<s>.json          how good the synthetic cells are
    ablation/<kind>/seed-0.json              what each filter of the curation is worth
    results.json, report.html, report.md     the study
    screening.json, report.html, report.md   in their place, where only validation cells are scored
"""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cells.stacks import one_each
from classifiers.training import Classifier
from evaluation.filters.ablations import ablated
from evaluation.filters.diversity import within
from evaluation.gains.answers import read_answers
from evaluation.gains.conclusion import conclude
from evaluation.gains.gain import confusion, scores
from evaluation.gains.statistics import summarize
from evaluation.jobs.cluster import await_report, submit
from evaluation.jobs.executors import run_trials
from evaluation.jobs.joining import joined_study, logged
from evaluation.jobs.running import LOG, attempt, numbered, require_all
from evaluation.reports.figures import contact_sheet
from evaluation.reports.report import write_report
from evaluation.studies.findings import measure, overall, save_pairs, save_strips
from evaluation.studies.reuse import Training, finished_trainings, take_over
from evaluation.studies.screening import finish_screening
from evaluation.studies.settings import StudySettings
from evaluation.studies.strategies import STRATEGIES, plain_strategies, strategy_of
from evaluation.studies.study import (
    Study,
    Trial,
    claim,
    finished,
    open_study,
    study_config,
    time_left,
    trials,
)
from evaluation.studies.synthetic_cells import accepted, drawn, funnel_of, made_of, training_seconds
from evaluation.studies.tuning import fit_tuned
from generators import RESAMPLERS
from runtime.config import load_config
from runtime.rundir import RunDir, read_json, write_bytes, write_json
from runtime.seeds import seed_of

say_aloud = partial(print, flush=True)


def run_study(settings: StudySettings, out: Path, say: Callable[[str], None] = say_aloud) -> dict[str, Any]:
    """Run a study, or what is left of it, and write its report.

    Args:
        settings: The study.
        out: Its directory. The same settings go on there; others are refused.
        say: Takes each line of progress.

    Returns:
        What `results.json` holds; of a screening, what `screening.json` holds.

    Raises:
        InputError: For settings, cells or a directory that cannot give an answer.
    """
    study = open_study(settings, RunDir(out, study_config(settings)), say)
    trainings = finished_trainings(settings.reuse)
    with study.run:
        _begin(study, trainings)
        if settings.cluster is None:
            run_trials(study, complete)
            results = finish(study)
        else:
            report = submit(study, on_node)
    if settings.cluster is not None:
        results = await_report(study, report)
    say(results["conclusion"]["sentence"])
    if study.split.warning:
        say(study.split.warning)
    for notice in study.split.leaks_dropped:
        say(notice)
    say(f"report: {out / 'report.html'}")
    return results


def _begin(study: Study, trainings: Sequence[Training]) -> None:
    """Claim the study's directory, show the cells, and copy what other studies have trained already."""
    claim(study)
    if study.split.preprocessing is not None:
        for notice in study.split.preprocessing.notices:
            study.say(f"WARNING: {notice}")
    write_bytes(study.run.path / "cells.png", contact_sheet(study.counted.train))
    study.say(f"the training cells are pictured in {study.run.path / 'cells.png'}")
    take_over(study, trainings)


def finish(study: Study) -> dict[str, Any]:
    """Measure and write what follows the last trial.

    Raises:
        PartFailed: If a trial has no result.
    """
    require_all(study)
    if study.settings.screen:
        return finish_screening(study)
    out = study.run.path
    results = gather(study, measured(study), ablated(study, partial(drawn, study)))
    write_json(out / "results.json", results)
    write_report([(out.name, out, results)], out)
    return results


def on_node(out: Path, trial: str | None) -> None:
    """What a job of a cluster does: a trial, by its folder, or with None what follows the last one."""
    if trial is None:
        settings = load_config(StudySettings, out / "config.yaml")
        study = open_study(settings, RunDir(out, study_config(settings)), say_aloud)
        with study.run:
            finish(study)
        return
    with logged(out / trial / LOG):
        study = joined_study(out, 1, say_aloud)
        attempt(study, *numbered(study.settings, trial), complete)


def complete(study: Study, number: int, trial: Trial) -> None:
    """Run one trial and write its result, whatever process this is."""
    record(study, number, trial, run_trial(study, trial))


def run_trial(study: Study, trial: Trial) -> dict[str, Any]:
    """One trial: real training cells + accepted ones -> classifier -> scores on unseen real cells.

    Returns:
        The trial as `results.json` holds it, but for `fidelity`.
    """
    strategy, split = strategy_of(trial.strategy), study.split
    train, seconds = split.train, {}
    if strategy.source is not None and trial.generator_seed is not None:
        made = accepted(study, strategy.source, trial.generator_seed)
        added = within(made["cells"], study.quota(trial.strategy))
        train, seconds = added if strategy.only else split.train + added, made["seconds"]
    begun = time.monotonic()
    settings = study.settings.classifier.model_copy(update=strategy.training)
    classifier, choice = fit_tuned(
        train,
        split.val,
        settings,
        study.settings.tune,
        study.rare,
        seed=seed_of("study", "classifier", trial.classifier_seed),
        description=f"{trial.strategy} seed {trial.classifier_seed}",
    )
    on_val = classifier.probabilities(split.val)
    return {
        "strategy": trial.strategy,
        "generator_seed": trial.generator_seed,
        "classifier_seed": trial.classifier_seed,
        "fold": trial.fold,
        **({} if study.settings.screen else _tested(study, trial, classifier)),
        "validation": scores(study.counted.val.labels, on_val, train.classes, study.rare),
        "train_counts": one_each(train).counts,
        **choice,
        "seconds": {"classifier": round(time.monotonic() - begun, 2), **seconds},
    }


def _tested(study: Study, trial: Trial, classifier: Classifier) -> dict[str, Any]:
    """How a trial's classifier does on the test cells; its probabilities are kept."""
    test, found = study.counted.test, classifier.probabilities(study.split.test)
    _save_array(study.run.path / trial.folder / "probabilities.npy", found)
    return {
        "metrics": scores(test.labels, found, test.classes, study.rare),
        "confusion": confusion(test.labels, found.argmax(axis=1), len(test.classes)).tolist(),
    }


def record(study: Study, number: int, trial: Trial, result: dict[str, Any]) -> None:
    """Write a trial's result, last and by rename, and say so in one line."""
    write_json(study.run.path / trial.folder / "result.json", result)
    part = "validation" if study.settings.screen else "metrics"
    metrics, spent = result[part], result["seconds"]["classifier"]
    study.say(
        f"[{number}/{len(trials(study.settings))}] {trial.strategy} seed {trial.classifier_seed}: "
        f"{'on validation ' if study.settings.screen else ''}"
        f"balanced accuracy {metrics['balanced_accuracy']:.3f}, rare recall "
        f"{metrics['mean_rare_recall']:.3f} ({spent:.0f} s; {time_left(study)})"
    )


def measured(study: Study) -> list[dict[str, Any]]:
    """Fidelity, label agreement and near-copies of every generator, measured once, then read.

    One set is enough of what draws from the training cells, and of other choices among a model's cells.
    """
    records = []
    for kind, seed in study.sources:
        if seed > 0 and kind not in STRATEGIES.keys() - RESAMPLERS:
            continue
        file = study.run.path / "fidelity" / kind / f"seed-{seed}.json"
        if not file.exists():
            study.say(f"measuring the {kind} cells, seed {seed}")
            judge, begun = study.net("judge"), time.monotonic()
            found = measure(
                accepted(study, kind, seed)["cells"],
                study.split,
                judge,
                study.encoders,
                floor_repeats=study.settings.floor_repeats,
                seed=seed_of("study", "fidelity", seed),
                morphology=study.settings.morphology,
            )
            seconds = round(time.monotonic() - begun, 2)
            write_json(file, {"generator": kind, "seed": seed, **found, "seconds": seconds})
        records.append(read_json(file))
    return records


def gather(study: Study, qualities: list[dict[str, Any]], ablations: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the pieces of a study together.

    Args:
        study: The study, all trials run.
        qualities: As `measured` returns them.
        ablations: As `ablated` returns them.

    Returns:
        What `results.json` holds; pictures for the report are written beside it.
    """
    split, folder = study.counted, study.run.path / "pictures"
    found, headline = finished(study), {(q["generator"], q["seed"]): overall(q) for q in qualities}
    made = {source: accepted(study, source, seed) for source, seed in study.sources if seed == 0}
    for quality in qualities:
        if quality["seed"] == 0:
            cells = made[quality["generator"]]["cells"]
            copies = quality["near_copies"]
            quality["pairs"] = save_pairs(folder, quality["generator"], cells, split.train, copies)
    phantom = bool((split.test.origins == "phantom").any())
    models = [s for s in study.settings.strategies if study.settings.models(s)]
    return {
        "config": study_config(study.settings),
        "trials": [
            {**t, "fidelity": headline.get((strategy_of(t["strategy"]).source, t["generator_seed"]))}
            for t in found
        ],
        "summary": summarize(found),
        "conclusion": conclude(
            found,
            synthetic=models,
            majority_rate=max(split.test.counts.values()) / len(split.test),
            shared_generators=study.settings.generators_in_common(),
            unseen="unseen phantom cells" if phantom else "unseen real cells",
            answers=read_answers(study),
            baselines=plain_strategies(study.settings.strategies),
        ),
        "cells": {**described_cells(study), "phantom": phantom},
        "notices": study.notices,
        "fidelity": qualities,
        "chosen": [
            {"generator": kind, "seed": seed, **chosen_moment(study, kind, seed)}
            for kind, seed in study.generators
            if kind not in RESAMPLERS
        ],
        "funnels": [
            {"generator": source, "seed": seed, **funnel_of(study, source, seed)}
            for source, seed in study.sources
        ],
        "ablations": ablations,
        "strips": save_strips(folder, split, {k: m["cells"] for k, m in made.items()}, study.shortfall),
        "cost": cost(study, found, qualities, ablations),
        "machine": machine(),
    }


def described_cells(study: Study) -> dict[str, Any]:
    """What the cells of a study are, and how many there are of each class."""
    split = study.counted
    return {
        "classes": list(split.train.classes),
        "rare": list(study.rare),
        "image_size": split.train.image_size,
        "depth": study.depth,
        "digest": split.digest,
        "added": study.shortfall,
        "train": split.train.counts,
        "val": split.val.counts,
        "test": split.test.counts,
    }


def chosen_moment(study: Study, kind: str, seed: int) -> dict[str, Any]:
    """Which step of a generator's training was kept, and the monitor's figures there."""
    config = read_json(study.run.path / f"generators/{kind}/seed-{seed}/model/config.json")
    return dict(config["chosen"])


def cost(
    study: Study,
    found: list[dict[str, Any]],
    qualities: list[dict[str, Any]],
    ablations: list[dict[str, Any]],
) -> list[dict[str, Any]]:
    """Seconds of each part of the study, each run counted once."""
    parts: dict[str, list[float]] = {"classifiers": [t["seconds"]["classifier"] for t in found]}
    for kind, seed in study.generators:
        if kind not in RESAMPLERS:
            parts.setdefault(f"{kind}: training", []).append(training_seconds(study, kind, seed))
    for source, seed in study.sources:
        if strategy_of(source).models and not study.parts(source):
            spent = made_of(study, source, seed)["seconds"]["synthesis"]
            parts.setdefault(f"{source}: sampling and curation", []).append(spent)
    parts["fidelity, near-copies, label agreement"] = [q["seconds"] for q in qualities]
    parts["ablation of the curation"] = [a["seconds"] for a in ablations]
    nets = sorted((study.run.path / "nets").glob("*/seconds.json"))
    parts["networks of the evaluation"] = [read_json(f)["seconds"] for f in nets]
    return [{"part": k, "runs": len(v), "seconds": round(sum(v), 1)} for k, v in parts.items() if v]


def machine() -> dict[str, Any]:
    """What the study ran on, as far as it bears on times and on figures."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    return {"processor": platform.machine(), "cores": os.cpu_count(), "gpu": gpu, "versions": versions}


def _save_array(path: Path, values: NDArray[np.float32]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32), allow_pickle=False)
    write_bytes(path, buffer.getvalue())
