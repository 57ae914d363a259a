"""Sends a sweep's figures to Ray's metrics, which Prometheus scrapes at the driver's node.

Ray writes ``ray_`` before each name. A value is scraped for 20 s after the sweep's end, and then no
more: Prometheus keeps what it has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jamba_ray.config.direction import direction_of
from jamba_ray.driver.monitor import Watch
from jamba_ray.study.records import SweepProgress

STATES = ("complete", "pruned", "failed", "running")
GAUGES = {
    "jamba_ray_trials": "Trials by state, over all sessions of the run.",
    "jamba_ray_trials_planned": "Trials that the sweep will have if nothing ends it sooner.",
    "jamba_ray_best_objective": "The objective of the best complete trial, on validation rows.",
    "jamba_ray_goodput_ratio": "Share of the runners' time spent in forward, backward, optimizer.",
    "jamba_ray_runners": "Runners that the sweep may have at a time.",
    "jamba_ray_spent_hours": "Hours of wall time, over all sessions of the run.",
    "jamba_ray_spent_usd": "US dollars at the price of the whole cluster; only with a known price.",
    "jamba_ray_seconds_left": "Estimated seconds until the sweep's end.",
    "jamba_ray_store_refuses": "1 while the sweep waits for a store that refuses, else 0.",
}
"""Name -> meaning; each has the tag ``run``."""
REPORTS = "jamba_ray_reports"
"""Counts the reports of trials; Ray's exporter writes ``_total`` behind a counter's name."""
_MORE_TAGS = {"jamba_ray_trials": ("state",), "jamba_ray_best_objective": ("metric", "direction")}


class SweepMetrics:
    """Sets the metrics of one run from its progress; needs a Ray that is connected."""

    def __init__(
        self,
        run: str,
        objective: str,
        usd_per_hour: float | None,
        seconds_left: Callable[[], float | None],
    ) -> None:
        self._run, self._usd_per_hour, self._seconds_left = run, usd_per_hour, seconds_left
        self._best = {"metric": objective, "direction": direction_of(objective)}
        self._seen: dict[int, int] = {}

    def around(self, watch: Watch) -> Watch:
        """Returns ``watch`` followed by the metrics; its first call makes them, when Ray runs."""
        gauges: dict[str, Any] = {}
        counters: dict[str, Any] = {}
        tags = {"run": self._run}

        def look(progress: SweepProgress) -> None:
            watch(progress)
            if not gauges:
                gauges.update(_gauges())
                counters[REPORTS] = _counter()
            for name, value, more in self.values(progress):
                gauges[name].set(value, tags={**tags, **more})
            if new := self.new_reports(progress):
                counters[REPORTS].inc(new, tags=tags)

        return look

    def values(self, progress: SweepProgress) -> list[tuple[str, float, dict[str, str]]]:
        """Returns (gauge, value, tags beside ``run``) for whatever has a value now."""
        spent_h = (progress.earlier_s + progress.elapsed_s) / 3600
        counts = {str(state): n for state, n in progress.counts.items()}
        best = None if progress.best is None else progress.best.value
        alone: dict[str, float | None] = {
            "jamba_ray_trials_planned": progress.n_trials,
            "jamba_ray_goodput_ratio": progress.goodput,
            "jamba_ray_runners": progress.runners,
            "jamba_ray_spent_hours": spent_h,
            "jamba_ray_spent_usd": self._usd_per_hour and self._usd_per_hour * spent_h,
            "jamba_ray_seconds_left": self._seconds_left(),
            "jamba_ray_store_refuses": float(progress.trouble is not None),
        }
        found = [("jamba_ray_trials", float(counts.get(s, 0)), {"state": s}) for s in STATES]
        if best is not None:
            found.append(("jamba_ray_best_objective", best, self._best))
        found += [(name, float(value), {}) for name, value in alone.items() if value is not None]
        return [one for one in found if math.isfinite(one[1])]

    def new_reports(self, progress: SweepProgress) -> int:
        """Returns how many reports came since the last call, those of earlier sessions among them
        where a trial is continued."""
        now = {trial.number: trial.step for trial in progress.running}
        now |= {trial.number: len(trial.curve) for trial in progress.finished}
        new = sum(max(0, n - self._seen.get(number, 0)) for number, n in now.items())
        self._seen |= {number: max(n, self._seen.get(number, 0)) for number, n in now.items()}
        return new


def _gauges() -> dict[str, Any]:
    from ray.util.metrics import Gauge

    return {
        name: Gauge(name, meaning, tag_keys=("run", *_MORE_TAGS.get(name, ())))
        for name, meaning in GAUGES.items()
    }


def _counter() -> Any:
    from ray.util.metrics import Counter

    return Counter(REPORTS, "Reports of trials to the study.", tag_keys=("run",))
