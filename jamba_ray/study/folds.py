"""Joins the folds of a trial to its result, and decides after each fold whether the next is worth
it.

A fold counts from 1. The study keeps each finished fold as an attribute of its trial, so that none
is trained again after a crash.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jamba_ray.config.direction import Direction
from jamba_ray.study.records import TrialOutcome

KEY = "fold:"
"""Attribute of a trial, with the number of the fold."""
_FEWEST = 3
"""Folds before a trial is held against the best one: two differences have no spread to speak of."""
_SURELY = 2.0
"""Standard errors by which a trial must be behind."""

Folds = Mapping[int, TrialOutcome]
"""Number of a finished fold -> its result."""


def stored(fold: TrialOutcome) -> dict[str, Any]:
    """Returns a fold's result as the strict JSON that the study keeps."""
    return {
        "state": fold.state,
        "value": fold.value,
        "metrics": {k: v for k, v in fold.metrics.items() if math.isfinite(v)},
        "best_step": fold.best_step,
        "rows_seen": fold.rows_seen,
        "epochs": fold.epochs,
        "seconds": fold.seconds,
        "goodput_s": fold.goodput_s,
        "checkpoint": fold.checkpoint,
        "reason": fold.reason,
    }


def kept(attributes: Mapping[str, Any], number: int) -> dict[int, TrialOutcome]:
    """Returns the finished folds of trial ``number``, from its attributes."""
    return {
        int(key.removeprefix(KEY)): TrialOutcome(number, **value)
        for key, value in attributes.items()
        if key.startswith(KEY)
    }


def values_of(folds: Folds) -> tuple[float, ...]:
    """Returns the objective of each fold, in their order."""
    return tuple(folds[i].value or 0.0 for i in sorted(folds))


def standard_error(values: Sequence[float], held: float) -> float | None:
    """Returns the standard error of the mean over folds; None: there is one value.

    Training rows of folds overlap, so that the plain standard error is too small: it is corrected
    as by Nadeau and Bengio (2003, "Inference for the Generalization Error").

    Args:
        values: Of each fold.
        held: Held-out rows for each training row, 1 / (K - 1) with K folds.
    """
    if len(values) < 2:
        return None
    return math.sqrt((1.0 / len(values) + held) * statistics.variance(values))


def joined(folds: Folds, state: Any, reason: str | None, held: float) -> TrialOutcome:
    """Returns a trial's result: objective and metrics are means over its folds, rows and seconds
    sums; its checkpoint and steps are those of the first fold.

    ``held``: see ``standard_error``.
    """
    first, every = folds[min(folds)], [folds[i] for i in sorted(folds)]
    values = values_of(folds)
    names = [name for name in first.metrics if all(name in one.metrics for one in every)]
    return TrialOutcome(
        number=first.number,
        state=state,
        reason=reason,
        value=statistics.fmean(values),
        metrics={name: statistics.fmean(one.metrics[name] for one in every) for name in names},
        best_step=first.best_step,
        rows_seen=sum(one.rows_seen for one in every),
        epochs=first.epochs,
        seconds=sum(one.seconds for one in every),
        goodput_s=sum(one.goodput_s for one in every),
        checkpoint=first.checkpoint,
        folds=values,
        std_error=standard_error(values, held),
    )


def is_beaten(mine: Sequence[float], best: Sequence[float], direction: Direction) -> bool:
    """Says whether a trial is surely behind the best one on the folds that it has.

    Both were trained on the same rows of each fold, so that their differences are compared and not
    their values: it is behind by two standard errors of the mean difference.
    """
    if not _FEWEST <= len(mine) <= len(best):
        return False
    sign = 1.0 if direction == "maximize" else -1.0
    behind = [sign * (b - m) for m, b in zip(mine, best, strict=False)]
    mean = statistics.fmean(behind)
    return mean > 0.0 and mean > _SURELY * math.sqrt(statistics.variance(behind) / len(behind))
