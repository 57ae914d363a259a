"""Keeps the study's trials in memory: the running ones, the ended ones, and the best."""

from __future__ import annotations

import itertools
import math
from bisect import insort
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.direction import Direction, Directions, badness, is_score
from jamba_ray.config.space import Params
from jamba_ray.study import folds
from jamba_ray.study.front import as_losses, ranks
from jamba_ray.study.records import (
    Origin,
    ReportLine,
    RunningTrial,
    State,
    Stay,
    TrialOutcome,
    TrialRecord,
)
from jamba_ray.study.rungs import ORIGIN

_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


@dataclass
class Live:
    """Holds a trial that has not ended."""

    trial_id: int
    params: Params
    ticket: str
    """The ticket of its runner; empty: it waits for a runner."""
    step: int = 0
    """Newest report in the study."""
    value: float | None = None
    """The objective at ``step``."""
    saved: int = 0
    """Step of the newest checkpoint that its runner reported; 0: none."""
    pruned_at: int | None = None
    """The report at which the pruner stopped it; None: it was not stopped."""
    stack: int = 0
    """The first trial of the stack that it was begun in."""
    losses: int = 0
    """How often its runner was lost."""
    origin: Origin | None = None
    """See ``study.first_trials``; None: it was sampled."""
    heard: float = math.inf
    """When its runner last sent something; infinite: not since the server started."""
    spoilt: str | None = None
    """Why it must fail, such as a report that is not a number."""
    latest: ReportLine | None = None
    """Newest report in this session."""
    stays: list[list[Any]] = field(default_factory=list)
    """The fields of a ``Stay`` for each runner that reported of it, in their order."""
    goodput_before: float = 0.0
    """Goodput seconds of earlier sessions."""
    folds: dict[int, TrialOutcome] = field(default_factory=dict)
    """With cross-validation: the finished folds."""


@dataclass
class TrialIndex:
    """Holds the trials of the study in memory; ``SweepStudy`` keeps it up to date."""

    direction: Direction
    live: dict[int, Live] = field(default_factory=dict)
    records: dict[int, TrialRecord] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    """Numbers of finished trials in the order in which they finished."""
    waiting: deque[int] = field(default_factory=deque)
    """Live trials that wait for a runner, the next one first."""
    stacks: Counter[int] = field(default_factory=Counter)
    """Trials by the first trial of the stack that they were begun in."""
    best: TrialRecord | None = None
    goodput_s: float = 0.0
    """Of trials that finished in this session."""
    # Kept up to date, because they are asked for at every suggestion and twice a second.
    _ended: Counter[State] = field(default_factory=Counter)
    _reasons: Counter[str] = field(default_factory=Counter)
    _ranking: list[tuple[float, float, int]] = field(default_factory=list)
    """Complete trials, the best first: (``_rank``; number)."""

    @property
    def n_begun(self) -> int:
        """Counts the trials that were begun, which is also the number of the next new one."""
        return len(self.records) + len(self.live)

    def load(
        self, trials: list[FrozenTrial], session: str, trial_id_of: Callable[[int], int]
    ) -> None:
        """Takes over the trials of a study; unfinished ones of other sessions wait for a runner.

        ``trial_id_of``: a trial's number -> its id in the storage.
        """
        done = [t for t in trials if t.state != TrialState.RUNNING]
        for trial in sorted(done, key=lambda t: (t.datetime_complete is None, t.datetime_complete)):
            self.note(record(trial))
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                self.stacks[stack_of(trial)] += 1
                continue
            live = self.begin(trial, trial_id_of(trial.number))
            if not (session and live.ticket.startswith(f"{session}/")):
                live.ticket = ""
                self.waiting.append(trial.number)

    def begin(self, trial: FrozenTrial, trial_id: int) -> Live:
        """Adds a trial that has no end yet: a new one, or one that the study holds."""
        self.stacks[stack_of(trial)] += 1
        live = self.live[trial.number] = live_of(trial, trial_id)
        return live

    def is_among_first_stacks(self, stack: int, n: int) -> bool:
        """Says whether fewer than ``n`` stacks were begun before this one."""
        # Stacks were added in the order in which they began, and a dict keeps that order.
        return stack in itertools.islice(self.stacks, n)

    def holders(self, ticket: str) -> list[int]:
        """Returns the numbers of the live trials that have this ticket."""
        return [n for n, live in self.live.items() if ticket and live.ticket == ticket]

    def ended(self, number: int, done: TrialRecord) -> None:
        """Moves a trial from the live ones to the ended ones."""
        live = self.live.pop(number)
        if number in self.waiting:
            self.waiting.remove(number)
        self.goodput_s += max(0.0, done.goodput_s - live.goodput_before)
        self.note(done)

    def note(self, done: TrialRecord) -> None:
        """Adds a trial that ended."""
        self.records[done.number] = done
        self.order.append(done.number)
        self._ended[done.state] += 1
        if done.state == "failed":
            self._reasons[done.reason or "unknown"] += 1
        if done.state != "complete" or not is_score(done.value):
            return
        insort(self._ranking, (*self._rank(done), done.number))
        if self.best is None or self._rank(done) < self._rank(self.best):
            self.best = done

    def _rank(self, done: TrialRecord) -> tuple[float, float]:
        """Returns a sort key, the best first: by the limits that are broken, then by the first
        objective."""
        return done.violation, badness(done.value or 0.0, self.direction)

    def first(self, n: int) -> list[State]:
        """Returns the states of the first ``n`` trials, by number; fewer if there are fewer."""
        numbers = range(min(n, self.n_begun))
        return [self.records[i].state if i in self.records else "running" for i in numbers]

    def counts(self) -> dict[State, int]:
        """Counts the trials by state."""
        return {
            "complete": self._ended["complete"],
            "pruned": self._ended["pruned"],
            "failed": self._ended["failed"],
            "running": len(self.live),
        }

    def failures(self) -> dict[str, int]:
        """Counts the failed trials by reason, the most frequent first."""
        return dict(self._reasons.most_common())

    def ranked(self, n: int | None = None) -> list[int]:
        """Returns the numbers of the best ``n`` complete trials (None: of all), the best first."""
        return [number for *_, number in self._ranking[:n]]

    def front(self, directions: Directions) -> list[int]:
        """Returns the complete trials that keep the limits and that no other one dominates."""
        kept = [r for _, _, n in self._ranking if not (r := self.records[n]).violation]
        if len(directions) < 2 or not kept:
            return []
        on = ranks(as_losses([r.values for r in kept], directions)) == 0
        return [r.number for r, is_on in zip(kept, on, strict=True) if is_on]

    def running(self) -> tuple[RunningTrial, ...]:
        """Returns the trials that a runner trains now."""
        return tuple(
            _running(n, live) for n, live in sorted(self.live.items()) if n not in self.waiting
        )

    def all_goodput_s(self) -> float:
        """Returns the goodput seconds of this session so far."""
        return self.goodput_s + sum(
            max(0.0, live.latest.goodput_s - live.goodput_before)
            for live in self.live.values()
            if live.latest is not None
        )


