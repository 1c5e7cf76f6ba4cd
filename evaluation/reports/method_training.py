"""What a method section says of strategies and of the classifier."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from classifiers.networks import EVERY_NETWORK
from classifiers.settings import FINETUNING, FRESH
from evaluation.studies.strategies import strategy_of

Config = Mapping[str, Any]
Results = Mapping[str, Any]
# The work behind a value of a classifier's setting.
CITED: dict[str, dict[str, str]] = {
    "loss": {
        "logit_adjustment": "menon2021",
        "balanced_softmax": "ren2020",
        "focal": "lin2017",
        "effective_weights": "cui2019",
        "ldam": "cao2019",
        "ldam_weighted": "cao2019",
    },
    "mixing": {"mixup": "zhang2018", "cutmix": "yun2019", "remix": "chou2020"},
    "augmentation": {
        "strong": "buslaev2020",
        "stain": "tellez2019",
        "randaugment": "cubuk2020",
        "trivialaugment": "muller2021",
    },
    "weights": {"imagenet": "russakovsky2015"},
    "network": {
        "small_resnet": "he2016",
        "resnet18": "he2016",
        "resnet18_3x3": "he2016",
        "resnet50": "he2016",
        "mobilenet_v2": "sandler2018",
        "vgg19": "simonyan2015",
        "vgg19_bn": "simonyan2015",
        "efficientnet_b0": "tan2019",
        "convnext_tiny": "liu2022",
        "cnn3d": "tran2015",
        "cnn_gru": "donahue2015",
    },
}


def strategy_sentences(results: Results) -> Iterator[str]:
    """All strategies by name, each with what it does and the works behind it."""
    names = list(results["summary"])
    yield f"We compared {len(names)} strategies: {'; '.join(_strategy(name) for name in names)}."
    yield (
        f"All of them trained {same_budget(names)}, under the same on-line augmentation unless the strategy "
        "says otherwise."
    )
    tune = results["config"].get("tune") or {}
    if tune:
        tried = "; ".join(
            f"{key.removeprefix('classifier.')} of {', '.join(map(str, values))}"
            for key, values in tune.items()
        )
        yield (
            f"For each training of each strategy alike, we chose {tried} by mean rare recall on validation "
            "cells."
        )


def same_budget(strategies: Iterable[str]) -> str:
    """What the trainings of strategies have in common, in words."""
    own = any("network" in strategy_of(name).training for name in strategies)
    return f"{'' if own else 'the same network '}for the same number of optimizer steps"


def _strategy(name: str) -> str:
    strategy = strategy_of(name)
    works = [
        table[str(value)] for key, table in CITED.items() if (value := strategy.training.get(key)) in table
    ]
    phases = strategy.training.get("phases", ())
    in_features = any(_of(phase, "smote") for phase in phases)
    smote = strategy.generator == "smote" or in_features
    if not smote and any(_of(phase, "fresh_head") for phase in phases):
        works.append("kang2020")
    works += [CITED["loss"][loss] for phase in phases if (loss := _of(phase, "loss")) in CITED["loss"]]
    if strategy.training.get("post_hoc"):
        works.append("menon2021")
    if smote:
        works += ["chawla2002", *(["lemaitre2017"] if in_features else [])]
    cited = "; ".join(f"@{work}" for work in dict.fromkeys(works))
    return f"{name} ({strategy.about}" + (f" [{cited}])" if cited else ")")


def _of(phase: Any, key: str) -> Any:
    return phase.get(key) if isinstance(phase, Mapping) else getattr(phase, key, None)


def classifier_sentences(config: Config, xray: bool, tuned: Collection[str] = ()) -> Iterator[str]:
    """The downstream network and its training.

    Args:
        config: The classifier's settings as `results.json` has them.
        xray: Whether the images are X-rays, which are neither flipped nor turned.
        tuned: Keys of `tune`, such as ``classifier.lr``: no single value can be told of these.
    """
    network = config["network"]
    work = CITED["network"].get(network)
    own = EVERY_NETWORK.get(network)
    weights = config.get("weights") or FRESH
    rate = config.get("lr") or (own.lr * (1 if weights == FRESH else FINETUNING) if own else None)
    peak = f", peak learning rate {rate:g}" if rate and "classifier.lr" not in tuned else ""
    width = config.get("width") or (own.width if own else None)
    optimizer = _optimizer(config)
    yield (
        f"The classifier was the network {network} {f'[@{work}]' if work else 'of rarecell'}"
        f"{f' of width {width}' if width else ''}, trained for {config['steps']:,} steps of "
        f"{config['batch']} cells with {optimizer}{peak}."
    )
    if config.get("augmentation") == "mild":
        turned = "" if xray else "flipped, turned and "
        yield f"Training cells were {turned}mildly changed in light and color."
    if weights != FRESH:
        published = "those published for ImageNet [@russakovsky2015]"
        yield f"Its first weights were {published if weights == 'imagenet' else 'those of a saved network'}."
    if config.get("keep") == "best":
        yield "Of each training the network with the best validation recall was kept; all steps were made."


def _optimizer(config: Config) -> str:
    name = config.get("optimizer", "adamw")
    decay = f" (weight decay {config['weight_decay']:g})" if config.get("weight_decay") else ""
    works = {"adamw": f"AdamW [@loshchilov2019]{decay}", "adam": f"Adam [@kingma2015]{decay}"}
    schedule = config.get("schedule", "one_cycle")
    rates = {
        "one_cycle": " and a one-cycle learning rate [@smith2017]",
        "milestones": " and a learning rate divided by ten at half of the steps and again at three quarters",
    }
    return works.get(name, str(name)) + rates.get(schedule, "")
