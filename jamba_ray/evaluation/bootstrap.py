"""Estimates how far chance alone could have moved a metric: bootstrap intervals and paired
comparisons.

The bootstrap is over *rows* of one data set, or over its groups (``evaluation.clusters``) where a
group is given. It says nothing of another training seed, nor of tomorrow's traffic; both usually
move a metric more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, norm, t  # type: ignore[import-untyped]

from jamba_ray.config import plugins
from jamba_ray.errors import DataError, TrialError
from jamba_ray.evaluation.clusters import (
    ENOUGH_GROUPS,
    Clusters,
    cluster_resamples,
    clusters_of,
)
from jamba_ray.evaluation.counts import Counts, Floats, Ints, blocks, checked
from jamba_ray.evaluation.metrics import (
    DEFAULT_THRESHOLD,
    METRICS,
    n_alerts,
    score_counts,
    undefined,
)

COMPARED = ("roc_auc", "average_precision")
ENOUGH = 20
"""Rows of the rarer class below which resampling misleads (``tests/benchmarks/few_threats.md``):
with 1, 2, 5, 10, 20 threats a 95 % interval of ROC AUC held the truth in 13, 49, 77, 86, 89 %."""
HONEST = 50
"""Rows of the rarer class below which an interval is at least that of a share: resamples know only
the rows there are, so that of 20 found threats they make a certain 100 %."""
_OF_A_CLASS = (
    "roc_auc",
    "average_precision",
    "f1",
    "recall_at_fpr_1e-2",
    "recall_at_fpr_1e-3",
    "partial_auc_1e-2",
)
"""Metrics in [0, 1] that rest on the rows of each class; ``accuracy`` rests on all rows."""
_PRECISION = "precision_at_alerts_1e-3"
"""Rests on as many rows as there are alerts."""
_PERCENTILES = (2.5, 97.5)
_MAX_RESAMPLES, _MIN_RESAMPLES = 1000, 200
_ROWS_BUDGET = 200_000_000


class Interval(TypedDict):
    """Holds a metric on all rows and its 95 % interval; strict JSON."""

    value: float
    low: float
    high: float


class Difference(Interval):
    """Holds a metric of A minus that of B."""

    excludes_zero: bool
    """Whether the interval lies on one side of 0: the two differ by more than chance of the rows
    explains (at 95 %, for this one metric; no correction for looking at several). Never with too
    few rows."""
    too_few: str | None
    """The sentence of ``too_few`` where these rows decide nothing; else None."""
    groups: NotRequired[int]
    """The groups that were drawn, where they were and not rows."""


def intervals(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    threshold: float | None = None,
    n: int | None = None,
    seed: int = 0,
    group: npt.ArrayLike | None = None,
) -> dict[str, Interval]:
    """Computes all metrics of labels ``y`` [N] and probabilities ``p`` [N] with 95 % intervals.

    Percentiles 2.5 and 97.5 of ``n`` bootstrap resamples, stratified: threats and benign rows are
    drawn separately, so that every resample has as many of each as the data (Efron & Tibshirani
    1993, ch. 13). ``n`` None: ``n_resamples``. The same seed gives the same interval. ``group``:
    the names [N] of groups that are drawn whole, in place of rows.

    We differ in three things. The percentiles are those that make the interval as wide as Student's
    for the rows or groups of the rarer class (``percentiles``). Where they miss the value itself,
    as they do for ``ece`` (resampling makes any model look worse calibrated), the interval is
    stretched to hold it. With fewer than ``HONEST`` rows of a class, metrics in [0, 1] that rest on
    it have at least the interval of a share of that many rows (``share``): a mean of values in
    [0, 1] varies at most as much as a share.

    Metrics that these rows do not define are left out (``undefined``); rows of one class have what
    the threshold does to them instead: ``fpr`` of benign rows, ``recall`` of threats. Raises as
    ``count`` does.
    """
    labels, scores = checked(y, p)
    cut = DEFAULT_THRESHOLD if threshold is None else threshold
    counts, block = blocks(labels, scores)
    values = score_counts(counts, cut)
    n = n_resamples(len(labels)) if n is None else n
    clusters = None if group is None else clusters_of(labels, group)
    draws = np.empty((n, len(values)))
    for i, (drawn,) in enumerate(_resampled([(counts, block)], labels, n, seed, clusters)):
        draws[i] = [_drawn(name, drawn, cut, value) for name, value in values.items()]
    n_threats = int(np.count_nonzero(labels))
    rarer = min(n_threats, len(labels) - n_threats)
    low, high = np.percentile(draws, percentiles(_units(rarer or len(labels), clusters)), axis=0)
    found = {
        name: Interval(value=value, low=min(float(lo), value), high=max(float(hi), value))
        for (name, value), lo, hi in zip(values.items(), low, high, strict=True)
    }
    if not rarer:
        name = "recall" if n_threats else "fpr"
        found[name] = rate(scores >= cut, np.ones(len(labels), bool), clusters, n, seed)
    elif rarer < HONEST:
        for name in _OF_A_CLASS:
            found[name] = _hull(found[name], share(found[name]["value"] * rarer, rarer))
    if _PRECISION in found and (alerts := round(n_alerts(len(labels), 1e-3))) < ENOUGH:
        found[_PRECISION] = _hull(
            found[_PRECISION], share(found[_PRECISION]["value"] * alerts, alerts)
        )
    return found


def _drawn(name: str, counts: Counts, cut: float, value: float) -> float:
    """Computes a metric of a resample; one of a plug-in that raises there has its ``value``."""
    try:
        return METRICS[name].compute(counts, cut)
    except TrialError as error:
        plugins.TROUBLES[name] = f"{error.message} Its interval leaves such resamples out."
        return value


def too_few(y: npt.ArrayLike, group: npt.ArrayLike | None = None) -> str | None:
    """Returns a sentence where labels ``y`` [N] are too few of a class to compare models by, or
    come from too few of the groups [N]; else None."""
    labels = np.asarray(y)
    if group is not None:
        clusters = clusters_of(labels == 1, group)
        if clusters is not None and clusters.fewest < ENOUGH_GROUPS:
            return (
                f"rows of a class from only {clusters.fewest} groups, which decides nothing "
                f"between models: at least {ENOUGH_GROUPS} groups are needed"
            )
    classes = {"threat": int(np.count_nonzero(labels)), "benign row": int((labels == 0).sum())}
    name, n = min(classes.items(), key=lambda of: of[1])
    if n >= ENOUGH:
        return None
    rows = f", some {math.ceil(len(labels) * ENOUGH / n):,} rows at this share" if n else ""
    return (
        f"only {n} {name}{'s' if n != 1 else ''}, which decides nothing between models: at least "
        f"{ENOUGH} are needed{rows}"
    )


def _hull(a: Interval, b: Interval) -> Interval:
    low, high = min(a["low"], b["low"]), max(a["high"], b["high"])
    return Interval(value=a["value"], low=low, high=high)


def share(k: float, n: int) -> Interval:
    """Returns ``k`` of ``n`` rows with its exact 95 % interval (Clopper & Pearson 1934)."""
    low, high = (level / 100.0 for level in _PERCENTILES)
    return Interval(
        value=k / n,
        low=float(beta.ppf(low, k, n - k + 1)) if k else 0.0,
        high=float(beta.ppf(high, k + 1, n - k)) if k < n else 1.0,
    )


def compare(
    y: npt.ArrayLike,
    p_a: npt.ArrayLike,
    p_b: npt.ArrayLike,
    n: int | None = None,
    seed: int = 0,
    group: npt.ArrayLike | None = None,
) -> dict[str, Difference]:
    """Compares ``roc_auc`` and ``average_precision`` of A and B on the same rows, with 95 %
    intervals.

    Paired: each resample draws the same rows for both, so what makes a row hard for both cancels
    and the interval is much narrower than those of the two alone. Otherwise as ``intervals``.

    Raises:
        DataError: If the rows lack a class, so that both metrics are undefined.
    """
    labels, scores_a = checked(y, p_a)
    _, scores_b = checked(y, p_b)
    n_threats = int(np.count_nonzero(labels))
    reasons = undefined(n_threats, len(labels) - n_threats)
    if COMPARED[0] in reasons:
        raise DataError(reasons[COMPARED[0]])
    models = [blocks(labels, scores) for scores in (scores_a, scores_b)]
    a, b = (np.array([METRICS[m].compute(c, 0.0) for m in COMPARED]) for c, _ in models)
    n = n_resamples(2 * len(labels)) if n is None else n
    clusters = None if group is None else clusters_of(labels, group)
    draws = np.empty((n, len(COMPARED)))
    for i, (of_a, of_b) in enumerate(_resampled(models, labels, n, seed, clusters)):
        draws[i] = [METRICS[m].compute(of_a, 0.0) - METRICS[m].compute(of_b, 0.0) for m in COMPARED]
    rarer = min(n_threats, len(labels) - n_threats)
    low, high = np.percentile(draws, percentiles(_units(rarer, clusters)), axis=0)
    few = too_few(labels, group)
    over = Difference if clusters is None else partial(Difference, groups=clusters.groups)
    return {
        name: over(
            value=float(value),
            low=float(lo),
            high=float(hi),
            excludes_zero=few is None and bool(lo > 0 or hi < 0),
            too_few=few,
        )
        for name, value, lo, hi in zip(COMPARED, a - b, low, high, strict=True)
    }


def rate(
    right: npt.NDArray[np.bool_],
    among: npt.NDArray[np.bool_],
    clusters: Clusters | None,
    n: int | None = None,
    seed: int = 0,
) -> Interval:
    """Returns the share of the rows ``among`` [N] that are ``right`` [N] with its 95 % interval:
    the exact one of rows, at least that of drawn groups where there are some."""
    k, rows = int((right & among).sum()), int(among.sum())
    exact = share(k, rows)
    if clusters is None:
        return exact
    n = n_resamples(len(right)) if n is None else n
    draws = []
    for times in cluster_resamples(clusters, n, seed):
        if drawn := int(times[among].sum()):
            draws.append(float(times[right & among].sum()) / drawn)
    low, high = np.percentile(draws or [k / rows], percentiles(_units(rows, clusters)))
    return _hull(exact, Interval(value=exact["value"], low=float(low), high=float(high)))


def percentiles(n: float) -> tuple[float, float]:
    """Returns the percentiles of an interval of 95 % that rests on ``n`` rows or groups.

    Resamples vary as if they knew the spread, so 2.5 and 97.5 are too narrow for few rows; these
    are as far out as Student's quantile with n - 1 degrees of freedom (Hesterberg 2015).
    """
    if n < 2:
        return _PERCENTILES
    reach = math.sqrt(n / (n - 1.0)) * t.ppf(_PERCENTILES[1] / 100.0, n - 1)
    low = 100.0 * float(norm.cdf(-reach))
    return low, 100.0 - low


def n_resamples(n_rows: int) -> int:
    """Returns 1000 up to 200,000 rows, then fewer in proportion, at least 200.

    With 200 the ends of the interval move by about a twentieth of its width from seed to seed.
    """
    return int(np.clip(_ROWS_BUDGET // max(n_rows, 1), _MIN_RESAMPLES, _MAX_RESAMPLES))


def resamples(labels: npt.NDArray[np.bool_], n: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Draws row numbers of threats and of benign rows with replacement, ``n`` times."""
    rng = np.random.default_rng(seed)
    threats, benign = np.flatnonzero(labels), np.flatnonzero(~labels)
    for _ in range(n):
        yield _draw(rng, threats), _draw(rng, benign)


