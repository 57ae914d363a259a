"""Computes the best that any model could do on given rows, where the true probabilities are
known."""

from __future__ import annotations

import numpy.typing as npt

from jamba_ray.evaluation.counts import count
from jamba_ray.evaluation.metrics import score_counts
from jamba_ray.evaluation.threshold import choose_threshold


def bayes_limit(y: npt.ArrayLike, bayes_p: npt.ArrayLike) -> dict[str, float]:
    """Computes the metrics that the true probabilities ``bayes_p`` [N] reach on these very labels
    ``y`` [N].

    In expectation no model ranks better (Neyman & Pearson 1933); on few rows one may by luck.
    ``f1`` is at its best threshold on these rows, ``accuracy`` at 0.5, which is optimal for it.
    Metrics that the rows do not define are left out; raises as ``count`` does.
    """
    counts = count(y, bayes_p)
    values = score_counts(counts, 0.5)
    if "f1" in values:
        values["f1"] = score_counts(counts, choose_threshold(y, bayes_p))["f1"]
    return values
