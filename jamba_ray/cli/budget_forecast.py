"""Forecasts the use of a sweep's budget before the start and after the first rung, and sums it
up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jamba_ray.cli.plan import course, first_forecast, forecast_in_words, n_trials, rows_of_running
from jamba_ray.cluster.resources import count_gpus, plan_for, this_machine
from jamba_ray.cluster.surroundings import cluster_address
from jamba_ray.config.budget import limit_of
from jamba_ray.config.run import SweepConfig
from jamba_ray.config.space import SearchSpace
from jamba_ray.data.prepared import PreparedData
from jamba_ray.study.forecast import Forecast, forecast
from jamba_ray.study.records import SweepProgress

_ENOUGH = 3
"""The number of trials that must reach the first rung before their speed is used."""

Watch = Callable[[SweepProgress], None]


class BudgetForecast:
    """Makes the forecasts of one sweep and passes each to ``say``; silent without a budget."""

    def __init__(
        self,
        config: SweepConfig,
        space: SearchSpace,
        data: PreparedData,
        say: Callable[[str], object],
    ) -> None:
        self._config, self._space, self._data, self._say = config, space, data, say
        self._limit = limit_of(config.budget)
        self._forecasts: dict[str, Forecast] = {}
        self._rates: dict[int, float] = {}
        self._last: SweepProgress | None = None

    def before(self) -> None:
        """Forecasts from a few steps timed on this machine; not on a cluster, where others
        train."""
        if self._limit is None:
            return
        if cluster_address() is not None:
            self._say(f"Ends when {self._limit.words} is used up; forecast after the first rung.")
            return
        plan = plan_for(self._config, this_machine(count_gpus()))
        expected = first_forecast(self._config, self._space, self._data, plan.runners)
        self._forecasts["start"] = expected
        self._say(f"forecast: {forecast_in_words(expected, self._config)}")

    def made(self) -> Forecast | None:
        """Returns the forecast made before the start, if there is one."""
        return self._forecasts.get("start")

    def around(self, watch: Watch) -> Watch:
        """Returns ``watch`` extended by a forecast once enough trials have reached the first
        rung."""
        if self._limit is None:
            return watch

        def look(progress: SweepProgress) -> None:
            watch(progress)
            self._last = progress
            if "first_rung" not in self._forecasts and (found := self._after_rung(progress)):
                self._forecasts["first_rung"] = found
                self._say(f"forecast: {forecast_in_words(found, self._config)}")

        return look

    def summary(self) -> dict[str, Any] | None:
        """Returns the budget for ``summary.json``; None: no budget, or nothing was run."""
        if self._limit is None or self._last is None:
            return None
        budget, spent_h = self._config.budget, _spent_s(self._last) / 3600
        rate = budget.usd_per_hour
        return {
            "hours": budget.hours,
            "usd": budget.usd,
            "usd_per_hour": rate,
            "spent_hours": spent_h,
            "spent_usd": None if rate is None else rate * spent_h,
            "used_up": 3600 * spent_h >= self._limit.seconds,
            "forecast_hours": {
                when: {"p50": found.p50_s / 3600, "p90": found.p90_s / 3600}
                for when, found in self._forecasts.items()
            },
        }

    def _after_rung(self, progress: SweepProgress) -> Forecast | None:
        # A runner may train several trials at a time, each then at the rate it was seen at.
        slots = max(progress.runners, len(progress.running))
        stages = course(self._config, self._data, slots)
        first = stages.rungs[0] if stages.rungs else stages.rows
        seen = [(t.number, t.rows_seen, t.seconds) for t in progress.finished]
        seen += [(t.number, t.rows_seen, t.seconds) for t in progress.running]
        self._rates |= {number: s / rows for number, rows, s in seen if rows >= first}
        total = n_trials(self._config, self._space)
        if len(self._rates) < min(_ENOUGH, total) or progress.n_finished >= total:
            return None
        running, whole = rows_of_running(progress)
        left = max(0, total - progress.n_finished - len(running))
        rest = forecast(
            list(self._rates.values()),
            stages,
            left,
            running=running,
            begun=len(self._rates),
            whole=whole,
        )
        return rest.plus(_spent_s(progress))


def _spent_s(progress: SweepProgress) -> float:
    return progress.earlier_s + progress.elapsed_s
