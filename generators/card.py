"""Cards in words that go beside a trained generator and beside a synthetic set."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import version
from pathlib import Path

from cells.card import NOTICES, UNKNOWN, About, escaped, front_matter, licence_fields, read_front_matter
from cells.sources import Credit
from generators.protocol import FitRecord, Generator, model_folder
from runtime.rundir import write_text

CARD = "README.md"
GRID = "samples/grid.png"
LIMITS = """- It has seen only the cells named above: another stain, microscope, camera or
  laboratory looks different.
- Rare classes were learned from few cells; their variety is limited, and near-copies of
  training cells are possible. Measure both before use (`scripts/evaluate.py`).
- Not for diagnosis, and never for validation or test sets: those are real cells only."""


def write_model_card(generator: Generator, credit: Credit, folder: Path, start: Path | None = None) -> None:
    """Write ``README.md`` beside a saved generator: the card that Hugging Face shows of its folder.

    Args:
        generator: Trained.
        credit: Licence and citation of its training cells.
        folder: Where the generator was saved, and its grid of samples if there is one.
        start: The model that its training started from, whose licence and citation count too.
    """
    record = generator.record
    assert record is not None, "a card describes a trained generator"
    kind = generator.settings.kind
    credit = _joined(credit, start)
    fields = front_matter(
        **licence_fields(credit.licence),
        citation=credit.citation,
        library_name="rarecell",
        pipeline_tag="unconditional-image-generation",
        tags=["biology", "medical", "microscopy", "rarecell", *sorted({"phantom"} & set(record.origins))],
    )
    sections = [
        f"{fields}\n# Conditional {kind} generator of cell images",
        NOTICES["phantom"] if "phantom" in record.origins else "",
        "![Samples: a row for each class](samples/grid.png)" if (folder / GRID).is_file() else "",
        f"""## Intended use

Research: draws {generator.image_size} px images of the classes below to fill rare classes of a
*training* set, and to measure what that is worth. Image = f(weights, class, seed).""",
        _loading(generator),
        _data(generator, credit),
        _start(record),
        _measured(record),
        _settings(generator),
        _findings(record),
        f"## Limits\n\n{LIMITS}",
    ]
    write_text(folder / CARD, "\n\n".join(section for section in sections if section) + "\n")


def _joined(credit: Credit, start: Path | None) -> Credit:
    """Licence and citation of the cells, and of those behind the start model where they differ."""
    path = None if start is None else model_folder(start) / CARD
    if path is None or not path.is_file():
        return credit
    licence, citation = _said(path)
    words = licence_fields(credit.licence)
    same = licence in (credit.licence, words["license"], words.get("license_name"))
    return Credit(
        credit.licence if same else f"{credit.licence}; start model: {licence}",
        credit.citation if citation == credit.citation else f"{credit.citation} Start model: {citation}",
    )


def _said(path: Path) -> tuple[str, str]:
    """Licence and citation as a card has them."""
    said = read_front_matter(path.read_text(encoding="utf-8"))
    licence = str(said.get("license_name") or said.get("license") or UNKNOWN)
    return licence, str(said.get("citation") or UNKNOWN)


def _loading(generator: Generator) -> str:
    name, size = generator.classes[0], generator.image_size
    return f"""## How to use it

    uv run scripts/synthesize.py generator=DIR out=synthetic {shlex.quote(f"counts.{name}=100")}

or in Python, with this folder's name on Hugging Face in place of USER/NAME:

```python
from pathlib import Path
import torch
import generators
from huggingface_hub import snapshot_download

generator = generators.load(Path(snapshot_download("USER/NAME")))
labels = torch.full((8,), generator.classes.index({name!r}))
images = generator.sample(labels, seeds=torch.arange(8))  # uint8, (8, 3, {size}, {size})
```"""


def _data(generator: Generator, credit: Credit) -> str:
    record = generator.record
    assert record is not None
    rows = "\n".join(
        f"| {index} | {escaped(name)} | {record.counts[name]} |"
        for index, name in enumerate(generator.classes)
    )
    return f"""## Training data

