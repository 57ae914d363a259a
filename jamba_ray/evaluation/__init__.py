"""How good probabilities are: metrics, their intervals, thresholds and comparisons."""

from jamba_ray.evaluation.metrics import METRICS, score, value_of
from jamba_ray.evaluation.threshold import choose_threshold

__all__ = ["METRICS", "choose_threshold", "score", "value_of"]
