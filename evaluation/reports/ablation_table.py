"""The ablation of the curation as rows of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.reports.tables import percent


def ablation_tables(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One table a generator.

    Args:
        records: What `evaluation.filters.ablation.ablate` returned, with `generator`.

    Returns:
        `name`, `about` (a sentence on n) and `rows`: `filters`, `passed`, `rejected`, `real`,
        `agreement`, `kid` and `coverage`, the last two with `value` and `interval`.
    """
    return [
        {
            "name": record["generator"],
            "about": (
                f"{sum(record['drawn'].values()):,} drawn cells of {', '.join(record['classes'])}; "
                f"KID (× 1,000) and coverage ({record['encoder']}) of {record['n']:,} cells a side against "
                f"unseen real ones, mean and 95% range over {record['repeats']} draws."
            ),
            "rows": [_row(row) for row in record["rows"]],
        }
        for record in records
    ]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "filters": row["filters"],
        "passed": f"{row['passed']:,}",
        "rejected": f"{percent(row['rejected'])}%",
        "real": f"{percent(row['real_rejected'])}% of {row['real_n']:,}",
        "agreement": "–" if row["agreement"] is None else f"{percent(row['agreement'])}%",
        "kid": _figure(row["kid"], 1e3, "{:.1f}"),
        "coverage": _figure(row["coverage"], 1.0, "{:.2f}"),
    }


def _figure(found: Mapping[str, Any], scale: float, form: str) -> dict[str, str]:
    if "reason" in found:
        return {"value": str(found["reason"]), "interval": ""}
    value, low, high = (form.format(found[key] * scale).replace("-", "−") for key in ("value", "low", "high"))
    return {"value": value, "interval": f"{low} to {high}"}
