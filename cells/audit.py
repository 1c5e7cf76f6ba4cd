"""What is in a prepared set: counts, imbalance, sizes, duplicates, conflicting labels."""

import base64
import io
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from cells.cellset import CellSet
from cells.sources import CREDITS, DataSettings, FolderData
from cells.split import SIDES, Split
from runtime.errors import InputError

SHOWN = 12  # cells of each class in the page


def audit(cells: CellSet, split: Split, data: DataSettings) -> dict[str, Any]:
    """Facts about a source and its split, as JSON values.

    Args:
        cells: All cells of the source.
        split: Its split.
        data: What was read.

    Returns:
        Counts per class and side, the imbalance factor of train (largest class over smallest),
        image sizes in the source, exact duplicates by pixel digest, duplicates whose labels
        disagree, and the split's digest.
    """
    parts = {"train": split.train, "val": split.val, "test": split.test}
    side_of = {
        name: side for side, part in parts.items() for name in part.names
    }  # cells dropped for leaking have none
    train = split.train.counts.values()
    duplicates = _duplicates(cells, side_of)
    return {
        "source": data.kind,
        "licence": CREDITS[data.kind].licence,
        "citation": CREDITS[data.kind].citation,
        "cells": len(cells),
        "kept": sum(len(part) for part in parts.values()),
        "origins": dict(Counter(map(str, cells.origins))),
        "groups": len(set(cells.groups)),
        "image_size": cells.image_size,
        "source_sizes": _source_sizes(cells, data),
        "counts": {name: {side: parts[side].counts[name] for side in SIDES} for name in cells.classes},
        "imbalance_factor": round(max(train) / min(train), 2),
        "duplicates": [found for found in duplicates if len(set(found["labels"])) == 1],
        "label_conflicts": [found for found in duplicates if len(set(found["labels"])) > 1],
        "split_digest": split.digest,
    }


def _duplicates(cells: CellSet, side_of: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Sets of cells with equal pixels at the prepared size."""
    rows = defaultdict(list)
    for i, digest in enumerate(cells.digests):
        rows[digest].append(i)
    return [
        {
            "names": [str(cells.names[i]) for i in same],
            "labels": [cells.classes[cells.labels[i]] for i in same],
            "splits": [side_of.get(cells.names[i], "dropped") for i in same],
        }
        for same in rows.values()
        if len(same) > 1
    ]


def _source_sizes(cells: CellSet, data: DataSettings) -> dict[str, int]:
    """How many images have which size before cropping and resizing, most frequent first."""
    if not isinstance(data, FolderData):
        return {f"{cells.image_size}×{cells.image_size}": len(cells)}
    sizes: Counter[str] = Counter()
    for name in cells.names:
        try:
            with Image.open(data.root / name) as image:
                sizes[f"{image.width}×{image.height}"] += 1
        except FileNotFoundError:  # a prepared set names where the cell came from first
            sizes["not known"] += 1
        except OSError as error:
            raise InputError(f"{data.root / name}: cannot be read any more ({error}).") from None
    return dict(sizes.most_common())


def page(facts: Mapping[str, Any], split: Split) -> str:
    """The audit as one self-contained HTML page, with some training cells of each class.

    Args:
        facts: What `audit` returned.
        split: The split, for the pictures.
    """
    sheets = {name: _sheet(split.train.of_class(name)) for name in split.train.classes}
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(PAGE).render(facts=facts, sides=SIDES, sheets=sheets)


def _sheet(cells: CellSet) -> str:
    """The first cells of a class beside each other, as a data URI."""
    strip = np.concatenate(list(cells.pixels[:SHOWN]), axis=1)  # (h, w * shown, 3)
    file = io.BytesIO()
    Image.fromarray(strip).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Audit of {{ facts.source }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem;
       margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } th, td { padding: .2rem .8rem; border-bottom: 1px solid #ccc; }
td.n { text-align: right; } img { height: 48px; image-rendering: pixelated; max-width: 100%; }
</style>
<h1>Audit of {{ facts.source }}</h1>
{% if 'phantom' in facts.origins %}
<p><strong>These are phantoms: drawings, not cells.</strong></p>{% endif %}
<p>{{ facts.kept }} of {{ facts.cells }} cells kept, {{ facts.groups }} groups,
{{ facts.image_size }} px. Imbalance factor of train: {{ facts.imbalance_factor }}.
Split <code>{{ facts.split_digest }}</code>.</p>
<p>Licence: {{ facts.licence }}. Source: {{ facts.citation }}</p>
<h2>Cells per class</h2>
<table>
<tr><th>class</th>{% for side in sides %}<th>{{ side }}</th>{% endfor %}<th>in train</th></tr>
{% for name, counts in facts.counts.items() %}<tr><td>{{ name }}</td>
{% for side in sides %}<td class="n">{{ counts[side] }}</td>{% endfor %}
<td><img src="{{ sheets[name] }}" alt="training cells of {{ name }}"></td></tr>
{% endfor %}</table>
<h2>Image sizes in the source</h2>
<ul>{% for size, count in facts.source_sizes.items() %}
<li>{{ size }}: {{ count }}</li>{% endfor %}</ul>
{% for title, found in [("Label conflicts: equal pixels, different classes", facts.label_conflicts),
                        ("Exact duplicates", facts.duplicates)] %}
<h2>{{ title }} ({{ found | length }})</h2>
{% if not found %}<p>None.</p>{% endif %}
<ul>{% for same in found[:50] %}<li>{% for name in same.names %}
<code>{{ name }}</code> ({{ same.labels[loop.index0] }}, {{ same.splits[loop.index0] }})
{%- if not loop.last %} = {% endif %}{% endfor %}</li>{% endfor %}</ul>
{% if found | length > 50 %}<p>The rest is in audit.json.</p>{% endif %}
{% endfor %}
</html>
"""
