"""Computes the best that any model could do on given rows, where the true probabilities are
known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from jamba_ray.evaluation.counts import count
from jamba_ray.evaluation.metrics import score_counts
from jamba_ray.evaluation.threshold import choose_threshold

_FPRS = {"recall_at_fpr_1e-2": 1e-2, "recall_at_fpr_1e-3": 1e-3}


def bayes_limit(y: npt.ArrayLike, bayes_p: npt.ArrayLike) -> dict[str, float]:
    """Computes the metrics that the true probabilities ``bayes_p`` [N] reach on these very labels
    ``y`` [N].

    In expectation no model ranks better (Neyman & Pearson 1933); on few rows one may by luck.
    ``f1`` is at its best threshold on these rows, ``accuracy`` at 0.5, which is optimal for it;
    recall at a false-positive rate is its expectation, because it depends on the labels of a few
    rows with the highest scores.
    Metrics that the rows do not define are left out; raises as ``count`` does.
    """
    counts = count(y, bayes_p)
    values = score_counts(counts, 0.5)
    if "f1" in values:
        values["f1"] = score_counts(counts, choose_threshold(y, bayes_p))["f1"]
    for name, limit in _FPRS.items():
        if name in values:
            values[name] = _expected_recall(np.asarray(bayes_p, dtype=np.float64), limit)
    return values


def _expected_recall(p: npt.NDArray[np.float64], limit: float) -> float:
    """Computes the expected recall at this false-positive rate, with rows of equal probability
    flagged in part."""
    p = np.sort(p)[::-1]
    recall, fpr = (np.append(0.0, np.cumsum(part) / part.sum()) for part in (p, 1.0 - p))
    return float(np.interp(limit, fpr, recall))
