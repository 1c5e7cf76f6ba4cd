"""What a method section says of generators and of the curation of what they drew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cells.collections import XRAYS
from evaluation.reports.tables import listed
from evaluation.studies.strategies import strategy_of

Config = Mapping[str, Any]
Results = Mapping[str, Any]


def generator_sentences(results: Results) -> Iterator[str]:
    """The generators that the study's strategies took cells from."""
    config = results["config"]
    kinds = dict.fromkeys(strategy_of(name).generator for name in results["summary"])
    tellers = {"diffusion": _diffusion, "gan": _gan, "repeat": _repeat, "smote": _smote}
    for kind in kinds:
        if kind is not None and kind in tellers:
            recipe = config["generators"].get(kind, {})
            yield from tellers[kind](recipe)
            if recipe.get("augmentation") in ("dihedral", "auto") and not is_xray(config):
                yield "Its training cells were flipped and turned by quarter turns."
    if any(strategy_of(name).models for name in results["summary"]):
        yield "Generators saw the training cells alone."
    if any(strategy_of(name).models for name in results["summary"]):
        yield from _watched(config.get("monitor"))
    if any(kinds):
        yield from _added(results)


def _watched(monitor: Config | None) -> Iterator[str]:
    """How validation cells chose the moment of a generator's training; rivals have no such choice."""
    if monitor is None or monitor.get("choose") != "best":
        return
    best = {"kid": "lowest KID", "label_agreement": "highest label agreement"}[monitor["decide_by"]]
    yield (
        f"Every {monitor['every']:,} steps {monitor['cells']:,} cells of each class were drawn and compared "
        f"with the validation cells, and the step of the {best} was kept (KID [@binkowski2018]; label "
        "agreement by a classifier trained for this alone)."
    )


def _added(results: Results) -> Iterator[str]:
    """How many cells strategies had besides the real ones, or in their place: as many as they trained on."""
    groups: dict[tuple[bool, str], list[str]] = {}
    for name in results["summary"]:
        uses = strategy_of(name)
        if uses.generator is not None:
            words = _counts(name, uses.only, results)
            groups.setdefault((uses.only, words), []).append(name)
    for (only, words), names in groups.items():
        where = "In the place of the real cells" if only else "Beside the real cells"
        yield f"{where}, {listed(names)} had {words}."


def _counts(name: str, only: bool, results: Results) -> str:
    """Cells per class that the trials of a strategy had but for the real ones, at most."""
    real = {} if only else results["cells"]["train"]
    trials = [t["train_counts"] for t in results["trials"] if t["strategy"] == name]
    found = {c: [counts[c] - real.get(c, 0) for counts in trials] for c in trials[0]}
    added = [f"{max(each):,} {cls}" for cls, each in found.items() if max(each)]
    same = all(min(each) == max(each) for each in found.values())
    return ("" if same else "at most ") + listed(added) if added else "none"


def curation_sentences(results: Results) -> Iterator[str]:
    """The filters between the generators and the training set."""
    rules = results["config"].get("curation", {})
    modelled = any(strategy_of(name).models for name in results["summary"])
    if not modelled or not rules:
        return
    if not rules.get("enabled", True):
        yield "Synthetic cells were used as they were drawn."
        return
    surplus = results["config"]["surplus"]
    filters = list(_filters(rules))
    if filters:
        yield (
            f"For each cell wanted, {surplus:g} were drawn, and these were rejected before training: "
            f"{listed(filters)}."
        )
    if rules.get("diversity"):
        yield (
            "The cells that were used are those that cover the accepted ones, chosen by greedy k-centre "
            "[@sener2018]."
        )


def _filters(rules: Config) -> Iterator[str]:
    if rules.get("duplicates"):
        yield "all but one of equal images"
    if rules.get("copies"):
        yield "near-copies of training cells (relative distance to the nearest one [@carlini2023])"
    share, least = rules.get("label_share", 0), rules.get("min_probability", 0)
    if share:
        yield f"cells less likely to show their class than {share:.0%} of held-out real cells are"
    elif least:
        yield f"cells to which a classifier trained apart gave their class with a probability below {least:g}"
    if rules.get("realism"):
        yield (
            f"cells less realistic [@kynkaanniemi2019] than {rules['realism']:.0%} of held-out real cells are"
        )
    if rules.get("near_duplicates"):
        yield "cells nearer to an accepted one than real cells are to each other"


