"""Defines the study's answers and records as plain values that can be sent between processes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from jamba_ray.config.space import Params

State = Literal["complete", "pruned", "failed", "running"]
Origin = Literal["defaults", "enqueue"]
"""Where a trial comes from that no sampler proposed."""


@dataclass(frozen=True)
class TrialSpec:
    """Holds a trial that is to be trained."""

    number: int
    params: Params
    resumed: bool = False
    """Whether it was begun before, and continues from its newest checkpoint."""
    step: int = 0
    """Reports that the study has of it."""
    saved: int = 0
    """Step of its newest checkpoint that the study knows of; 0: none."""
    structure: Params = field(default_factory=dict)
    """The structural part of ``params``; trials of one structure can share a stack."""
    folds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Number of each finished fold -> its result, as ``study.folds`` stores it."""


@dataclass(frozen=True)
class TrialOutcome:
    """Holds how one trial ended and where its weights are; ``training.Outcome`` has the weights."""

    number: int
    state: Literal["complete", "pruned", "failed", "stopped"]
    reason: str | None = None
    value: float | None = None
    """The objective on all validation rows."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    best_step: int = 0
    rows_seen: int = 0
    epochs: float = 0.0
    seconds: float = 0.0
    goodput_s: float = 0.0
    checkpoint: str | None = None
    """Path of the best weights relative to the run folder's ``checkpoints/``."""
    folds: tuple[float, ...] = ()
    """With cross-validation: the objective of each fold, of which ``value`` is the mean."""
    std_error: float | None = None
    """The standard error of that mean."""


@dataclass(frozen=True)
class Answer:
    """Holds the study's answer to a runner that asks for work."""

    spec: TrialSpec | None = None
    ended: str | None = None
    """Why there is no more work, as a sentence's end: 'all 16 trials are done'."""


@dataclass(frozen=True)
class Paying:
    """Holds what a runner measured about training the trials of one structure in stacks."""

    size: int
    """Trials at a time."""
    n_batches: int
    """Optimizer steps of a trial."""
    rows_per_s: Mapping[str, float] = field(default_factory=dict)
    """By trials at a time, as probed."""
    memory_share: float = 0.0
    """Share of a GPU's memory that one trial takes; 0: on a CPU, or not measured."""
    compiled: tuple[int, int] | None = None
    """(trials at a time, optimizer steps that repay it) if it is compiled; None: it is not."""


@dataclass(frozen=True)
class Packing:
    """Holds how all runners train the trials of one structure, once that is measured."""

    size: int
    """Trials at a time."""
    steps: int
    """Optimizer steps that a runner can expect to make with them: what compiling may be repaid
    by."""


@dataclass(frozen=True)
class ReportLine:
    """Holds one report of a running trial."""

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
    further: tuple[float | None, ...] = ()
    """The objectives after the first; None: not known yet."""
    runner: str = ""
    """The process that trains it: host and process number; empty where that is not known."""


@dataclass(frozen=True)
class Stay:
    """Holds one runner's time on a trial."""

    runner: str
    begun: float
    """Unix time at which the runner was given the trial."""
    step: int
    """Reports that the trial had where this runner continued it."""
    known: int
    """Reports that the study had of it then; more than ``step`` if an older checkpoint was used."""


@dataclass(frozen=True)
class TrialRecord:
    """Holds one trial as the study knows it: a row of ``trials.parquet``."""

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
    origin: Origin | None = None
    """``defaults``: the configuration as composed; ``enqueue``: a user named it; None: sampled."""
    values: tuple[float, ...] = ()
    """All objectives, where there are several and it is complete."""
    violation: float = 0.0
    """By how much it breaks the limits of ``constraint``; 0: it keeps them."""
    folds: tuple[float, ...] = ()
    """With cross-validation: the objective of each finished fold."""
    std_error: float | None = None
    """The standard error of the mean over them; see ``study.folds``."""


@dataclass(frozen=True)
class RunningTrial:
    """Holds a trial that a runner is training now."""

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
    origin: Origin | None = None
    """As in ``TrialRecord``."""


@dataclass(frozen=True)
class SweepProgress:
    """Holds the state of a sweep at one moment, for a display."""

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
    """What the sweep waits for, such as 'the store refuses (...): trying again, 12 of 60 s'."""

    @property
    def n_finished(self) -> int:
        """Counts the trials that are complete, pruned or failed."""
        return sum(n for state, n in self.counts.items() if state != "running")

    @property
    def goodput(self) -> float:
        """Returns the share of the runners' wall time spent in forward, backward and optimizer."""
        return min(1.0, self.goodput_s / max(1e-9, self.elapsed_s * self.runners))


@dataclass(frozen=True)
class SweepResult:
    """Holds the result of a sweep that ended by its own rule."""

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
        """Returns the result of the sweep as one word."""
        if self.best is None:
            return "none_succeeded"
        return "some_failed" if self.counts.get("failed", 0) else "ok"


def attributes(finish: TrialOutcome) -> dict[str, Any]:
    """Returns a trial's outcome as the strict JSON that the study stores."""
    return {
        "metrics": dict(finish.metrics),
        "best_step": finish.best_step,
        "rows_seen": finish.rows_seen,
        "epochs": finish.epochs,
        "seconds": finish.seconds,
        "goodput_s": finish.goodput_s,
        "checkpoint": finish.checkpoint,
        "reason": finish.reason,
        **({"std_error": finish.std_error} if finish.folds else {}),
    }


def to_text(spec: TrialSpec) -> str:
    """Returns a trial as one JSON text, which Tune passes on unread."""
    return json.dumps(dataclasses.asdict(spec), allow_nan=False)


def from_text(text: str) -> TrialSpec:
    """Parses the text of ``to_text``."""
    return TrialSpec(**json.loads(text))
