"""Decides what a run's scores promise of rows to come, and takes it back where they differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from jamba_ray.evaluation.goal import Goal
from jamba_ray.evaluation.promise import (
    By,
    Promise,
    disproof,
    of_drawn,
    promised,
    shift_reason,
)

Parts = Mapping[str, pd.DataFrame]
"""Part -> its rows of ``scores.parquet``."""


def promised_of(
    parts: Parts,
    part: str,
    summary: Mapping[str, Any],
    goal: Goal,
    confidence: float,
    by: By | None = None,
    shift: float | None = None,
) -> tuple[float, Promise]:
    """Returns a threshold with its promise, taken back where the rows to come are not like those it
    rests on: a classifier tells them apart, or labelled newer rows refuse it.

    Where a classifier tells them apart, another threshold may be promised on rows that importance
    weights drew to be like them (``data.to_come``). ``shift`` is the ROC AUC of telling rows apart
    that the user gives in place of the run's own. Raises as ``promised`` does.
    """
    rows = parts[part]
    threshold, promise = promised(
        rows["label"],
        rows["probability"],
        goal,
        confidence,
        part=part,
        by=by,
        group=rows["group"] if by == "group" else None,
        time=rows["time"].to_numpy() if "time" in rows and rows["time"].notna().all() else None,
    )
    if promise.reason is not None:
        return threshold, promise
    told = shift_of(summary) if shift is None else (shift, shift)
    reason = None if told is None else shift_reason(*told)
    if reason is None or told is None:
        reason = _refused(parts, part, promise, threshold)
        return threshold, promise if reason is None else promise.withdrawn(reason)
    found, to_come = _drawn_of(summary, part), str((summary.get("to_come") or {}).get("rows"))
    if shift is not None or by is not None or found is None or "drawn" not in rows:
        return threshold, promise.withdrawn(reason)
    if found["reason"] is not None:
        why = f"{reason}. What holds there cannot be known: {found['reason']}"
        return threshold, promise.withdrawn(why)
    drawn = rows[rows["drawn"]]
    cut, weighted = of_drawn(
        drawn["label"],
        drawn["probability"],
        goal,
        confidence,
        part=part,
        found={**found, "auc": told[0]},
        to_come=to_come,
    )
    refused = weighted.reason or _refused(parts, part, weighted, cut)
    if refused is not None:
        why = f"{reason}. What holds there cannot be known by importance weights: {refused}"
        return threshold, promise.withdrawn(why)
    return cut, weighted


def shift_of(summary: Mapping[str, Any]) -> tuple[float, float] | None:
    """Returns (AUC, its lower end) of telling rows to come from those that a promise rests on; None
    where the run's summary does not have it.

    Of a split by time it is that of the test against validation. Of a split by group there is none:
    other groups are always told apart, and no promise by row holds for them.
    """
    try:
        data = summary["data"]
        found = (data.get("shift") or {}).get("to_come")
        if found is not None:
            return float(found["roc_auc"]["value"]), float(found["roc_auc"]["low"])
        if data["split"]["kind"] != "time":
            return None
        told = summary["best"]["expected"]["shift"]
        return float(told["roc_auc"]), float(told["low"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def drawn_groups_of(summary: Mapping[str, Any]) -> set[str]:
    """Returns the parts whose intervals are over groups, where the run's summary has them."""
    found = summary.get("drawn_groups")
    return set(found) if isinstance(found, Mapping) else set()


def _drawn_of(summary: Mapping[str, Any], part: str) -> dict[str, Any] | None:
    """Returns what importance weights drew of ``part``; None where nothing was drawn of it."""
    try:
        found = summary["to_come"]["parts"][part]
        names = ("rows", "drawn", "effective", "reason")
        return {name: found[name] for name in names}
    except (KeyError, TypeError):
        return None


def _refused(parts: Parts, part: str, promise: Promise, threshold: float) -> str | None:
    """Says that labelled rows that chose nothing refuse a promise: the test, and of the rows of
    ``part`` the newest."""
    judged: dict[str, pd.DataFrame] = {}
    if "test" in parts:
        judged["the test rows"] = parts["test"]
    rows = parts[part]
    if "newest" in rows and rows["newest"].any():
        judged["the newest rows"] = rows[rows["newest"]]
    for where, one in judged.items():
        reason = disproof(
            promise.to_json(),
            one["label"],
            one["probability"],
            threshold,
            where=where,
            group=one["group"] if promise.by == "group" else None,
        )
        if reason is not None:
            return reason
    return None
