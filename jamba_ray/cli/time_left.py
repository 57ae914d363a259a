"""Estimates how long a sweep will still take, from its first second on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from jamba_ray.cli.plan import START_UP_S, course, n_trials, rows_of_running
from jamba_ray.config.budget import limit_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.data.prepared import PreparedData
from jamba_ray.study.forecast import Forecast, forecast
from jamba_ray.study.records import SweepProgress

_SHARE = 0.01
"""The share of time that new estimates may take: with many trials one takes 50 ms."""
_EVERY_S = 1.0
_JUDGING_S = 3.0
"""Seconds to evaluate the winner and its baseline and to write the report."""


class TimeLeft:
    """Estimates the time left from the reports of trials, and before them from ``before``.

    Args:
        config: The sweep.
        space: Its space.
        data: Its rows.
        before: Returns the forecast of the whole sweep that was made before it began, if any.
        clock: Replaces the time in tests.
    """

    def __init__(
        self,
        config: SweepConfig,
        space: SearchSpace,
        data: PreparedData,
        before: Callable[[], Forecast | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config, self._data, self._before = config, data, before
        self._total = n_trials(config, space)
        self._clock, self._begun = clock, clock()
        self._rates: dict[int, float] = {}
        self._over_at: float | None = None
        limit = limit_of(config.budget)
        self._limit_s = math.inf if limit is None else limit.seconds
        self._limit_at = self._begun + self._limit_s
        self._next = 0.0

    def seconds(self) -> float | None:
        """Returns the seconds that are left; None: there is no estimate yet."""
        over_at = self._over_at
        if over_at is None and (expected := self._before()) is not None:
            # Before the first report all training is still to be done. A late start is assumed to
            # take half as long again as it has taken.
            spent = self._clock() - self._begun
            starts = max(START_UP_S - spent, spent / 2)
            over_at = self._clock() + starts + expected.p50_s - START_UP_S
        if over_at is None:
            return None
        return max(0.0, min(over_at, self._limit_at) - self._clock()) + _JUDGING_S

    def look(self, progress: SweepProgress) -> None:
        """Updates the estimate from the present state of the sweep, if an update is due."""
        self._note_rates(progress)
        if self._clock() < self._next or not self._rates:
            return
        begun = self._clock()
        self._limit_at = begun + self._limit_s - progress.earlier_s - progress.elapsed_s
        self._over_at = begun + self.rest(progress).p50_s
        took = self._clock() - begun
        self._next = begun + max(_EVERY_S, took / _SHARE)

    def rest(self, progress: SweepProgress) -> Forecast:
        """Forecasts the rest of the sweep; at least one trial must have reported."""
        # A runner may train several trials at a time, each then at the rate it was seen at.
        slots = max(progress.runners, len(progress.running), 1)
        running, whole = rows_of_running(progress)
        left = max(0, self._total - progress.n_finished - len(running))
        return forecast(
            list(self._rates.values()),
            course(self._config, self._data, slots),
            left,
            running=running,
            begun=len(self._rates),
            whole=whole,
        )

    def _note_rates(self, progress: SweepProgress) -> None:
        seen = [(t.number, t.rows_seen, t.seconds) for t in progress.finished]
        seen += [(t.number, t.rows_seen, t.seconds) for t in progress.running]
        self._rates |= {number: s / rows for number, rows, s in seen if rows and s}
