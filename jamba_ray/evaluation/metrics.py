"""Defines the metrics once, on counts, so that a value and its interval cannot disagree.

They equal scikit-learn's where it has them (the tests compare them with it); written here because
an interval needs each a thousand times: ``roc_auc`` and ``average_precision`` of 22,000 rows take
0.1 and 0.2 ms on counts, 5.4 and 3.4 ms through scikit-learn (one core, AMD EPYC, 2026-11-21).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Literal

import numpy as np
import numpy.typing as npt

from jamba_ray.config import plugins
from jamba_ray.errors import DataError, TrialError, one_line
from jamba_ray.evaluation.counts import Counts, Floats, Ints, count

N_CALIBRATION_BINS = 15
DEFAULT_THRESHOLD = 0.5
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Metric:
    """Describes one number that says how good probabilities are."""

    compute: Callable[[Counts, float], float]
    """(counts, threshold) -> value. Ranking and calibration metrics ignore the threshold."""
    needs: Literal["nothing", "threats", "both classes"] = "nothing"
    """Of which classes at least one row must be there for the metric to be defined."""


def roc_auc(counts: Counts, threshold: float) -> float:
    """Computes the share of (threat, benign) pairs in which the threat scores higher; a tie
    counts half."""
    below = counts.n_benign - counts.benign_down_to
    wins = _dot(counts.threats, below + 0.5 * counts.benign)
    return wins / (counts.n_threats * counts.n_benign)


def average_precision(counts: Counts, threshold: float) -> float:
    """Sums over thresholds (recall gained) x (precision there).

    It is the step-wise area under the precision-recall curve, without interpolation (it would
    flatter; Davis & Goadrich 2006).
    """
    flagged = counts.threats_down_to + counts.benign_down_to
    # A resample may leave the top blocks empty: nothing is gained there, whatever the precision.
    precision = counts.threats_down_to / np.maximum(flagged, 1.0)
    return _dot(counts.threats, precision) / counts.n_threats


def recall_at_fpr(counts: Counts, limit: float) -> float:
    """Finds the largest recall among thresholds whose false-positive rate is at most ``limit``.

    Rows of equal score are flagged together; flagging nothing (recall 0) is always possible.
    """
    n = blocks_within_fpr(counts, limit)
    return float(counts.threats[:n].sum() / counts.n_threats)


def blocks_within_fpr(counts: Counts, limit: float) -> int:
    """Counts how many blocks, from the top, can be flagged at a false-positive rate of
    ``limit``."""
    # The slack is for rounding alone: 0.01 x 700 rows is 7.000000000000001 or 6.999... in binary.
    allowed = counts.benign_down_to <= limit * counts.n_benign * (1.0 + 1e-12)
    return int(np.count_nonzero(allowed))  # the rate never falls, so the allowed ones come first


def f1(counts: Counts, threshold: float) -> float:
    """Computes 2 TP / (2 TP + FP + FN), flagging scores >= ``threshold``."""
    n = _flagged(counts, threshold)
    tp, fp = counts.threats[:n].sum(), counts.benign[:n].sum()
    return float(2.0 * tp / (tp + fp + counts.n_threats))


def f1_down_to(counts: Counts) -> Floats:
    """Computes the F1 of flagging each score and all higher ones: [M]."""
    tp, fp = counts.threats_down_to, counts.benign_down_to
    found: Floats = 2.0 * tp / (tp + fp + counts.n_threats)
    return found


def accuracy(counts: Counts, threshold: float) -> float:
    """Computes the share of rows on the right side of ``threshold``."""
    n = _flagged(counts, threshold)
    right = counts.threats[:n].sum() + counts.benign[n:].sum()
    return float(right / (counts.n_threats + counts.n_benign))


def ece(counts: Counts, threshold: float) -> float:
    """Computes the expected calibration error (Naeini, Cooper & Hauskrecht 2015).

    It is the mean over rows of |mean probability - share of threats| in the row's bin.

    15 bins of equal width over the probability of a threat, [0, 1/15) ... [14/15, 1] (Guo et al.
    2017 take 15 too, but of the winning class's confidence). Biased upward on few rows.
    """
    bins = counts.of_scores(_bins)
    rows = counts.threats + counts.benign
    gap = np.bincount(bins, rows * counts.score - counts.threats, minlength=N_CALIBRATION_BINS)
    return float(np.abs(gap).sum() / rows.sum())


def log_loss(counts: Counts, threshold: float) -> float:
    """Computes the mean negative log-likelihood in nats; probabilities clipped to [2.2e-16, 1 -
    2.2e-16]."""
    total = _dot(counts.threats, counts.of_scores(_log))
    total += _dot(counts.benign, counts.of_scores(_log_of_rest))
    return -total / (counts.n_threats + counts.n_benign)


def brier(counts: Counts, threshold: float) -> float:
    """Computes the mean squared difference of probability and label (Brier 1950)."""
    wrong = _dot(counts.threats, (1.0 - counts.score) ** 2) + _dot(counts.benign, counts.score**2)
    return wrong / (counts.n_threats + counts.n_benign)


def partial_auc(counts: Counts, limit: float) -> float:
    """Computes the area under the ROC curve up to the false-positive rate ``limit``, scaled so that
    0.5 is chance and 1 is perfect (McClish 1989), as scikit-learn's ``roc_auc_score`` has it."""
    fpr = np.concatenate([[0.0], counts.benign_down_to / counts.n_benign])
    recall = np.concatenate([[0.0], counts.threats_down_to / counts.n_threats])
    inside = int(np.searchsorted(fpr, limit, side="right"))
    x = np.append(fpr[:inside], limit)
    y = np.append(recall[:inside], np.interp(limit, fpr[inside - 1 :], recall[inside - 1 :]))
    least, most = 0.5 * limit**2, limit
    return float(0.5 * (1.0 + (np.trapezoid(y, x) - least) / (most - least)))


def precision_at_alerts(counts: Counts, share: float) -> float:
    """Computes the precision among the ``share`` of rows with the highest scores, at least one row.

    Where rows of equal score lie on both sides of the last one, those in are drawn by chance: the
    value is the mean over all draws.
    """
    rows = counts.threats + counts.benign
    alerts = n_alerts(rows.sum(), share)
    before = counts.threats_down_to + counts.benign_down_to - rows
    taken = np.clip(alerts - before, 0.0, rows) / np.maximum(rows, 1.0)
    return _dot(taken, counts.threats) / alerts


def n_alerts(rows: float, share: float) -> float:
    """Returns how many of ``rows`` a ``share`` of alerts is, at least one."""
    return max(share * rows, 1.0)


def _flagged(counts: Counts, threshold: float) -> int:
    """Counts how many blocks, from the top, score at least ``threshold``."""
    return int(np.searchsorted(counts.of_scores(np.negative), -threshold, side="right"))


def _dot(a: Floats, b: Floats) -> float:
    """Sums products in one thread. ``np.dot`` takes all cores for 10,000 numbers, which wait for
    each other: on a busy machine it took ten times as long (``tests/benchmarks/waiting.md``)."""
    return float((a * b).sum())


def _bins(score: Floats) -> Ints:
    return np.minimum((score * N_CALIBRATION_BINS).astype(np.int64), N_CALIBRATION_BINS - 1)


def _log(score: Floats) -> Floats:
    return np.log(np.clip(score, _EPS, 1.0 - _EPS))


def _log_of_rest(score: Floats) -> Floats:
    return np.log1p(-np.clip(score, _EPS, 1.0 - _EPS))


METRICS: dict[str, Metric] = {
    "roc_auc": Metric(roc_auc, needs="both classes"),
    "average_precision": Metric(average_precision, needs="both classes"),
    "f1": Metric(f1, needs="threats"),
    "recall_at_fpr_1e-2": Metric(lambda c, _: recall_at_fpr(c, 1e-2), needs="both classes"),
    "recall_at_fpr_1e-3": Metric(lambda c, _: recall_at_fpr(c, 1e-3), needs="both classes"),
    "partial_auc_1e-2": Metric(lambda c, _: partial_auc(c, 1e-2), needs="both classes"),
    "precision_at_alerts_1e-3": Metric(
        lambda c, _: precision_at_alerts(c, 1e-3), needs="both classes"
    ),
    "accuracy": Metric(accuracy),
    "brier": Metric(brier),
    "ece": Metric(ece),
    "log_loss": Metric(log_loss),
}
"""By the key that follows 'val/' and 'test/'."""


def add_plugin(name: str, plugin: plugins.MetricPlugin) -> None:
    """Adds a metric of a plug-in.

    Raises:
        PluginError: There is another metric of this name.
    """
    if name in METRICS and name not in plugins.METRICS:
        raise plugins.PluginError(f"the metric {name!r} is one of jamba_ray's own")
    plugins.add(plugins.METRICS, "metric", name, plugin)
    METRICS[name] = Metric(partial(_of_plugin, name), needs="both classes")


def _of_plugin(name: str, counts: Counts, threshold: float) -> float:
    """Computes a metric of a plug-in from rows that ``counts`` stand for.

    Raises:
        TrialError: It raises, or gives no finite number.
    """
    compute = plugins.METRICS[name].compute
    labels = np.concatenate([np.ones_like(counts.score), np.zeros_like(counts.score)])
    scores = np.concatenate([counts.score, counts.score])
    times = np.concatenate([counts.threats, counts.benign])
    labels, scores, times = (part[times > 0] for part in (labels, scores, times))
    try:
        if "weights" in signature(compute).parameters:
            value = float(compute(labels, scores, weights=times))
        else:
            rows = np.repeat(np.arange(len(times)), times.astype(np.int64))
            value = float(compute(labels[rows], scores[rows]))
    except Exception as error:
        raise TrialError(f"The metric `{name}` of a plug-in raised {one_line(error)}.") from error
    if not math.isfinite(value):
        raise TrialError(
            f"The metric `{name}` of a plug-in must give a finite number, but gave {value}."
        )
    return value


def value_of(
    name: str, y: npt.ArrayLike, p: npt.ArrayLike, threshold: float | None = None
) -> float:
    """Computes one metric of labels ``y`` [N] and probabilities ``p`` [N]; raises as ``count``
    does.

    Raises:
        DataError: If the rows lack a class without which the metric has no meaning.
    """
    counts = count(y, p)
    reason = undefined(counts.n_threats, counts.n_benign).get(name)
    if reason is not None:
        raise DataError(reason)
    return METRICS[name].compute(counts, DEFAULT_THRESHOLD if threshold is None else threshold)


def score(y: npt.ArrayLike, p: npt.ArrayLike, threshold: float | None = None) -> dict[str, float]:
    """Computes all metrics that are defined on these rows (``undefined`` says why one is left out).

    ``f1`` and ``accuracy`` flag ``p >= threshold`` (None: 0.5). Raises as ``count`` does.
    """
    counts = count(y, p)
    return score_counts(counts, DEFAULT_THRESHOLD if threshold is None else threshold)


def score_counts(counts: Counts, threshold: float) -> dict[str, float]:
    """Computes ``score`` of counts."""
    left_out = undefined(counts.n_threats, counts.n_benign)
    found = {}
    for name, metric in METRICS.items():
        if name in left_out:
            continue
        try:
            found[name] = metric.compute(counts, threshold)
        except TrialError as error:
            if name not in plugins.METRICS:
                raise
            # It costs a trial where it decides (``value_of``), and is left out elsewhere.
            plugins.TROUBLES[name] = error.message
    return found


def undefined(n_threats: float, n_benign: float) -> dict[str, str]:
    """Returns name -> the sentence that says why the metric has no value on so many rows of each
    class."""
    rows = (("threats", n_threats), ("benign rows", n_benign))
    lacking = [name for name, n in rows if n == 0]
    return {
        name: f"`{name}` needs {metric.needs}, but there are no {' and no '.join(lacking)}. "
        "Score rows that have them."
        for name, metric in METRICS.items()
        if (metric.needs == "both classes" and lacking)
        or (metric.needs == "threats" and n_threats == 0)
    }