def _resampled(
    models: Sequence[tuple[Counts, Ints]],
    labels: npt.NDArray[np.bool_],
    n: int,
    seed: int,
    clusters: Clusters | None,
) -> Iterator[list[Counts]]:
    """Draws the counts of each model, the same rows or groups for all of them, ``n`` times."""
    if clusters is None:
        for threats, benign in resamples(labels, n, seed):
            yield [recount(counts, block, threats, benign) for counts, block in models]
        return
    for times in cluster_resamples(clusters, n, seed):
        yield [reweighted(counts, block, labels, times) for counts, block in models]


def _units(rows: int, clusters: Clusters | None) -> float:
    """Returns how many independent rows or groups an interval rests on."""
    return rows if clusters is None else max(2.0, min(clusters.effective, rows))


def _draw(rng: np.random.Generator, rows: Ints) -> Ints:
    return rows[rng.integers(0, len(rows), len(rows))] if len(rows) else rows


def recount(counts: Counts, block: Ints, threats: Ints, benign: Ints) -> Counts:
    """Returns the counts of a resample, given the row numbers that were drawn."""
    return replace(
        counts,
        threats=_tally(block[threats], len(counts.score)),
        benign=_tally(block[benign], len(counts.score)),
    )


def reweighted(counts: Counts, block: Ints, labels: npt.NDArray[np.bool_], times: Ints) -> Counts:
    """Returns the counts of a resample, given how often each row [N] is in it."""
    m = len(counts.score)
    return replace(
        counts,
        threats=np.bincount(block[labels], times[labels], minlength=m).astype(np.float64),
        benign=np.bincount(block[~labels], times[~labels], minlength=m).astype(np.float64),
    )


def _tally(blocks_drawn: Ints, m: int) -> Floats:
    return np.bincount(blocks_drawn, minlength=m).astype(np.float64)