def _training(recipe: Config) -> str:
    """Steps, batch and rate of a generator."""
    rate = f", learning rate {recipe['learning_rate']:g}" if "learning_rate" in recipe else ""
    if rate and "warmup" in recipe:
        rate += f" (after a warm-up of {recipe['warmup']} steps, then lowered along a cosine)"
    if "second_moment" in recipe:
        rate += f", second moment decaying by {recipe['second_moment']:g}"
    return f"{recipe['steps']:,} steps of {recipe['batch']} images{rate}"


def is_xray(config: Config) -> bool:
    """Whether the images of a study are X-rays, which are neither flipped nor turned."""
    data = config["data"]
    return data["kind"] in XRAYS or data.get("modality") == "xray"


def _drawing(recipe: Config) -> Iterator[str]:
    balance = recipe.get("balance")
    if balance == 1:
        yield "Training batches had every class equally often."
    elif balance:
        power = f"{1 - balance:.2g}"
        yield f"Training batches drew a class of n cells with a probability proportional to n to the {power}."
    if recipe.get("ema_half_life"):
        yield f"Weights were averaged with a half-life of {recipe['ema_half_life']:,} images."
    if recipe.get("start_from"):
        yield "The training started from a saved model."


def _diffusion(recipe: Config) -> Iterator[str]:
    widths = listed([str(width) for width in recipe["channels"]])
    yield (
        "A class-conditional diffusion model with EDM's preconditioning and loss [@karras2022] on the UNet "
        f"of diffusers [@vonplaten2022] (widths {widths}) was trained with AdamW [@loshchilov2019] for "
        f"{_training(recipe)}, ln σ ~ N({recipe['noise_mean']:g}, {recipe['noise_spread']:g}²)."
    )
    yield from _drawing(recipe)
    if recipe.get("class_balancing"):
        yield f"Classes were balanced as in CBDM [@qin2023] with τ = {recipe['class_balancing']:g}."
    if recipe.get("transforms"):
        yield (
            f"A share of {recipe['transforms']:.0%} of the images was transformed, and the network told how "
            "[@karras2022; @karras2020]."
        )
    solver = {"dpm++": "DPM-Solver++ [@lu2022]", "heun": "Heun's method [@karras2022]"}
    by = f" by {solver[recipe['sampler']]}" if recipe.get("sampler") in solver else ""
    yield (
        f"Images were drawn{by} at {recipe['sampling_steps']} noise levels from σ = {recipe['sigma_max']:g} "
        f"to {recipe['sigma_min']:g}{_guidance(recipe)}."
    )


def _guidance(recipe: Config) -> str:
    if recipe.get("guidance", 1) <= 1:
        return ", without guidance"
    low, high = recipe["guidance_interval"]
    how = (
        "autoguidance [@karras2024]"
        if recipe.get("guide") == "snapshot"
        else "classifier-free guidance [@ho2022]"
    )
    return f", with {how} of {recipe['guidance']:g} for σ from {low:g} to {high:g} [@kynkaanniemi2024]"


def _gan(recipe: Config) -> Iterator[str]:
    yield (
        "A class-conditional GAN with R3GAN's relativistic loss and gradient penalties [@huang2024] and a "
        f"projection discriminator [@miyato2018] was trained with Adam [@kingma2015] for "
        f"{_training(recipe)}; the penalties' weight went from {recipe['penalty']:g} to "
        f"{recipe['final_penalty']:g}."
    )
    if recipe.get("diversity"):
        yield (
            f"A mode-seeking loss [@mao2019] of weight {recipe['diversity']:g} acted where two images "
            "of a class differed less than two of its training cells do."
        )
    transforms = recipe.get("transforms")
    if transforms == "adaptive":
        yield "The discriminator saw its images under adaptive differentiable augmentation [@karras2020]."
    elif transforms:
        yield (
            f"The discriminator saw its images under differentiable augmentation [@zhao2020], each transform "
            f"with probability {transforms:g}."
        )
    if recipe.get("twins"):
        yield f"NoisyTwins' loss [@rangwani2023] had the weight {recipe['twins']:g}."
    yield from _drawing(recipe)


def _repeat(recipe: Config) -> Iterator[str]:
    yield "A control added as many repeated training cells."


def _smote(recipe: Config) -> Iterator[str]:
    yield (
        "SMOTE [@chawla2002], in the space of principal components of the pixels, put cells between training "
        "cells of a class and their nearest neighbors."
    )
