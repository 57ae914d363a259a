"""Chooses thresholds whose rate of errors is bounded on rows to come, with a stated confidence.

The bound is exact for any number of rows and any model: the errors among n rows are binomial, so
"at most ``limit``" is refused at level 1 - confidence by the binomial tail (Clopper & Pearson
1934). Thresholds are tested in one fixed order, from the one without errors on, until the first
that is not proven: Learn then Test (Angelopoulos, Bates, Candes, Jordan & Lei 2021) with a fixed
sequence, which for a rate that never falls is the bound of Bates, Angelopoulos, Lei, Malik & Jordan
(2021). It needs no correction for the number of thresholds, and ties cost power, not validity.

It supposes that the rows were drawn as the rows to come will be, and chose nothing before.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binom  # type: ignore[import-untyped]

from jamba_ray.evaluation.counts import checked, count
from jamba_ray.evaluation.threshold import cut_below

Rate = Literal["fpr", "miss"]
"""``fpr``: the share of benign rows that are flagged. ``miss``: of threats that are not."""
Masks = Mapping[str, npt.NDArray[np.bool_]]
MOST_PERIODS, AMPLE = 8, 4


@dataclass(frozen=True)
class Bounded:
    """Says how many rows of one part of the data a threshold gets wrong, and at most in future."""

    name: str
    rows: int
    """Rows of the class that the rate is about."""
    wrong: int
    bound: float
    """The rate that rows to come exceed with probability 1 - confidence at most."""

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON."""
        return {"name": self.name, "rows": self.rows, "wrong": self.wrong, "bound": self.bound}


@dataclass(frozen=True)
class Guaranteed:
    """Holds a threshold that is proven, with the bound for each part of the data."""

    threshold: float | None
    """None: there are too few rows, or what is proven flags none of them."""
    bounds: tuple[Bounded, ...]
    left_out: tuple[str, ...]
    """Parts with too few rows for a promise."""
    most: int
    """Rows of the class in the largest part."""


def upper_bound(wrong: int, rows: int, confidence: float) -> float:
    """Returns the largest rate that ``wrong`` of ``rows`` do not refuse (one-sided)."""
    return float(beta.ppf(confidence, wrong + 1, rows - wrong)) if wrong < rows else 1.0


def rows_needed(limit: float, confidence: float) -> int:
    """Returns how many rows prove the rate ``limit``, where none of them is wrong; more than there
    can be for a limit of 0."""
    if not 0.0 < limit < 1.0:
        return 1 if limit >= 1.0 else sys.maxsize
    return max(1, math.ceil(math.log(1.0 - confidence) / math.log1p(-limit) - 1e-9))


def allowed_errors(rows: int, limit: float, confidence: float) -> int:
    """Returns how many of ``rows`` may be wrong, so that ``limit`` is proven; -1: not even none."""
    level = 1.0 - confidence
    k = int(binom.ppf(level, rows, limit))
    # The slack is for rounding alone: 1 - 0.95 is 0.050000000000000044 in binary.
    return k if binom.cdf(k, rows, limit) <= level * (1.0 + 1e-9) else k - 1


def guaranteed(
    y: npt.ArrayLike,
    p: npt.ArrayLike,
    rate: Rate,
    limit: float,
    confidence: float,
    parts: Masks | None = None,
) -> Guaranteed:
    """Chooses the threshold that flags most rows (``fpr``) or fewest (``miss``) among the proven.

    ``parts`` (name -> [N] which rows) are each to keep the limit, all of them together with the
    confidence (Bonferroni); those with too few rows are left out. None: all rows are one part.
    Raises as ``count`` does.
    """
    labels, scores = checked(y, p)
    chosen = labels if rate == "miss" else ~labels
    named = {"all rows": np.ones(len(labels), bool)} if parts is None else parts
    found = {name: np.sort(scores[mask & chosen]) for name, mask in named.items()}
    kept, level = _provable({n: len(s) for n, s in found.items()}, limit, confidence)
    left_out = tuple(name for name, s in found.items() if len(s) and name not in kept)
    most = max((len(s) for s in found.values()), default=0)
    if not kept:
        return Guaranteed(None, (), left_out, most)
    errors = {name: allowed_errors(len(found[name]), limit, level) for name in kept}
    counts = count(y, p)
    if rate == "fpr":
        # Of a part's scores, from the highest on, the one that must not be flagged any more.
        bars = [s[-k - 1] for n, k in errors.items() if k < len(s := found[n])]
        last = int(np.count_nonzero(counts.score > max(bars, default=-math.inf))) - 1
    else:
        bars = [s[k] for n, k in errors.items() if k < len(s := found[n])]
        last = int(np.count_nonzero(counts.score >= min(bars, default=math.inf))) - 1
    if last < 0:
        return Guaranteed(None, (), left_out, most)
    cut = cut_below(counts, last)
    return Guaranteed(cut, bounds_at(found, kept, rate, cut, level), left_out, most)


def bounds_at(
    found: Mapping[str, npt.NDArray[np.float64]],
    names: Sequence[str],
    rate: Rate,
    threshold: float,
    confidence: float,
) -> tuple[Bounded, ...]:
    """Returns what a threshold gets wrong among the ascending scores of each part, and its
    bound."""

    def wrong(scores: npt.NDArray[np.float64]) -> int:
        below = int(np.searchsorted(scores, threshold, side="left"))
        return below if rate == "miss" else len(scores) - below

    return tuple(
        Bounded(name, len(s), wrong(s), upper_bound(wrong(s), len(s), confidence))
        for name in names
        if len(s := found[name])
    )


def _provable(rows: Mapping[str, int], limit: float, confidence: float) -> tuple[list[str], float]:
    """Returns the largest parts that all have enough rows, and the confidence that each needs."""
    largest = sorted(rows, key=lambda name: -rows[name])
    for n in range(len(largest), 0, -1):
        level = 1.0 - (1.0 - confidence) / n
        if rows[largest[n - 1]] >= rows_needed(limit, level):
            kept = set(largest[:n])
            return [name for name in rows if name in kept], level
    return [], confidence


def periods(
    time: npt.NDArray[Any], chosen: npt.NDArray[np.bool_], limit: float, confidence: float
) -> list[npt.NDArray[np.bool_]]:
    """Divides rows into consecutive periods of about equally many ``chosen`` rows [N].

    As many, up to ``MOST_PERIODS``, as have ``AMPLE`` times the rows that a promise takes, for with
    fewer it would be far stricter than asked for; two where there are just enough. Rows of one
    instant stay together. One period: there are too few for two.
    """
    instants, inverse = np.unique(time, return_inverse=True)
    before = np.cumsum(np.bincount(inverse[chosen], minlength=len(instants)))
    total = int(before[-1]) if len(before) else 0
    for n in range(MOST_PERIODS, 1, -1):
        period = np.minimum(n * (before - 1) // max(total, 1), n - 1)[inverse]
        sizes = np.bincount(np.maximum(period, 0)[chosen], minlength=n)
        enough = rows_needed(limit, 1.0 - (1.0 - confidence) / n) * (AMPLE if n > 2 else 1)
        if sizes.min() >= enough:
            return [np.maximum(period, 0) == i for i in range(n)]
    return [np.ones(len(inverse), dtype=bool)]
