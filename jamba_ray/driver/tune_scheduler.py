"""Defines ``InOrder``, Ray Tune's FIFO scheduler that ignores trials that have ended."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class InOrder(FIFOScheduler):
    """Starts trials in the order in which they came; the study decides which ones stop.

    Tune's own scheduler looks at every trial that ever was, several times for each new one: two
    fifths of the driver's time at 8,000 trials (``tests/benchmarks/ten_thousand_trials.md``).
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._open: dict[str, Trial] = {}

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Adds a trial (see Ray)."""
        self._open[trial.trial_id] = trial

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Returns the next trial to start (see Ray)."""
        ended = (Trial.TERMINATED, Trial.ERROR)
        for name in [name for name, trial in self._open.items() if trial.status in ended]:
            del self._open[name]
        for status in (Trial.PENDING, Trial.PAUSED):
            for trial in self._open.values():
                if trial.status == status:
                    return trial
        return None
