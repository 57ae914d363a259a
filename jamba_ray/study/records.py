"""What the search says of its trials: plain values that travel between processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jamba_ray.config.space import Params
from jamba_ray.study.outcome import TrialOutcome

State = Literal["complete", "pruned", "failed", "running"]


@dataclass(frozen=True)
class TrialSpec:
    """A trial to be trained."""

    number: int
    params: Params
    shape: Params
    """The structural part of ``params``; trials of one shape can share a stack."""
    step: int = 0
    """Reports that the study has of it: if any, its newest checkpoint is to be continued."""
    saved: int = 0
    """Step of its newest checkpoint as far as the study knows; 0: it knows of none."""

    @property
    def resumed(self) -> bool:
        """Whether it was begun before."""
        return self.step > 0


@dataclass(frozen=True)
class Answer:
    """What the study says when asked for work."""

    spec: TrialSpec | None = None
    ended: str | None = None
    """Why there is no more work, as a sentence's end: 'all 16 trials are done'."""


@dataclass(frozen=True)
class Paying:
    """What a runner found to pay for the trials of one shape."""

    size: int
    """Trials at a time."""
    n_batches: int
    """Optimizer steps of a trial."""
    rows_per_s: Mapping[str, float] = field(default_factory=dict)
    """By trials at a time, as probed."""
    compiled: tuple[int, int] | None = None
    """(trials at a time, optimizer steps that repay it) if it is compiled; None: it is not."""


@dataclass(frozen=True)
class Packing:
    """How the runners of a study train the trials of one shape: the same for all, once it is known,
    and after a resume."""

    size: int
    """Trials at a time."""
    steps: int
    """Optimizer steps that a runner can expect to make with them: what compiling may be repaid
    by."""


@dataclass(frozen=True)
class ReportLine:
    """One report of a running trial."""

    number: int
    step: int
    """Counts reports from 1, consecutive."""
    value: float
    """The objective on the validation sample."""
    rows_seen: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    goodput_s: float = 0.0
    row: Mapping[str, Any] | None = None
    """The report's local row, where its runner cannot write it into the run folder itself."""


@dataclass(frozen=True)
class TrialRecord:
    """One trial as the study holds it: a row of ``trials.parquet``."""

    number: int
    state: State
    params: Params
    value: float | None
    """The objective: on all validation rows where complete, at the last report where pruned."""
    metrics: Mapping[str, float]
    """``val/...`` at the best step."""
    best_step: int
    rows_seen: int
    epochs: float
    seconds: float
    goodput_s: float
    """Seconds in forward, backward and optimizer."""
    reason: str | None
    checkpoint: str | None
    curve: tuple[tuple[int, float], ...]
    """(report step, objective on the validation sample)."""
    losses: int = 0
    """How often its runner was lost and it was continued elsewhere."""


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a runner is training now."""

    number: int
    params: Params
    step: int
    """Reports so far."""
    rows_seen: int
    epoch: float
    value: float | None
    """The objective at the last report."""
    seconds: float
    """Seconds of training at the last report."""


@dataclass(frozen=True)
class SweepProgress:
    """A sweep at one moment, for a display."""

    n_trials: int
    """Trials that the sweep will have, if nothing ends it sooner."""
    counts: Mapping[State, int]
    best: TrialRecord | None
    running: tuple[RunningTrial, ...]
    finished: tuple[TrialRecord, ...]
    """Trials that finished since the last progress was handed out, in the order they did."""
    failures: Mapping[str, int]
    """Failed trials by reason."""
    elapsed_s: float
    """Seconds since this session began."""
    goodput_s: float
    """Seconds that runners of this session spent in forward, backward and optimizer."""
    runners: int
    ended: str | None
    """Why no more trials are started, once that is so."""
    earlier_s: float = 0.0
    """Seconds that earlier sessions ran."""
    trouble: str | None = None
    """What the sweep waits for: 'the store refuses (...): trying again, 12 of 60 s'."""

    @property
    def n_finished(self) -> int:
        """Trials that are complete, pruned or failed."""
        return sum(n for state, n in self.counts.items() if state != "running")

    @property
    def goodput(self) -> float:
        """Share of the runners' wall time spent in forward, backward and optimizer."""
        return min(1.0, self.goodput_s / max(1e-9, self.elapsed_s * self.runners))


@dataclass(frozen=True)
class SweepResult:
    """A sweep that ended by its own rule."""

    trials: tuple[TrialRecord, ...]
    best: TrialRecord | None
    """The best complete trial; None where no trial succeeded."""
    counts: Mapping[State, int]
    failures: Mapping[str, int]
    """Failed trials by reason, the most frequent first."""
    ended: str
    """Why the sweep ended."""
    wall_s: float
    """Seconds from start to end of this session."""
    goodput: float
    """Share of the runners' wall time in this session spent in forward, backward and optimizer."""
    runners: int
    """0: nothing was left to do, and no runner was started."""
    notes: tuple[str, ...] = ()
    """Sentences that a user should read."""

    @property
    def status(self) -> Literal["ok", "some_failed", "none_succeeded"]:
        """The sweep in one word."""
        if self.best is None:
            return "none_succeeded"
        return "some_failed" if self.counts.get("failed", 0) else "ok"


def attributes(finish: TrialOutcome) -> dict[str, Any]:
    """A trial's end as the strict JSON kept in the study."""
    return {
        "metrics": dict(finish.metrics),
        "best_step": finish.best_step,
        "rows_seen": finish.rows_seen,
        "epochs": finish.epochs,
        "seconds": finish.seconds,
        "goodput_s": finish.goodput_s,
        "checkpoint": finish.checkpoint,
        "reason": finish.reason,
    }


def to_text(specs: list[TrialSpec]) -> str:
    """Members as one JSON text, which Tune passes on without looking into it."""
    return json.dumps([dataclasses.asdict(spec) for spec in specs], allow_nan=False)


def from_text(text: str) -> list[TrialSpec]:
    """Inverse of ``to_text``."""
    return [TrialSpec(**member) for member in json.loads(text)]
