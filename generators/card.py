"""Cards in words that go beside a trained generator and beside a synthetic set."""

from __future__ import annotations

import json
from pathlib import Path

from cells.cellset import CellSet
from cells.sources import Credit
from generators.protocol import Generator
from runtime.rundir import write_text

PHANTOM_NOTICE = (
    "**Phantom data.** The cells behind this are drawn by a program, not photographed. Nothing "
    "here says anything about real cells or patients."
)
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
    notice = f"{PHANTOM_NOTICE}\n\n" if "phantom" in record.origins else ""
    text = f"""# Conditional {settings["kind"]} generator of cell images

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

## Limits

{LIMITS}
"""
    write_text(folder / "README.md", text)


def write_set_card(cells: CellSet, generator: Generator, source: str, folder: Path) -> None:
    """Write ``README.md`` beside a synthetic set.

    Args:
        cells: Synthetic.
        generator: The one that drew them.
        source: Name or path of the generator, for people.
        folder: Where the set was saved.
    """
    record = generator.record
    phantom = record is not None and "phantom" in record.origins
    notice = f"{PHANTOM_NOTICE}\n\n" if phantom else ""
    rows = "\n".join(f"| {name} | {count} |" for name, count in cells.counts.items())
    text = f"""# Synthetic cell images

{notice}Every image here is generated (IPTC digital source type `trainedAlgorithmicMedia`); none is
a photograph. For training only: a validation or test set holds real cells.

- Generator: {source}
- Digest of the cells it was trained on: `{record.split_digest if record else "unknown"}`
- `metadata.jsonl` holds, for each image, its class, seed and generator: enough to make it again.

| class | images |
|---|---|
{rows}
"""
    write_text(folder / "README.md", text)
