"""Decides whether a canary is to be taken back: two tests that may be looked at all the time.

*Errors.* With error rate ``error_rate`` or less, the probability that the test ever fires is at
most ``alpha / 2``. At the k-th error it fires when so many among so few requests have a probability
below ``alpha / 2 / 2^k`` (binomial). The k-th error cannot come among the first n requests with a
greater probability than the tail of n, so that the sum over k bounds the whole.

*Scores.* The version beside the canary scores the canary's rows too, so that other users are no
other scores. With rows drawn independently and score distributions that differ by ``distance`` at
most (largest difference of the distribution functions), the probability that the test ever fires
is at most ``alpha / 2``. It looks when there are 100, 200, 400 ... rows, at ``alpha / 2 / 2^k`` for
the k-th look, and fires when the difference less what chance allows (Dvoretzky, Kiefer, Wolfowitz;
Massart 1990) is beyond ``distance``.

Two models never have equal distributions, so equality is not tested: with rows enough every canary
would be taken back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FIRST_LOOK = 100
BINS = 1000
"""Scores are counted in so many bins, which rounds the distance down by a bin's share at most."""


@dataclass(frozen=True)
class Limits:
    """Says what a canary may differ, and how sure its roll-back must be."""

    error_rate: float = 0.001
    """Share of requests that may fail."""
    distance: float = 0.2
    """Largest difference of the distribution functions of scores."""
    alpha: float = 0.01
    """Probability at most of taking back a canary that keeps to both."""


class Watch:
    """Counts what a canary and the version beside it do, and says when it must go."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = self.errors = self.looks = 0
        self._mine = np.zeros(BINS, dtype=np.int64)
        self._other = np.zeros(BINS, dtype=np.int64)

    def failed(self) -> str | None:
        """Counts a request on which the canary failed; returns why it must go, or None."""
        self.requests += 1
        self.errors += 1
        level = self.limits.alpha / 2 / 2**self.errors
        p = tail(self.errors, self.requests, self.limits.error_rate)
        if p >= level:
            return None
        return (
            f"it failed on {self.errors} of {self.requests} requests, which an error rate of "
            f"{self.limits.error_rate:g} gives with a probability of {p:.1g} (test at {level:.1g})"
        )

    def scored(self, mine: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> str | None:
        """Counts a request with the scores of both [N]; returns why the canary must go, or None."""
        self.requests += 1
        self._mine += counted(mine)
        self._other += counted(other)
        n = int(self._mine.sum())
        if n < FIRST_LOOK * 2**self.looks:
            return None
        self.looks += 1
        level = self.limits.alpha / 2 / 2**self.looks
        found = distance(self._mine, self._other)
        chance = 2 * allowance(n, level / 2)
        if found - chance <= self.limits.distance:
            return None
        return (
            f"its scores depart: on {n:,} rows its distribution function and that of the version "
            f"beside it differ by {found:.2f}, which is more than {self.limits.distance:g} and the "
            f"{chance:.2f} that chance allows (test at {level:.1g})"
        )


def tail(k: int, n: int, p: float) -> float:
    """Returns the probability of ``k`` (> 0) or more successes in ``n`` trials of probability
    ``p``."""
    if not 0.0 < p < 1.0:
        return p
    total = 0.0
    for i in range(k, n + 1):  # few: the terms shrink fast beyond the mean
        chosen = math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1)
        term = math.exp(chosen + i * math.log(p) + (n - i) * math.log1p(-p))
        total += term
        if i > n * p and term < total * 1e-12:
            break
    return min(1.0, total)


def counted(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Counts scores in [0, 1] by bin."""
    at = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    return np.bincount(at, minlength=BINS)


def distance(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> float:
    """Returns the largest difference of the distribution functions of two counts by bin."""
    return float(np.abs(np.cumsum(a) / a.sum() - np.cumsum(b) / b.sum()).max())


def allowance(n: int, level: float) -> float:
    """Returns what the distribution function of ``n`` rows is away from the true one at most, but
    with a probability of ``level`` (Massart's constant)."""
    return math.sqrt(math.log(2.0 / level) / (2.0 * n))
