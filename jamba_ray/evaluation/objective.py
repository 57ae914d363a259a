"""Computes the metric that decides between models."""

from __future__ import annotations

import numpy.typing as npt

from jamba_ray.errors import DataError
from jamba_ray.evaluation.counts import Counts, count
from jamba_ray.evaluation.metrics import DEFAULT_THRESHOLD, METRICS, f1_down_to, undefined


def objective_of(counts: Counts, objective: str) -> float:
    """Computes the metric that decides; ``f1`` at its own best threshold."""
    if objective == "f1":
        return float(f1_down_to(counts).max())
    return METRICS[objective].compute(counts, DEFAULT_THRESHOLD)


def value_of_objective(objective: str, y: npt.ArrayLike, p: npt.ArrayLike) -> float:
    """Computes ``objective_of`` labels ``y`` [N] and probabilities ``p`` [N].

    Raises:
        DataError: The rows lack a class without which the metric has no meaning.
    """
    counts = count(y, p)
    reason = undefined(counts.n_threats, counts.n_benign).get(objective)
    if reason is not None:
        raise DataError(reason)
    return objective_of(counts, objective)
