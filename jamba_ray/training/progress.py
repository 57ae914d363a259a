"""Counts the progress of one member, for its reports, its snapshots and its outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from jamba_ray.config.search import Objective
from jamba_ray.training.member import Report
from jamba_ray.training.schedule import Timetable
from jamba_ray.training.validation import is_better


@dataclass
class Progress:
    """Holds the counters of one member; the only thing that an engine changes in place."""

    step: int = 0
    """Reports made."""
    batches: int = 0
    """Optimizer steps tried: the position in the data order and in the schedule."""
    rows_seen: int = 0
    seconds: float = 0.0
    goodput_s: float = 0.0
    best_value: float | None = None
    """Best objective on the validation sample."""
    best_step: int = 0
    stale: int = 0
    """Reports since the best."""
    cooling_from: int | None = None
    """With the schedule ``plateau``, the report from which on the learning rate is lowered."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Those of the best report."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """Weights and buffers at the best report (gradient training)."""
    loss_sum: float = 0.0
    """Of the rows since the last report."""
    loss_rows: int = 0
    keeps_last: bool = False
    """Whether every report counts as the best (``Member.keeps_last``)."""

    def judge(self, objective: Objective, metrics: dict[str, float]) -> bool:
        """Counts one more report; returns True where it is the best so far."""
        self.step += 1
        value = metrics[f"val/{objective}"]
        if not (self.keeps_last or is_better(objective, value, self.best_value)):
            self.stale += 1
            return False
        self.best_value, self.best_step, self.stale = value, self.step, 0
        self.metrics = dict(metrics)
        return True

    def begins_to_cool(self, table: Timetable) -> bool:
        """Notes where the learning rate is lowered from now on; returns True at that report."""
        if self.cooling_from is not None or not table.cools_now(self.step, self.stale):
            return False
        self.cooling_from = self.step
        return True

    def report(self, trial: int, n_rows: int, metrics: dict[str, float]) -> Report:
        """Makes the report of this moment; ``n_rows`` training rows are an epoch."""
        return Report(
            trial=trial,
            step=self.step,
            rows_seen=self.rows_seen,
            epoch=self.rows_seen / n_rows,
            seconds=self.seconds,
            metrics=metrics,
            goodput_s=self.goodput_s,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns strict JSON: all but the weights and what counts since the last report."""
        return {
            "step": self.step,
            "batches": self.batches,
            "rows_seen": self.rows_seen,
            "seconds": self.seconds,
            "goodput_s": self.goodput_s,
            "best_value": self.best_value,
            "best_step": self.best_step,
            "stale": self.stale,
            "cooling_from": self.cooling_from,
            "metrics": self.metrics,
            "loss_sum": self.loss_sum,
            "loss_rows": self.loss_rows,
        }

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Progress:
        """Makes progress from what ``to_json`` returned."""
        return cls(
            step=state["step"],
            batches=state["batches"],
            rows_seen=state["rows_seen"],
            seconds=state["seconds"],
            goodput_s=state["goodput_s"],
            best_value=state["best_value"],
            best_step=state["best_step"],
            stale=state["stale"],
            cooling_from=state.get("cooling_from"),
            metrics=dict(state["metrics"]),
            # Older snapshots are all of a report.
            loss_sum=state.get("loss_sum", 0.0),
            loss_rows=state.get("loss_rows", 0),
        )