def record(trial: FrozenTrial) -> TrialRecord:
    """Returns a trial of Optuna's study as a record."""
    outcome: dict[str, Any] = trial.user_attrs.get("outcome", {})
    ended = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
    values = tuple(trial.values or ()) if ended else ()
    return TrialRecord(
        number=trial.number,
        state=_STATES.get(trial.state, "running"),
        params=dict(trial.params),
        value=values[0] if values else None,
        metrics=outcome.get("metrics", {}),
        best_step=outcome.get("best_step", 0),
        rows_seen=outcome.get("rows_seen", 0),
        epochs=outcome.get("epochs", 0.0),
        seconds=outcome.get("seconds", 0.0),
        goodput_s=outcome.get("goodput_s", 0.0),
        reason=outcome.get("reason"),
        checkpoint=outcome.get("checkpoint"),
        curve=tuple(sorted(trial.intermediate_values.items())),
        losses=int(trial.user_attrs.get("losses", 0)),
        origin=trial.user_attrs.get(ORIGIN),
        values=values if len(values) > 1 and trial.state == TrialState.COMPLETE else (),
        violation=sum(v for v in trial.constraints.values() if v > 0.0),
        folds=folds.values_of(folds.kept(trial.user_attrs, trial.number)),
        std_error=outcome.get("std_error"),
    )


def live_of(trial: FrozenTrial, trial_id: int) -> Live:
    """Returns a RUNNING trial of Optuna's study as a ``Live``."""
    step = trial.last_step or 0
    return Live(
        trial_id=trial_id,
        params=dict(trial.params),
        ticket=str(trial.user_attrs.get("ticket", "")),
        step=step,
        value=trial.intermediate_values.get(step),
        saved=int(trial.user_attrs.get("saved", 0)),
        pruned_at=trial.user_attrs.get("pruned_at"),
        stack=stack_of(trial),
        losses=int(trial.user_attrs.get("losses", 0)),
        stays=[list(stay) for stay in trial.user_attrs.get("stays", [])],
        origin=trial.user_attrs.get(ORIGIN),
        folds=folds.kept(trial.user_attrs, trial.number),
    )


def stays_of(trial: FrozenTrial) -> tuple[Stay, ...]:
    """Returns the runners that trained a trial, in order; empty where none reported of it."""
    return tuple(Stay(*stay) for stay in trial.user_attrs.get("stays", []))


def stack_of(trial: FrozenTrial) -> int:
    """Returns the first trial of the stack that a trial was begun in, which may be itself."""
    return int(trial.user_attrs.get("stack", trial.number))


def _running(number: int, live: Live) -> RunningTrial:
    latest = live.latest
    return RunningTrial(
        number=number,
        params=live.params,
        step=live.step,
        rows_seen=latest.rows_seen if latest else 0,
        epoch=latest.epoch if latest else 0.0,
        value=live.value,
        seconds=latest.seconds if latest else 0.0,
        origin=live.origin,
    )
