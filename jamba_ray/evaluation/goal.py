"""Chooses a threshold for a goal: a false-positive rate, a recall, a precision, alerts, a cost.

Rows of equal score are flagged together, so that what is asked for holds also where many rows share
the score at the threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from jamba_ray.errors import DataError
from jamba_ray.evaluation.bootstrap import Interval, rate
from jamba_ray.evaluation.clusters import Bools, clusters_of
from jamba_ray.evaluation.counts import Counts, Floats, checked, count
from jamba_ray.evaluation.threshold import confusion, cut_below

GoalName = Literal["max_fpr", "min_recall", "min_precision", "max_alert_share", "least_cost"]


@dataclass(frozen=True)
class Goal:
    """Says what a threshold is chosen for."""

    name: GoalName
    value: float
    """A share in (0, 1]; of ``least_cost``: what a missed threat costs, a false alert costing 1."""
    threat_ratio: float | None = None
    """Share of threats among the rows to come; None: as among the rows it is chosen on."""


def threshold_for(y: npt.ArrayLike, p: npt.ArrayLike, goal: Goal) -> float:
    """Chooses the threshold that meets ``goal`` on labels ``y`` [N] and probabilities ``p`` [N].

    It is the lowest one for a limit on false alerts, the highest one for a wanted recall.

    Raises as ``count`` does, and:

    Raises:
        DataError: If rows of a class are missing, or no threshold that flags a row meets the goal.
    """
    counts = count(y, p)
    if counts.n_threats == 0 or counts.n_benign == 0:
        raise DataError(
            f"a threshold must be chosen on threats and benign rows, but there are "
            f"{counts.n_threats:.0f} and {counts.n_benign:.0f}; choose rows with both."
        )
    recall = np.cumsum(counts.threats) / counts.n_threats
    fpr = np.cumsum(counts.benign) / counts.n_benign
    ratio = goal.threat_ratio
    if ratio is None:
        ratio = counts.n_threats / (counts.n_threats + counts.n_benign)
    alerts = ratio * recall + (1.0 - ratio) * fpr
    precision = ratio * recall / np.maximum(alerts, np.finfo(float).tiny)
    if goal.name == "least_cost":
        cost = np.append(
            ratio * goal.value, (1.0 - ratio) * fpr + ratio * (1 - recall) * goal.value
        )
        return cut_below(counts, int(np.argmin(cost)) - 1)
    # The slack is for rounding alone: 0.01 x 700 is 7.000000000000001 or 6.999... in binary.
    low, high = goal.value * (1.0 - 1e-12), goal.value * (1.0 + 1e-12)
    if goal.name == "min_recall":
        return cut_below(counts, int(np.argmax(recall >= low)))
    allowed = {
        "max_fpr": fpr <= high,
        "max_alert_share": alerts <= high,
        "min_precision": precision >= low,
    }[goal.name]
    if not allowed.any():
        raise DataError(_unreachable(goal, counts, fpr, recall, alerts, precision))
    return cut_below(counts, int(np.flatnonzero(allowed)[-1]))


def _unreachable(
    goal: Goal, counts: Counts, fpr: Floats, recall: Floats, alerts: Floats, precision: Floats
) -> str:
    best = int(np.argmax(precision)) if goal.name == "min_precision" else 0
    what, can = {
        "max_fpr": ("false-positive rate", f"the lowest that flags anything is {fpr[best]:.3g}"),
        "max_alert_share": (
            "share of rows that are alerts",
            f"the lowest that flags anything is {alerts[best]:.3g}",
        ),
    }.get(goal.name, ("precision", f"the highest is {precision[best]:.3g}"))
    side = "at least" if goal.name == "min_precision" else "at most"
    return (
        f"the {what} on validation rows must be {side} {goal.value:.3g}, but {can} (it finds "
        f"{recall[best]:.1%} of the threats, with {counts.benign[: best + 1].sum():.0f} benign "
        "rows among the alerts); ask for that, or train a better model."
    )


def operating_point(
    y: npt.ArrayLike, p: npt.ArrayLike, threshold: float, group: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Counts what a threshold does to rows, with exact binomial 95 % intervals of the rates.

    ``group``: the names [N] of groups that are drawn whole, which widens the intervals. A rate that
    the rows do not define is None. It raises as ``count`` does.
    """
    found = confusion(y, p, threshold)
    labels, scores = checked(y, p)
    alerts = scores >= threshold
    clusters = None if group is None else clusters_of(labels, group)

    def rate_of(right: Bools, among: Bools) -> Interval | None:
        return rate(right, among, clusters) if among.any() else None

    hits, false = found["true_positives"], found["false_positives"]
    threats, benign = hits + found["false_negatives"], false + found["true_negatives"]
    return {
        "rows": threats + benign,
        "alerts": hits + false,
        "found": hits,
        "missed": found["false_negatives"],
        "false_alerts": false,
        "fpr": rate_of(alerts, ~labels),
        "recall": rate_of(alerts, labels),
        "precision": rate_of(labels, alerts),
        **({} if clusters is None else {"groups": clusters.groups}),
    }
