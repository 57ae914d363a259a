"""Builds the main table of the report: the cost and the recall of the winner at each threshold."""

from __future__ import annotations

from typing import Any

from jamba_ray.checkpoints.manifest import MANIFEST
from jamba_ray.checkpoints.thresholds import FILE, digest_of, promise_of, read_thresholds
from jamba_ray.errors import CheckpointError, DataError, TrialError
from jamba_ray.evaluation.goal import Goal, operating_point, threshold_for
from jamba_ray.reports.run import Run

_ROWS = 10_000.0
_LIMITS = {"at most 1 % of benign rows": 0.01, "at most 0.1 % of benign rows": 0.001}


def operating_table(run: Run) -> list[list[str]]:
    """Returns a row for each threshold; empty where the run has no scores.

    The test rows count where they have both classes, else the validation rows.
    """
    scores, judged = run.scores, run.summary.get("best")
    if scores is None or not judged or "part" not in scores or judged.get("threshold") is None:
        return []
    val, test = (scores[scores["part"] == part] for part in ("val", "test"))
    rows = test if test["label"].nunique() == 2 else val
    if val["label"].nunique() < 2 or rows["label"].nunique() < 2:
        return []
    is_drawn = ("test" if rows is test else "val") in (run.summary.get("drawn_groups") or {})
    drawn = rows["group"] if is_drawn and "group" in rows else None
    where = "test rows" if rows is test else "validation rows"
    saved = _saved(run)
    days = {name: one.get("asked", {}).get("rows_per_day") for name, one in saved.items()}
    cuts: list[tuple[str, float, float | None]] = [
        (f"saved as {name}", float(one["threshold"]), days[name]) for name, one in saved.items()
    ]
    # Where the rows of a day are known, alerts per day can be given for every threshold.
    day = next((found for found in days.values() if found), None)
    cuts.append(("best F1", float(judged["threshold"]), day))
    for name, limit in _LIMITS.items():
        try:
            cut = threshold_for(val["label"], val["probability"], Goal("max_fpr", limit))
        except (DataError, TrialError):
            continue
        cuts.append((name, cut, day))
    table = [[f"on {where}", "threshold", "alerts", "found", "missed", "false alerts"]]
    for name, cut, per_day in cuts:
        point = operating_point(rows["label"], rows["probability"], cut, drawn)
        table.append([name, f"{cut:.4g}", *_cells(point, per_day)])
    return table


def promises(run: Run) -> list[str]:
    """Returns a sentence for each saved threshold: what is promised of it, or why nothing is."""
    found = {name: promise_of(one) for name, one in _saved(run).items()}
    return [f"{name}: {one['sentence']}" for name, one in found.items() if one is not None]


def _cells(point: dict[str, Any], per_day: float | None) -> list[str]:
    alerts = point["alerts"] / point["rows"] * (per_day or _ROWS)
    found = point["recall"]
    return [
        f"{alerts:,.0f} {'a day' if per_day else 'per 10,000 rows'}",
        f"{point['found']:,} ({found['value']:.1%}, {found['low']:.1%} to {found['high']:.1%})",
        f"{point['missed']:,}",
        f"{point['false_alerts']:,} ({point['fpr']['value']:.2%}, {point['fpr']['low']:.2%} to "
        f"{point['fpr']['high']:.2%})",
    ]


def _saved(run: Run) -> dict[str, dict[str, Any]]:
    """Returns the saved thresholds; none where they are damaged, so that the report is still
    written."""
    best = run.folder.best
    try:
        digest = digest_of((best / MANIFEST).read_bytes())
        return read_thresholds((best / FILE).read_bytes(), digest, str(best))
    except (OSError, CheckpointError):
        return {}
