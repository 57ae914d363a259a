"""Says which of two values of a metric is better: the one place that knows directions."""

from __future__ import annotations

import math
from typing import Literal, TypeGuard

from jamba_ray.config.plugins import METRICS

Direction = Literal["maximize", "minimize"]
Directions = tuple[Direction, ...]
"""Of several objectives, the one that decides first."""

_LOWER_IS_BETTER = frozenset({"ece", "brier", "fpr", "latency_ms", "model_size_mb"})


def direction_of(metric: str) -> Direction:
    """Returns the direction of a metric, ours or one that only its owner knows: what ends in "loss"
    or "error" is to be small; a plug-in says it of its own."""
    if metric in METRICS:
        return METRICS[metric].direction
    if metric in _LOWER_IS_BETTER or metric.endswith(("loss", "error")):
        return "minimize"
    return "maximize"


def better(a: float, b: float, direction: str) -> bool:
    """Returns whether ``a`` beats ``b``; equal values do not."""
    return lead(a, b, direction) > 0


def lead(a: float, b: float, direction: str) -> float:
    """Returns by how much ``a`` is better than ``b``; negative where it is worse."""
    return a - b if direction == "maximize" else b - a


def badness(value: float, direction: str) -> float:
    """Returns a key that sorts the best value first."""
    return -value if direction == "maximize" else value


def least_first(direction: str) -> bool:
    """Returns whether values in ascending order begin with the best."""
    return badness(1.0, direction) > badness(0.0, direction)


def is_score(value: float | None) -> TypeGuard[float]:
    """Says whether ``value`` may be compared: NaN and infinities may not."""
    return value is not None and math.isfinite(value)
