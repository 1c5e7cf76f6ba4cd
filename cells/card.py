"""The data-set card: README.md with the front matter that Hugging Face reads."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from cells.cellset import CellSet

UNKNOWN = "not known"
# Hugging Face's word for a licence, and SPDX's.
LICENCES = {
    "apache-2.0": "Apache-2.0",
    "cc0-1.0": "CC0-1.0",
    "cc-by-3.0": "CC-BY-3.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "mit": "MIT",
}
SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
TITLES = {"real": "Cell images", "phantom": "Phantom cells", "synthetic": "Synthetic cell images"}
NOTICES = {
    "phantom": "**Phantom data.** The cells behind this are drawn by a program, not photographed. Nothing "
    "here says anything about real cells or patients.",
    "synthetic": "**Synthetic data.** The images of origin `synthetic` are generated (IPTC digital source "
    "type `trainedAlgorithmicMedia`); none is\na photograph. For training only: a validation or test set "
    "holds real cells.",
}


@dataclass(frozen=True)
class About:
    """What a card says that the table of cells does not.

    Attributes:
        title: Heading; empty for one that follows from the cells.
        licence: Of the images, e.g. ``CC BY 4.0``.
        citation: Whom to cite.
        notes: More sections, as Markdown.
        phantom: The cells are, or were learned from, phantoms; also taken from the table.
    """

    title: str = ""
    licence: str = UNKNOWN
    citation: str = UNKNOWN
    notes: str = ""
    phantom: bool = False


def licence_id(licence: str) -> str:
    """Hugging Face's word for a licence: ``cc-by-4.0``; ``other`` or ``unknown`` where it has none."""
    word = licence.strip().lower().replace(" ", "-")
    if word in LICENCES:
        return word
    return "unknown" if word.startswith(("not-known", "unknown")) else "other"


def front_matter(**fields: Any) -> str:
    """YAML between two lines of dashes, as Hugging Face reads it at the top of a card."""
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n"


def read_front_matter(text: str) -> dict[str, Any]:
    """What a card says of itself at its top; empty where there is nothing readable."""
    parts = text.split("---\n", 2)
    try:
        found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else {}
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def licence_fields(licence: str) -> dict[str, str]:
    """The licence in front matter: one of Hugging Face's words, or ``other`` and its name."""
    word = licence_id(licence)
    return {"license": word, "license_name": licence} if word == "other" else {"license": word}


def origins_of(parts: Mapping[str, CellSet], about: About) -> list[str]:
    """Kinds of cells that a card must name."""
    found = {str(origin) for cells in parts.values() for origin in cells.origins}
    return sorted(found | ({"phantom"} if about.phantom else set()))


def title_of(parts: Mapping[str, CellSet], about: About) -> str:
    """The heading: given, or after the cells."""
    found = [
        TITLES[origin] for origin in ("synthetic", "phantom", "real") if origin in origins_of(parts, about)
    ]
    return about.title or (found or ["Cell images"])[0]


def card(parts: Mapping[str, CellSet], about: About) -> str:
    """The card of a written set.

    Args:
        parts: The cells of each folder: ``{"": cells}``, or train, val and test.
        about: What the table does not say.
    """
    origins = origins_of(parts, about)
    total = sum(map(len, parts.values()))
    fields = front_matter(
        pretty_name=title_of(parts, about),
        **licence_fields(about.licence),
        task_categories=["image-classification"],
        size_categories=[next((word for bound, word in SIZES.items() if total < bound), "n>1T")],
        tags=["biology", "medical", "microscopy", "rarecell", *(o for o in origins if o != "real")],
    )
    size = next(iter(parts.values())).image_size
    blocks = [
        f"{fields}\n# {title_of(parts, about)}",
        *(NOTICES[origin] for origin in origins if origin in NOTICES),
        f"{total} images of {size}×{size} px.",
        _counts(parts),
        _made(parts),
        about.notes,
        f"## Source\n\n- Licence: {about.licence}\n- Citation: {about.citation}",
        FILES,
    ]
    return "\n\n".join(block.strip("\n") for block in blocks if block) + "\n"


def _counts(parts: Mapping[str, CellSet]) -> str:
    classes = next(iter(parts.values())).classes
    heads = [side or "images" for side in parts]
    lines = [f"| class | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in classes:
        counts = " | ".join(str(cells.counts[name]) for cells in parts.values())
        lines.append(f"| {escaped(name)} | {counts} |")
    return "\n".join(lines)


def _made(parts: Mapping[str, CellSet]) -> str:
    """Which generators drew the synthetic cells, from which split, with which seeds."""
    lines = []
    made = [row for cells in parts.values() for row in cells.provenance[cells.is_synthetic]]
    for key, title in (("generator", "Generator"), ("split_digest", "Digest of the cells it was trained on")):
        counts = Counter(str(row.get(key, "not recorded")) for row in made)
        lines += [f"- {title}: {escaped(value)} ({count} images)" for value, count in counts.items()]
    seeds = [row["seed"] for row in made if isinstance(row.get("seed"), int)]
    if seeds:
        lines.append(f"- Seeds: one for each image, {len(set(seeds))} from {min(seeds)} to {max(seeds)}")
        lines.append(
            "- `metadata.jsonl` says for each image its class, seed and generator: enough to remake it"
        )
    return "## How the synthetic images were made\n\n" + "\n".join(lines) if made else ""


def escaped(text: str) -> str:
    """Words from outside, for a table in Markdown: neither markup nor another column."""
    return html.escape(text, quote=False).replace("|", "&#124;").replace("`", "&#96;").replace("\n", " ")


FILES = """## Files

- `<class>/<number>.png`, opened by torchvision's `ImageFolder` and by
  `datasets.load_dataset("imagefolder", data_dir=...)`; classes without images have no folder.
- `metadata.jsonl`: one line an image, with `label`, `name`, `group` (what must not be split), `split`,
  `origin` (real, phantom or synthetic) and `sha256` of the decoded pixels. `classes.json`: all classes,
  in the order of the labels.
- `croissant.json`: the same for tools that read Croissant. `checksums.txt`: `sha256sum -c checksums.txt`.
- `cells.parquet`, where it was asked for: the same cells in one file. `morphology.csv`, likewise: areas,
  nucleus-to-cytoplasm ratio, lobes, granularity and color of each cell, on masks found by a program."""