| label | class | training cells |
|---|---|---|
{rows}

- Licence: {credit.licence}
- Citation: {credit.citation}
- Modality: {record.modality}
- Digest of the training split: `{record.split_digest}`
- Pixel digests of all training cells: `seen.txt`"""


def _start(record: FitRecord) -> str:
    """Where the training started from, and which class began as which."""
    start = record.start
    if start is None:
        return ""
    rows = "\n".join(
        f"| {escaped(own)} | {'new: the mean of all' if theirs is None else escaped(theirs)} |"
        for own, theirs in start["class_map"].items()
    )
    left_out = ", ".join(map(escaped, start["left_out"])) or "none"
    frozen = ", ".join(f"`{name}`" for name in start["frozen"]) or "none"
    return f"""## Started from another model

| class | began as its class |
|---|---|
{rows}

- Its classes that this model does not have: {left_out}
- SHA-256 of its weights: `{start["weights_sha256"]}`
- Digest of its training split: `{start["split_digest"]}`; its cells are in `seen.txt`, too
- Layers that stayed as they were: {frozen}"""


def _measured(record: FitRecord) -> str:
    """The monitor's figures, with what they were measured with."""
    chosen = record.chosen or {}
    if not chosen.get("figures"):
        step = f" The weights are those of step {chosen['step']}, the last." if chosen else ""
        return f"## Figures\n\nNone were measured during the training.{step}"
    last = chosen["last"]
    rows = "\n".join(
        f"| {escaped(name)} | {value:.4g} | {last['figures'][name]:.4g} |"
        for name, value in chosen["figures"].items()
    )
    decided = ", then ".join(f"{name} ({end}est)" for name, end in chosen["decide_by"])
    return f"""## Figures

Measured on *validation* cells while training, to choose the step that is kept: {chosen["choose"]}, by
{decided}. They are no test result: measure the model on cells of your own.

| figure | step {chosen["step"]} (this model) | step {last["step"]} (last) |
|---|---|---|
{rows}

Figures of other fingerprints are not comparable:

```json
{json.dumps(chosen["fingerprint"], indent=2)}
```"""


def _settings(generator: Generator) -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("rarecell", "torch", "diffusers", "numpy"))
    settings = generator.settings.model_dump(mode="json", exclude={"start_from"})
    return f"""## Settings

Seed {generator.seed}; {versions}.

```json
{json.dumps(settings, indent=2)}
```"""


def _findings(record: FitRecord) -> str:
    """What was wrong with a class at the end of the training; nothing where all was well."""
    rows = "\n".join(
        f"- {escaped(name)}: {escaped('; '.join(said))}" for name, said in record.findings.items()
    )
    return f"## Classes that went wrong\n\nAt the end of the training:\n\n{rows}" if rows else ""


def about_set(generator: Generator, source: Path, seed: int) -> About:
    """What the card of a synthetic set says beyond its table.

    The licence and the citation are those of the generator's training cells, as its own card has them.

    Args:
        generator: The one that drew the cells.
        source: Where it lies.
        seed: That the cells were drawn with.
    """
    record = generator.record
    assert record is not None, "a loaded generator knows its cells"
    cards = [path for path in (source / CARD, source / "model" / CARD) if path.is_file()]
    licence, citation = _said(cards[0]) if cards else (UNKNOWN, UNKNOWN)
    rows = "\n".join(f"| {escaped(name)} | {record.counts[name]} |" for name in generator.classes)
    return About(
        licence=licence,
        citation=citation,
        phantom="phantom" in record.origins,
        notes=f"""## Generator

- {escaped(str(source))}, a {generator.settings.kind} trained with seed {generator.seed}
- Seed of this synthesis: {seed}
- Digest of the cells it was trained on: {record.split_digest}

| class | training cells |
|---|---|
{rows}

{LIMITS}""",
    )
