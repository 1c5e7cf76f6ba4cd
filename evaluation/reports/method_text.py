"""The method section of a paper about a study, written from its config and its results.

Only what the study used is said, with the settings that it used. Works are cited as ``[@key]``, which pandoc
reads; the keys are those of `evaluation.reports.literature.LITERATURE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cells.sources import CREDITS
from evaluation.gains.choice import ENUMERATED
from evaluation.gains.gain import FURTHER, METRICS
from evaluation.gains.intervals import BOOTSTRAPPED
from evaluation.reports.latex import escaped
from evaluation.reports.literature import LITERATURE
from evaluation.reports.method_generators import curation_sentences, generator_sentences, is_xray
from evaluation.reports.method_training import classifier_sentences, strategy_sentences
from evaluation.reports.references import cited_keys
from evaluation.reports.tables import listed
from evaluation.studies.strategies import strategy_of

WORKS = {"auc": " [@yang2023]", "ece": " [@guo2017]"}
Results = Mapping[str, Any]
Config = Mapping[str, Any]
SOURCES = {
    "pbc": "acevedo2020",
    "aml-lmu": "matek2019",
    "raabin": "kouzehkanan2022",
    "apl": "sidhom2021",
    "covid-xray": "ozturk2020",
}
STEPS = {"reinhard": "reinhard2001", "macenko": "macenko2009"}


def method_text(results: Results) -> str:
    """The method section: paragraphs, an empty line between them, works cited as ``[@key]``.

    Args:
        results: What `results.json` holds.
    """
    config = results["config"]
    paragraphs: list[Iterator[str] | list[str]] = [
        _cell_sentences(results),
        generator_sentences(results),
        curation_sentences(results),
        strategy_sentences(results),
        classifier_sentences(config["classifier"], is_xray(config), config.get("tune") or ()),
        _quality_sentences(results),
        _statistics_sentences(results),
        _machine_sentences(results),
    ]
    return "\n\n".join(text for text in (" ".join(sentences) for sentences in paragraphs) if text)


def in_latex(text: str) -> str:
    """A method section for LaTeX: ``\\cite`` in the place of ``[@key]``."""
    parts = re.split(r"\s*\[(@[^\]]+)\]", text)
    return "".join(
        r"~\cite{" + ",".join(re.findall(r"@([\w-]+)", part)) + "}" if number % 2 else escaped(part)
        for number, part in enumerate(parts)
    )


def in_words(text: str) -> str:
    """A method section for reading: ``(Holm 1979)`` in the place of ``[@holm1979]``."""

    def named(found: re.Match[str]) -> str:
        return "(" + "; ".join(LITERATURE[key].short for key in cited_keys(found[0])) + ")"

    return re.sub(r"\[@[^\]]+\]", named, text)


def _cell_sentences(results: Results) -> Iterator[str]:
    config, cells = results["config"], results["cells"]
    sides = {side: sum(cells[side].values()) for side in ("train", "val", "test")}
    kind = config["data"]["kind"]
    what = "drawn phantoms of stained cells, not images of cells," if cells["phantom"] else "images of cells"
    depth = cells.get("depth", 0)  # none in an earlier version's
    what = f"stacks of {depth} {what}" if depth else what
    yield (
        f"We used {sum(sides.values()):,} {what} of {len(cells['classes'])} classes at {cells['image_size']} "
        f"× {cells['image_size']} pixels ({_source(kind, config['data'])}): {sides['train']:,} for training, "
        f"{sides['val']:,} for validation and {sides['test']:,} for testing."
    )
    rare = [f"{name} ({cells['train'][name]:,})" for name in cells["rare"]]
    yield f"The rare classes, with their training cells, were {listed(rare)}."
    yield f"The split has the digest {cells['digest']}."
    yield from config.get("notes", ())
    steps = config.get("preprocess") or []
    if isinstance(steps, Sequence) and steps:
        words = listed([_step(step) for step in steps])
        yield f"The images were preprocessed by {words}, fitted to the training cells alone."


def _source(kind: str, data: Config) -> str:
    if kind == "phantom":
        return "made by rarecell"
    if kind == "cross_site":
        return "; ".join(
            f"{side}: {_source(data[side]['kind'], data[side])}" for side in ("train", "test") if side in data
        )
    if "MedMNIST" in CREDITS[kind].citation if kind in CREDITS else False:
        return f"{data.get('name', kind)} of MedMNIST v2 [@yang2023]"
    if kind in SOURCES:
        return f"{kind} [@{SOURCES[kind]}]"
    if kind in CREDITS and CREDITS[kind].citation != "not known":
        return CREDITS[kind].citation.rstrip(".")
    return "source to be cited here: the config names a folder"


def _step(step: Config) -> str:
    name = str(step["kind"]).replace("_", " ")
    method = step.get("method")
    if method is None:
        return name
    return f"{name} ({method}{f' [@{STEPS[method]}]' if method in STEPS else ''})"


def _quality_sentences(results: Results) -> Iterator[str]:
    records = [r for r in results["fidelity"] if r["generator"] != "repeat"]
    if not records:
        return
    parts = [part for part in records[0]["fidelity"] if "fingerprint" in part]
    encoders = [f"{p['fingerprint']['encoder']} (weights {p['fingerprint']['weights']})" for p in parts]
    if parts:
        yield (
            "Fidelity was measured against the test split, which no generator, encoder or filter had seen: "
            "Fréchet distance [@heusel2017], KID [@binkowski2018], precision and recall [@kynkaanniemi2019], "
            f"density and coverage [@naeem2020], all but the last two with torch-fidelity [@obukhov2020], on "
            f"features of {listed(encoders)}."
        )
        yield (
            f"Each figure is read against its floor, {results['config']['floor_repeats']} random halvings of "
            "the real reference scored against each other at the same number of cells."
        )
    yield "A classifier trained apart on the real training cells judged which class each accepted cell shows."
    if any("value" in m for r in records for m in _measures(r)):
        yield (
            "Nuclei were found by Otsu's method [@otsu1979]; areas, nucleus-to-cytoplasm ratio, lobes, "
            "granularity and hue of synthetic and real cells of a class were compared by the Wasserstein-1 "
            "distance, of hues on the circle [@rabin2011]."
        )


def _measures(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for entries in record.get("morphology", {}).get("per_class", {}).values():
        yield from entries.values()


def _statistics_sentences(results: Results) -> Iterator[str]:
    config, found = results["config"], results["conclusion"]
    seeds = config["seeds"]
    generators = any(strategy_of(name).models for name in results["summary"])
    own = "its own classifier" + (" and its own generators" if generators else "")
    unit = "its own classifier" if config["shared_generators"] else own
    first = next(iter(results["summary"].values()))
    figures = [
        f"{words}{WORKS.get(name, '')}" for name, words in {**METRICS, **FURTHER}.items() if name in first
    ]
    yield f"We report recall of each class and {listed(figures)} on the test cells."
    yield f"The unit of the statistics is a seed with {unit}; there were {seeds}."
    if config["shared_generators"] and generators:
        yield "All units shared one generator of each kind: the results are conditional on these generators."
    mixed = [name for name in results["summary"] if strategy_of(name).mixed_seeds]
    if mixed:
        yield f"Units of {listed(mixed)} took their cells from the generators of all units."
    if "mean" in found:
        yield (
            "The primary contrast was fixed before the test cells were looked at: the strategy with "
            "generated cells and the strategy without them that had the highest mean validation recall of "
            f"the rare classes ({found['synthetic']} and {found['rival']}), compared on test cells by the "
            f"{'exact ' * (found['n'] <= ENUMERATED)}two-sided sign-flip test [@fisher1935]."
        )
        yield from _interval_sentences(found)
        if found.get("same_accuracy") is not None:
            yield (
                "Beside it we report the difference to the rival with shifted decisions: for each seed a "
                "constant was added to the logits of the rare classes, chosen on the test cells in the "
                "rival's favor, so that its rare recall is the highest at which it is as accurate as the "
                "strategy with generated cells."
            )
    compared = sum(f["mean_rare_recall"]["difference"] is not None for f in results["summary"].values())
    if compared:
        times = "contrast of a strategy" if compared == 1 else "contrasts of strategies"
        yield f"p-values of the {compared} secondary {times} with real were adjusted by Holm [@holm1979]."


def _interval_sentences(found: Mapping[str, Any]) -> Iterator[str]:
    if len(found.get("contenders", ())) > 1:
        yield (
            "The test repeats the choice in every sign pattern, among the strategies that could as well have "
            f"been chosen ({listed(list(found['contenders']))})."
        )
    if found["low"] is None:
        return
    if found.get("over") != "seeds and test cells":
        yield "The 95% interval is that of Student's t over seeds."
    elif found["n"] < BOOTSTRAPPED:
        yield (
            "The 95% interval takes both seeds and test cells as samples: two-way variances [@owen2007] and "
            "Student's t with Satterthwaite's degrees of freedom."
        )
    else:
        yield "The 95% interval is a BCa bootstrap [@efron1987] of seeds and test cells [@owen2007]."


def _machine_sentences(results: Results) -> Iterator[str]:
    machine = results["machine"]
    hours = sum(part["seconds"] for part in results["cost"]) / 3600
    where = machine["gpu"] or f"{machine['cores']} processor cores ({machine['processor']})"
    versions = machine["versions"]
    yield (
        f"Everything was computed with rarecell, PyTorch {versions.get('torch', '')} [@paszke2019] and SciPy "
        f"[@virtanen2020] on {where} in {hours:.2g} hours."
    )
