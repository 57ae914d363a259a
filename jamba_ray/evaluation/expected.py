"""Says where a metric will lie on rows to come, judged by validation rows alone.

Validation's interval holds the value of *all* rows like them. Of a test of so many rows the value
moves by itself, with its share of threats, and under a shift. So the interval here

* has the share of threats of the rows to come: average precision falls with it, whatever the model;
* adds the chance of their number to that of validation's (Zou & Donner 2008, "MOVER");
* under a shift of the features also holds what validation gives with importance weights
  (Shimodaira 2000), as far as their effective number (Kish 1965) is enough;
* is lowered by the threats that may be like none before, which score as benign rows do: one of as
  many as validation has (Laplace's rule of succession: 100 found threats of 100 prove no
  certainty), and of a shift the share 2 A - 1, where A is the ROC AUC of telling the rows apart:
  no more of them differ (total variation).

Where that leaves nothing, it cannot be known, and ``expected`` says why.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from jamba_ray.data.prepared import of_both_classes
from jamba_ray.evaluation.bootstrap import (
    ENOUGH,
    HONEST,
    Interval,
    percentiles,
    share,
)
from jamba_ray.evaluation.counts import Counts, Floats, Ints, blocks, checked
from jamba_ray.evaluation.metrics import METRICS

KNOWN_FOR = ("average_precision", "roc_auc", "recall_at_fpr_1e-2", "recall_at_fpr_1e-3")
"""Metrics in [0, 1] that rank rows: no threshold is chosen for them."""
MOST_UNLIKE = 0.5
"""Share of rows unlike all before from which nothing is said."""
_RESAMPLES = 300
MOST_ROWS = 50_000
"""Rows of a class, of validation or to come, that are drawn at most."""


@dataclass(frozen=True)
class ToCome:
    """Describes rows to come, beside validation rows."""

    n_threats: int | None = None
    n_benign: int | None = None
    """Their number; None: as many as one likes, with validation's share of threats."""
    weights: npt.NDArray[np.float64] | None = None
    """[N], how many times more often a validation row is among them; None: as often."""
    unlike: float = 0.0
    """Share of their threats that may be like none of validation's."""


@dataclass(frozen=True)
class Expected:
    """Holds where a metric is expected, or why that cannot be known."""

    interval: Interval | None
    reason: str | None = None
    effective: int | None = None
    """Rows of the rarer class that the weights leave; None without weights."""


def unlike_share(auc_low: float, new_threats: float = 0.0) -> float:
    """Returns the share of threats to come that may be like none before.

    ``auc_low``: the lower end of the ROC AUC of telling rows to come from those before;
    ``new_threats``: the share of their threats that are of groups which training never had.
    """
    return max(0.0, 2.0 * auc_low - 1.0, new_threats)


def expected(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    metric: str,
    to_come: ToCome,
    n: int | None = None,
    seed: int = 0,
) -> Expected:
    """Returns where ``metric`` of rows to come is expected with 95 % confidence.

    ``y`` and ``p`` [N] are labels and probabilities of validation rows; ``metric`` is one of
    ``KNOWN_FOR``; ``n`` resamples, None: ``_RESAMPLES``. Raises as ``count`` does.
    """
    if to_come.unlike > MOST_UNLIKE:
        return Expected(None, f"{to_come.unlike:.0%} of them may be like none before")
    labels, scores = checked(y, p)
    of_class = int(labels.sum()), int((~labels).sum())
    weights = to_come.weights
    if len(labels) > 2 * MOST_ROWS:
        some = of_both_classes(labels, 2 * MOST_ROWS)
        labels, scores = labels[some], scores[some]
        weights = None if weights is None else weights[some]
    if not all(of_class):
        return Expected(None, "validation has rows of one class alone")
    sizes = to_come.n_threats or of_class[0], to_come.n_benign or of_class[1]
    known = None if to_come.n_threats is None else sizes
    unlike = min(to_come.unlike + 1.0 / (of_class[0] + 1), 1.0)
    views = [_View(labels, scores, np.ones(len(labels)), sizes)]
    effective = None
    if weights is not None:
        views.append(_View(labels, scores, weights, sizes))
        effective = int(views[1].effective)
        if effective < min(ENOUGH, *of_class):
            return Expected(
                None,
                f"only {effective} of them of a class are like the test's",
                effective,
            )
    found = [_interval(view, metric, known, unlike, n or _RESAMPLES, seed) for view in views]
    low, high = min(one["low"] for one in found), max(one["high"] for one in found)
    return Expected(Interval(value=found[-1]["value"], low=low, high=high), None, effective)


