"""Lists what the model relies on: for the terminal, the report and its Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jamba_ray.evaluation.permutation import CORRELATED
from jamba_ray.reports.words import LABELS

_MOST_NAMES = 6


def feature_table(found: Mapping[str, Any] | None, most: int = 20) -> list[list[str]]:
    """Returns a row for each of the most important groups of columns; empty without any."""
    if not found or not found["groups"]:
        return []
    label = LABELS.get(found["metric"], found["metric"])
    table = [["columns", f"{label} lost without", "95 % interval"]]
    for one in found["groups"][:most]:
        names = " + ".join(one["columns"][:_MOST_NAMES])
        if (more := len(one["columns"]) - _MOST_NAMES) > 0:
            names += f" + {more} more"
        table.append([names, f"{one['drop']:.4f}", f"{one['low']:.4f} to {one['high']:.4f}"])
    if (left := len(found["groups"]) - most) > 0:
        table.append([f"{left} more, each less", "", ""])
    return table


def feature_note(found: Mapping[str, Any]) -> str:
    """Returns a sentence on how the importance was measured."""
    label = LABELS.get(found["metric"], found["metric"])
    where = "validation" if found["part"] == "val" else found["part"]
    return (
        f"By how much {label} ({found['value']:.4f}) gets worse when the cells of a column are "
        f"exchanged for those of other rows, on {found['rows']:,} {where} rows. Columns that "
        f"correlate by {CORRELATED:g} or more (Spearman) are exchanged together. An interval that "
        "holds 0 may be chance."
    )
