"""Forecasts how long a sweep will take, by pure arithmetic over rates, rungs and runners.

A trial takes (seconds per row) x (rows until it ends). The first is drawn from what was measured;
the second from successive halving's own rule, applied to trials of random scores that keep their
order from rung to rung. Each draw places its trials one after the other on the runner that is free
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_DRAWS = 200
_MOST = 500
"""Most trials simulated per draw; with more trials the simulated time is scaled up."""


@dataclass(frozen=True)
class Forecast:
    """Holds quantiles of a sweep's wall time."""

    p50_s: float
    p90_s: float

    def plus(self, seconds: float) -> Forecast:
        """Returns the forecast with ``seconds`` added, such as the time already spent."""
        return Forecast(self.p50_s + seconds, self.p90_s + seconds)


@dataclass(frozen=True)
class Course:
    """Holds what all trials of a sweep have in common: rows, rungs and runners."""

    rows: int
    """Rows of a trial that is never stopped."""
    rungs: Sequence[int]
    """Rows at which trials are compared, ascending; empty: no trial is stopped."""
    factor: int
    """One trial in ``factor`` passes a rung."""
    runners: int


def forecast(
    rates: Sequence[float],
    course: Course,
    left: int,
    *,
    running: Sequence[int] = (),
    begun: int = 0,
    whole: int = 0,
    seed: int = 0,
) -> Forecast:
    """Returns quantiles of the seconds until all running trials and ``left`` new ones are done.

    Args:
        rates: Seconds per row of trials seen, at least one.
        course: Rows, rungs and runners.
        left: Trials not yet begun.
        running: Rows seen by each trial that runs.
        whole: The first so many of those that run and those to come are never stopped.
        begun: Trials that came to the first rung before, running ones included.
        seed: Of the draws.
    """
    rng = np.random.default_rng(seed)
    scale = max(1.0, left / _MOST)
    trials = [*running[:whole], *sorted(running[whole:], reverse=True), *[0] * min(left, _MOST)]
    free = np.zeros((_DRAWS, course.runners))
    rungs = [_Rung(rows, course, begun, len(trials), i, rng) for i, rows in enumerate(course.rungs)]
    draws = np.arange(_DRAWS)
    for i, seen in enumerate(trials):
        rows = _rows(course, rungs if i >= whole else (), seen, rng)
        runner = free.argmin(axis=1)
        free[draws, runner] += rng.choice(np.asarray(rates), _DRAWS) * rows
    p50, p90 = np.quantile(free.max(axis=1) * scale, (0.5, 0.9))
    return Forecast(float(p50), float(p90))


class _Rung:
    """Holds the scores of the trials that reached one rung, in every draw."""

    def __init__(
        self,
        rows: int,
        course: Course,
        begun: int,
        more: int,
        index: int,
        rng: np.random.Generator,
    ) -> None:
        self.rows, self._factor = rows, course.factor
        here = begun // course.factor**index
        self._scores = np.full((_DRAWS, here + more), -1.0)
        self._scores[:, :here] = rng.uniform(_least(course, index), 1.0, (_DRAWS, here))
        self._count = np.full(_DRAWS, here)

    def pass_on(self, score: Floats, arrives: Mask) -> Mask:
        """Says, for each draw, whether its trial passes this rung.

        The best ``count // factor`` so far pass, at least one; a draw whose trial does not arrive
        is False.
        """
        at = np.flatnonzero(arrives)
        self._scores[at, self._count[at]] = score[at]
        self._count[at] += 1
        better = (self._scores > score[:, None]).sum(axis=1)
        passes: Mask = arrives & (better < np.maximum(1, self._count // self._factor))
        return passes


def _least(course: Course, rungs_passed: int) -> float:
    """Returns the lowest score that is likely after so many rungs; scores are uniform in [0, 1]."""
    least: float = 1.0 - 1.0 / course.factor**rungs_passed
    return least


def _rows(course: Course, rungs: Sequence[_Rung], seen: int, rng: np.random.Generator) -> Floats:
    """Returns the rows that one trial still sees, for each draw."""
    passed = sum(rung.rows <= seen for rung in rungs)
    score = rng.uniform(_least(course, passed), 1.0, _DRAWS)
    alive = np.ones(_DRAWS, dtype=bool)
    at = np.full(_DRAWS, float(course.rows))
    for rung in rungs[passed:]:
        goes_on = rung.pass_on(score, alive)
        at[alive & ~goes_on], alive = rung.rows, goes_on
    rest: Floats = np.maximum(at - seen, 0.0)
    return rest
