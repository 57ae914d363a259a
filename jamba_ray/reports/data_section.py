"""Describes the rows as small tables, the same in the dry run, the report and its Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Table = list[list[str]]
_MOST_NAMES = 30
_MOST_LINES = 12
_PARTS = {"train": "training", "val": "validation", "test": "test"}


def data_tables(overview: Mapping[str, Any]) -> list[Table]:
    """Returns the tables of ``data`` in ``summary.json``: parts, columns, those left out, missing
    cells, and rows that differ.

    Empty where a run of an earlier version has no description of its data.
    """
    if not overview:
        return []
    tables = [_parts(overview), _columns(overview), _left_out(overview), _gaps(overview)]
    tables.append(_shift(overview))
    return [table for table in tables if len(table) > 1]


def _parts(overview: Mapping[str, Any]) -> Table:
    parts: Mapping[str, Mapping[str, Any]] = overview["parts"]
    timed = any(part["from"] is not None for part in parts.values())
    head = ["part", "rows", "threats", *(["from", "to"] if timed else []), "also in training"]
    table = [head]
    for name, part in parts.items():
        times = [part["from"] or "unknown", part["to"] or "unknown"] if timed else []
        seen = part["also_in_train"]
        threats = f"{part['threats']:,} ({_share(part['prevalence'])})"
        also = "–" if seen is None else f"{seen:,} ({_share(seen / max(1, part['rows']))})"
        table.append([_PARTS.get(name, name), f"{part['rows']:,}", threats, *times, also])
    return table


def _columns(overview: Mapping[str, Any]) -> Table:
    kinds = {"numbers": "numeric", "categories": "categorical"}
    found = overview["duplicates"]
    train = overview["parts"]["train"]["rows"]
    table = [["columns and rows", ""]]
    for words, kind in kinds.items():
        names = overview["columns"][kind]
        if names:
            columns = "column" if len(names) == 1 else "columns"
            table.append([f"{len(names):,} {columns} of {words}", _listed(names)])
    for words, key in (
        ("training rows that repeat another's features", "repeated"),
        ("training rows whose features occur with both labels", "both_labels"),
    ):
        table.append([words, f"{found[key]:,} ({_share(found[key] / max(1, train))})"])
    return table


def _left_out(overview: Mapping[str, Any]) -> Table:
    columns = list(overview["left_out"].items())
    table = [["no feature", "why"], *([name, why] for name, why in columns[:_MOST_LINES])]
    return table + _more(len(columns), ["columns"])


def _gaps(overview: Mapping[str, Any]) -> Table:
    missing: Mapping[str, Mapping[str, float]] = overview["missing"]
    parts = list(overview["parts"])
    table = [["missing cells", *(_PARTS.get(part, part) for part in parts)]]
    for name, shares in list(missing.items())[:_MOST_LINES]:
        table.append([name, *(_share(shares.get(part, 0.0)) for part in parts)])
    return table + _more(len(missing), ["columns", *[""] * (len(parts) - 1)])


def _shift(overview: Mapping[str, Any]) -> Table:
    """Returns how well rows are told from those that train, and what training never saw."""
    table = [["other rows than in training", "told apart (ROC AUC, 95 %)", "by"]]
    found = overview.get("shift", {})
    for one in found.get("comparisons", ()):
        auc, part = one["roc_auc"], str(one["part"])
        value = f"{auc['value']:.3f} ({auc['low']:.3f} to {auc['high']:.3f})"
        name = "newest fifth" if part == "newest" else _PARTS.get(part, part)
        table.append([name, value, _listed(one["columns"]) if auc["low"] > 0.5 else "chance"])
    return table


def _more(n: int, cells: Sequence[str]) -> Table:
    left = n - _MOST_LINES
    return [[f"and {left:,} more", *cells]] if left > 0 else []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES:,} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _share(share: float) -> str:
    """Returns a share as a percentage that is never 0 % of some or 100 % of not all."""
    percent = 100 * share
    if 0 < percent < 0.01:
        return "< 0.01 %"
    if 99.99 < percent < 100:
        return "> 99.99 %"
    return (
        f"{percent:.0f} %" if percent in (0, 100) else f"{percent:.{1 if percent >= 1 else 2}f} %"
    )
