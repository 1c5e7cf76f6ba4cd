"""Cards in words that go beside a trained generator and beside a synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

from cells.card import NOTICES, UNKNOWN, About, escaped, front_matter, licence_fields, read_front_matter
from cells.sources import Credit
from generators.protocol import Generator
from runtime.rundir import write_text

CARD = "README.md"
LIMITS = """- It has seen only the cells named above: another stain, microscope, camera or
  laboratory looks different.
- Rare classes were learned from few cells; their variety is limited, and near-copies of
  training cells are possible. Measure both before use (`scripts/evaluate.py`).
- Not for diagnosis, and never for validation or test sets: those are real cells only."""


def write_model_card(generator: Generator, credit: Credit, folder: Path) -> None:
    """Write ``README.md`` beside a saved generator.

    Args:
        generator: Trained.
        credit: Licence and citation of its training cells.
        folder: Where the generator was saved.
    """
    record = generator.record
    assert record is not None, "a card describes a trained generator"
    settings = generator.settings.model_dump(mode="json")
    rows = "\n".join(f"| {name} | {record.counts[name]} |" for name in generator.classes)
    notice = f"{NOTICES['phantom']}\n\n" if "phantom" in record.origins else ""
    fields = front_matter(
        **licence_fields(credit.licence),
        citation=credit.citation,
        pipeline_tag="unconditional-image-generation",
        tags=["biology", "medical", "microscopy", "rarecell", *sorted({"phantom"} & set(record.origins))],
    )
    text = f"""{fields}
# Conditional {settings["kind"]} generator of cell images

{notice}## Intended use

Research: draws {generator.image_size} px images of the classes below to fill rare classes of a
*training* set, and to measure what that is worth. Image = f(weights, class, seed).

    python scripts/synthesize.py generator=DIR out=synthetic counts.{generator.classes[0]}=100

## Training data

| class | training cells |
|---|---|
{rows}

- Licence: {credit.licence}
- Citation: {credit.citation}
- Digest of the training split: `{record.split_digest}`
- Pixel digests of all training cells: `seen.txt`

## Settings

Seed {generator.seed}.

```json
{json.dumps(settings, indent=2)}
```

{_findings(generator)}## Limits

{LIMITS}
"""
    write_text(folder / CARD, text)


def _findings(generator: Generator) -> str:
    """What was wrong with a class at the end of the training; nothing where all was well."""
    assert generator.record is not None, "a card describes a trained generator"
    found = generator.record.findings
    rows = "\n".join(f"- {escaped(name)}: {escaped('; '.join(said))}" for name, said in found.items())
    return f"## Classes that went wrong\n\nAt the end of the training:\n\n{rows}\n\n" if found else ""


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
    said = read_front_matter(cards[0].read_text(encoding="utf-8")) if cards else {}
    rows = "\n".join(f"| {escaped(name)} | {record.counts[name]} |" for name in generator.classes)
    return About(
        licence=str(said.get("license_name") or said.get("license") or UNKNOWN),
        citation=str(said.get("citation") or UNKNOWN),
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