class _View:
    """Holds validation rows [N] with weights, as if drawn from the rows to come."""

    def __init__(
        self,
        labels: npt.NDArray[np.bool_],
        scores: Floats,
        weights: Floats,
        sizes: tuple[int, int],
    ) -> None:
        self.counts, self.block = blocks(labels, scores)
        self.of_class: tuple[Ints, Ints] = np.flatnonzero(labels), np.flatnonzero(~labels)
        self.weights, self.sizes = weights, sizes
        self.effective = min(_kish(weights[rows]) for rows in self.of_class)

    def value(self, metric: str, times: Floats, unlike: float = 0.0) -> float:
        """Computes the metric where row i is there ``times[i]`` times its weight; ``unlike`` of the
        threats score as benign rows do."""
        mass = [
            np.bincount(self.block[rows], (times * self.weights)[rows], len(self.counts.score))
            for rows in self.of_class
        ]
        threats, benign = (
            one * (size / one.sum()) for one, size in zip(mass, self.sizes, strict=True)
        )
        threats = (1.0 - unlike) * threats + unlike * benign * (self.sizes[0] / self.sizes[1])
        counts: Counts = replace(self.counts, threats=threats, benign=benign)
        return METRICS[metric].compute(counts, 0.0)

    def resampled(self, n: int, seed: int) -> Iterator[Floats]:
        """Yields how often each row is drawn when validation is drawn again."""
        rng = np.random.default_rng([seed, 0])
        for _ in range(n):
            times = np.zeros(len(self.block))
            for rows in self.of_class:
                times[rows] = rng.multinomial(len(rows), np.full(len(rows), 1.0 / len(rows)))
            yield times

    def drawn(self, n: int, seed: int) -> Iterator[Floats]:
        """Yields how often each row is drawn, divided by its weight, for rows to come."""
        rng = np.random.default_rng([seed, 1])
        for _ in range(n):
            times = np.zeros(len(self.block))
            for rows, size in zip(self.of_class, self.sizes, strict=True):
                weights = self.weights[rows]
                chance = weights / weights.sum()
                drawn = rng.multinomial(min(size, MOST_ROWS), chance)
                times[rows] = drawn / np.where(weights > 0.0, weights, 1.0)
            yield times


def _interval(
    view: _View, metric: str, known: tuple[int, int] | None, unlike: float, n: int, seed: int
) -> Interval:
    once = np.ones(len(view.block))
    own = [view.value(metric, times) for times in view.resampled(n, seed)]
    value = view.value(metric, once)
    ends = [_ends(own, value, view.effective)]
    if known is not None:
        theirs = [view.value(metric, times) for times in view.drawn(n, seed)]
        ends.append(_ends(theirs, value, min(known)))
    low, high = (
        value + sign * math.sqrt(sum((end[i] - value) ** 2 for end in ends))
        for i, sign in enumerate((-1.0, 1.0))
    )
    low -= value - min(value, view.value(metric, once, unlike))
    return Interval(value=value, low=max(low, 0.0), high=min(high, 1.0))


def _ends(draws: list[float], value: float, n: float) -> tuple[float, float]:
    """Returns the interval of draws that rest on ``n`` rows, at least that of a share of few."""
    low, high = np.percentile(draws, percentiles(math.floor(n)))
    low, high = min(float(low), value), max(float(high), value)
    if n < HONEST:
        rows = max(1, math.floor(n))
        of_few = share(value * rows, rows)
        low, high = min(low, of_few["low"]), max(high, of_few["high"])
    return low, high


def _kish(weights: Floats) -> float:
    total = float((weights**2).sum())
    return float(weights.sum()) ** 2 / total if total > 0.0 else 0.0
