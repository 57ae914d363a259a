"""Measures how good probabilities are: metrics, their intervals, thresholds and comparisons."""

from jamba_ray.evaluation.bayes_limit import bayes_limit
from jamba_ray.evaluation.bootstrap import (
    Difference,
    Interval,
    compare,
    intervals,
    n_resamples,
    too_few,
)
from jamba_ray.evaluation.groups import GroupResult, by_group, by_novelty
from jamba_ray.evaluation.metrics import METRICS, score, undefined, value_of
from jamba_ray.evaluation.threshold import (
    Confusion,
    OperatingPoint,
    choose_threshold,
    confusion,
    operating_points,
)

__all__ = [
    "METRICS",
    "Confusion",
    "Difference",
    "GroupResult",
    "Interval",
    "OperatingPoint",
    "bayes_limit",
    "by_group",
    "by_novelty",
    "choose_threshold",
    "compare",
    "confusion",
    "intervals",
    "n_resamples",
    "operating_points",
    "score",
    "too_few",
    "undefined",
    "value_of",
]
