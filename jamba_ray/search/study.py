"""The study: its one writer, the sampler, the pruner and the sweep's stop rules. No Ray.

Every method that changes something commits before it returns, and may be called again with the same
arguments (a reply can be lost): the second call changes nothing and gives the same answer.
"""

from __future__ import annotations

import datetime
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from jamba_ray.config.search import PrunerSection, SamplerSection
from jamba_ray.config.space import Params, Scalar, SearchSpace
from jamba_ray.errors import ConfigError
from jamba_ray.search import rules, sampling
from jamba_ray.search.overlay import view
from jamba_ray.search.proposal import propose, whole_trial
from jamba_ray.search.records import (
    Answer,
    Finish,
    RunningTrial,
    State,
    SweepProgress,
    TrialRecord,
    TrialSpec,
    attributes,
)
from jamba_ray.search.storage import StudyDatabase

Decision = Literal["continue", "prune", "stop"]
_MAX_DRAWS = 8
_MAX_LOSSES = 1
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


@dataclass(frozen=True)
class StudySettings:
    """What a study needs to know of its sweep."""

    space: SearchSpace
    objective: str
    direction: Literal["maximize", "minimize"]
    sampler: SamplerSection = field(default_factory=SamplerSection)
    pruner: PrunerSection = field(default_factory=PrunerSection)
    seed: int = 0
    n_trials: int = 16
    report_rows: int = 1
    """Rows between two reports: what turns ``pruner.min_rows`` into report steps."""
    time_budget_s: float | None = None
    max_failed_trials: int | None = None
    lanes: int = 1
    config_fingerprint: str = ""
    data_fingerprint: str = ""
    first: tuple[Params, ...] = ()
    """Tried first, when the study is new."""


@dataclass(frozen=True)
class Progress:
    """One report of a running trial."""

    number: int
    step: int
    """Counts reports from 1, consecutive."""
    value: float
    rows_seen: int = 0
    epoch: float = 0.0
    seconds: float = 0.0
    goodput_s: float = 0.0


@dataclass
class _Live:
    """A trial without an end yet."""

    trial_id: int
    params: Params
    ticket: str
    step: int
    value: float | None
    spoilt: str | None = None
    """Why the trial can only fail (it reported a value that is no number)."""
    latest: Progress | None = None
    goodput_before: float = 0.0
    """Goodput seconds that an earlier session already counted."""
    losses: int = 0
    pruned_at: int | None = None


class StudyBook:
    """Opens the study at ``path``, new or begun; ``session`` tells this driver from earlier ones.

    Trials that another session left unfinished are handed out first.

    Raises:
        StorageError: See ``StudyDatabase``.
        ConfigError: The study was begun with other settings or data.
    """

    def __init__(
        self,
        path: Path,
        settings: StudySettings,
        *,
        session: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._space = settings.space
        self._session = session
        self._clock = clock
        self._grid = (
            sampling.grid_order(self._space, settings.seed)
            if settings.sampler.name == "grid"
            else None
        )
        self._all = self._grid if self._grid is not None else sampling.listed(self._space)
        self._db = StudyDatabase(path, settings.direction)
        self._storage = self._db.storage
        self._study = self._db.study
        self._study.pruner = sampling.make_pruner(settings.pruner, settings.report_rows)
        self._live: dict[int, _Live] = {}
        self._records: dict[int, TrialRecord] = {}
        self._order: list[int] = []
        self._waiting: deque[int] = deque()
        self._tried: set[str] = set()
        self._best: TrialRecord | None = None
        self._goodput_s = 0.0
        self._ended: str | None = None
        self._cannot_start: str | None = None
        try:
            self._check_identity()
            self._load()
            self._begin_session()
        except BaseException:
            self._db.close()
            raise

    # -- asked by the searcher ---------------------------------------------------------------

    def ask(self, ticket: str) -> Answer:
        """A trial for the lane that holds ``ticket``, or why there is none."""
        for number, live in self._live.items():
            if live.ticket == ticket:
                return Answer(spec=self._spec(number, resumed=live.step > 0))
        if (ended := self._why_no_more()) is not None:
            self._ended = self._ended or ended
            return Answer(ended=ended)
        if self._waiting:
            number = self._waiting[0]
            self._set_ticket(number, ticket)
            self._waiting.popleft()
            return Answer(spec=self._spec(number, resumed=True))
        number = self._n_begun
        params, mark = self._next_params(number)
        if params is None:
            self._ended = f"all {len(self._all or ())} combinations of the space have been tried"
            return Answer(ended=self._ended)
        self._create(number, params, {"ticket": ticket, **mark})
        return Answer(spec=self._spec(number, resumed=False))

    def lost(self, ticket: str, why: str) -> None:
        """The lane of ``ticket`` died: each of its trials is continued once, then failed."""
        for number in [n for n, live in self._live.items() if live.ticket == ticket]:
            live = self._live[number]
            if live.losses >= _MAX_LOSSES:
                self.finish(Finish(number=number, state="failed", reason=why))
                continue
            self._storage.set_trial_user_attr(live.trial_id, "losses", live.losses + 1)
            live.losses += 1
            self._set_ticket(number, "")
            self._waiting.append(number)

    def enqueue(self, params: Mapping[str, Scalar]) -> None:
        """Try these values in the next new trial; parameters not given are sampled."""
        unknown = sorted(set(params) - set(self._space.paths))
        if unknown:
            raise ConfigError([f"`{p}` is no parameter of the search space." for p in unknown])
        queue = [*self._study.user_attrs.get("enqueued", []), dict(params)]
        self._study.set_user_attr("enqueued", queue)

    # -- told by the lanes -------------------------------------------------------------------

    def report(self, reports: Sequence[Progress]) -> list[Decision]:
        """Note one report each of some trials; what each is to do now."""
        return [self._report_one(report) for report in reports]

    def finish(self, finish: Finish) -> None:
        """Note how a trial ended. A value that is no finite number makes a complete trial fail."""
        live = self._live.get(finish.number)
        if live is None:
            return
        finish = self._judged(finish, live)
        state, value = self._optuna_end(finish, live)
        self._storage.set_trial_user_attr(live.trial_id, "outcome", attributes(finish))
        if finish.reason is not None:
            self._storage.set_trial_user_attr(live.trial_id, "reason", finish.reason)
        self._storage.set_trial_state_values(
            live.trial_id, state, None if value is None else [value]
        )
        del self._live[finish.number]
        self._waiting = deque(n for n in self._waiting if n != finish.number)
        self._goodput_s += finish.goodput_s - live.goodput_before
        self._note(record(self._storage.get_trial(live.trial_id)))

    # -- read by the driver ------------------------------------------------------------------

    def progress(self, after: int = 0) -> SweepProgress:
        """The sweep now; ``finished`` holds those after the first ``after`` to finish."""
        goodput_s = self._goodput_s + sum(
            live.latest.goodput_s - live.goodput_before
            for live in self._live.values()
            if live.latest is not None
        )
        return SweepProgress(
            n_trials=self._n_planned(),
            counts=self._counts(),
            best=self._best,
            running=tuple(
                _running(n, live)
                for n, live in sorted(self._live.items())
                if n not in self._waiting
            ),
            finished=tuple(self._records[n] for n in self._order[after:]),
            failures=self._failures(),
            elapsed_s=self._clock() - self._begun,
            goodput_s=goodput_s,
            lanes=self._settings.lanes,
            ended=self._ended,
        )

    def records(self) -> list[TrialRecord]:
        """Every trial by number, unfinished ones as running."""
        return [record(trial) for trial in self._study.get_trials(deepcopy=False)]

    def standing(self, keep: int) -> tuple[list[int], list[int]]:
        """(the best ``keep`` complete trials, all finished trials), for the checkpoint store."""
        done = [r for r in self._records.values() if r.state == "complete" and r.value is not None]
        sign = -1.0 if self._settings.direction == "maximize" else 1.0
        ranked = sorted(done, key=lambda r: (sign * (r.value or 0.0), r.number))
        return [r.number for r in ranked[:keep]], sorted(self._records)

    def give_up(self, why: str) -> None:
        """Fail the trials that never ended."""
        for number in list(self._live):
            self.finish(Finish(number=number, state="failed", reason=why))

    def close(self) -> None:
        """Release the file."""
        self._db.close()

    # -- opening -----------------------------------------------------------------------------

    def _check_identity(self) -> None:
        s = self._settings
        mine = {
            "objective": s.objective,
            "direction": s.direction,
            "config_fingerprint": s.config_fingerprint,
            "data_fingerprint": s.data_fingerprint,
        }
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._study.set_user_attr("identity", mine)
            if s.first:
                self._study.set_user_attr("enqueued", [dict(params) for params in s.first])
            return
        mistakes = [
            f"`{name}` must be that of the run being resumed ({known.get(name)!r}), "
            f"but is {value!r}. Use the same settings and data, or another `run=`."
            for name, value in mine.items()
            if known.get(name) != value
        ]
        if mistakes:
            raise ConfigError(mistakes)

    def _load(self) -> None:
        for trial in self._study.get_trials(deepcopy=False):
            params: Params = dict(trial.params)
            self._tried.add(sampling.key_of(params))
            if trial.state != TrialState.RUNNING:
                self._note(record(trial))
                continue
            ticket = str(trial.user_attrs.get("ticket", ""))
            step = trial.last_step or 0
            self._live[trial.number] = _Live(
                trial_id=trial._trial_id,
                params=params,
                ticket=ticket,
                step=step,
                value=trial.intermediate_values.get(step),
                losses=int(trial.user_attrs.get("losses", 0)),
                pruned_at=trial.user_attrs.get("pruned_at"),
            )
            if not (self._session and ticket.startswith(f"{self._session}/")):
                self._live[trial.number].ticket = ""
                self._waiting.append(trial.number)

    def _begin_session(self) -> None:
        """Find out how long earlier sessions ran: a time budget spans them all."""
        sessions: dict[str, list[float]] = dict(self._study.user_attrs.get("sessions", {}))
        now = self._clock()
        if self._session in sessions:
            self._begun = sessions[self._session][0]
        else:
            self._begun = now
            sessions[self._session] = [now, now]
            self._study.set_user_attr("sessions", sessions)
        last = _last_event(self._study)
        starts = sorted(start for start, _ in sessions.values())
        ends = [*starts[1:], now]
        # A session ended at the last event before the next one began, at the latest.
        self._earlier_s = sum(
            max(0.0, min(end, last) - start)
            for start, end in zip(starts, ends, strict=True)
            if start < self._begun
        )

    # -- asking ------------------------------------------------------------------------------

    @property
    def _n_begun(self) -> int:
        return len(self._records) + len(self._live)

    def _n_planned(self) -> int:
        wanted = self._settings.n_trials
        return min(wanted, len(self._all)) if self._all is not None else wanted

    def _why_no_more(self) -> str | None:
        if failed := rules.too_many_failed(self._states(), self._settings.max_failed_trials):
            return failed
        if late := self._out_of_time():
            return late
        if not self._waiting and self._n_begun >= self._settings.n_trials:
            return f"all {self._settings.n_trials} trials are done"
        return None

    def _out_of_time(self) -> str | None:
        elapsed = self._earlier_s + self._clock() - self._begun
        return rules.out_of_time(elapsed, self._settings.time_budget_s)

    def _states(self) -> list[State]:
        return [
            self._records[n].state if n in self._records else "running"
            for n in range(self._n_begun)
        ]

    def _next_params(self, number: int) -> tuple[Params | None, dict[str, Any]]:
        """Parameters of a new trial (None: all were tried), and marks to keep with it."""
        queue = self._study.user_attrs.get("enqueued", [])
        if queue and (taken := self._n_taken()) < len(queue):
            return self._draw(number, 0, queue[taken]), {"enqueued": taken}
        if self._all is not None:
            untried = [p for p in self._all if sampling.key_of(p) not in self._tried]
            if not untried:
                return None, {}
            if self._grid is not None:
                return untried[0], {}
        for draw in range(_MAX_DRAWS):
            params = self._draw(number, draw, {})
            if sampling.key_of(params) not in self._tried:
                return params, {}
        if self._all is not None:
            rng = random.Random(sampling.trial_seed(self._settings.seed, number, _MAX_DRAWS))
            return rng.choice(untried), {}
        return params, {}

    def _n_taken(self) -> int:
        trials = self._study.get_trials(deepcopy=False)
        return sum("enqueued" in trial.user_attrs for trial in trials)

    def _draw(self, number: int, draw: int, fixed: Mapping[str, Scalar]) -> Params:
        sampler = sampling.make_sampler(
            self._settings.sampler,
            self._space,
            seed=self._settings.seed,
            number=number,
            draw=draw,
            lanes=self._settings.lanes,
        )
        return propose(self._study, sampler, self._space, number, fixed)

    def _create(self, number: int, params: Params, attrs: Mapping[str, Any]) -> None:
        started = datetime.datetime.now()
        trial = whole_trial(params, self._space, attrs, started)
        trial_id = self._storage.create_new_trial(self._study._study_id, trial)
        self._tried.add(sampling.key_of(params))
        self._live[number] = _Live(
            trial_id=trial_id, params=params, ticket=str(attrs["ticket"]), step=0, value=None
        )

    def _set_ticket(self, number: int, ticket: str) -> None:
        live = self._live[number]
        self._storage.set_trial_user_attr(live.trial_id, "ticket", ticket)
        live.ticket = ticket

    def _spec(self, number: int, *, resumed: bool) -> TrialSpec:
        params = self._live[number].params
        return TrialSpec(number, dict(params), self._space.shape(params), resumed)

    # -- reporting ---------------------------------------------------------------------------

    def _report_one(self, report: Progress) -> Decision:
        live = self._live.get(report.number)
        if live is None:
            # It ended (its lane was given up for lost): whoever still trains it should not.
            return "stop"
        if live.latest is None and live.step > 0:
            live.goodput_before = report.goodput_s
        live.latest = report
        if not rules.is_score(report.value):
            live.spoilt = f"the validation {self._settings.objective} became {report.value}"
            return "stop"
        decision = self._judge(live, report)
        if decision == "continue" and self._must_stop():
            return "stop"
        return decision

    def _judge(self, live: _Live, report: Progress) -> Decision:
        """The pruner's decision; a step that was judged before a crash is not judged again.

        ``pruned_at`` is written before the rung, so that a rung without it means 'continue'.
        """
        if report.step < live.step:
            return "continue"
        if report.step > live.step:
            self._storage.set_trial_intermediate_value(live.trial_id, report.step, report.value)
            live.step, live.value = report.step, report.value
        seen, overlay = view(self._study)
        prunes = seen.pruner.prune(seen, self._storage.get_trial(live.trial_id))
        if prunes and live.pruned_at is None:
            self._storage.set_trial_user_attr(live.trial_id, "pruned_at", report.step)
            live.pruned_at = report.step
        for trial_id, key, value in overlay.notes:
            self._storage.set_trial_system_attr(trial_id, key, value)
        return "prune" if live.pruned_at is not None else "continue"

    def _must_stop(self) -> bool:
        if self._ended is None:
            self._ended = self._out_of_time()
        return self._out_of_time() is not None

    # -- finishing ---------------------------------------------------------------------------

    def _judged(self, finish: Finish, live: _Live) -> Finish:
        """``finish`` as the study sees it: what is no finite number cannot be complete."""
        state, reason = finish.state, finish.reason
        if state == "stopped" and live.spoilt is None:
            state = "complete"
            reason = reason or self._out_of_time() or "it was told to stop"
        if live.spoilt is not None:
            state, reason = "failed", reason if finish.state == "failed" else live.spoilt
        elif state == "complete" and not rules.is_score(finish.value):
            state = "failed"
            reason = f"its final validation {self._settings.objective} is {finish.value}"
        clean = {k: float(v) for k, v in finish.metrics.items() if rules.is_score(float(v))}
        return replace(finish, state=state, reason=reason, metrics=clean)

    def _optuna_end(self, finish: Finish, live: _Live) -> tuple[TrialState, float | None]:
        if finish.state == "complete":
            return TrialState.COMPLETE, finish.value
        if finish.state == "pruned":
            # As ``Study.tell`` does: the last report is a pruned trial's value.
            return TrialState.PRUNED, live.value
        return TrialState.FAIL, None

    def _note(self, done: TrialRecord) -> None:
        self._records[done.number] = done
        self._order.append(done.number)
        if done.state != "complete" or done.value is None:
            return
        if self._best is None or rules.better(
            done.value, self._best.value or 0.0, self._settings.direction
        ):
            self._best = done

    def _counts(self) -> dict[State, int]:
        counts = Counter(r.state for r in self._records.values())
        running: dict[State, int] = {"running": len(self._live)}
        return {**{s: counts.get(s, 0) for s in ("complete", "pruned", "failed")}, **running}

    def _failures(self) -> dict[str, int]:
        reasons = Counter(
            r.reason or "unknown" for r in self._records.values() if r.state == "failed"
        )
        return dict(reasons.most_common())


def record(trial: FrozenTrial) -> TrialRecord:
    """A trial of Optuna's study as a record."""
    outcome: dict[str, Any] = trial.user_attrs.get("outcome", {})
    value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    return TrialRecord(
        number=trial.number,
        state=_STATES.get(trial.state, "running"),
        params=dict(trial.params),
        value=value,
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
    )


def _running(number: int, live: _Live) -> RunningTrial:
    latest = live.latest
    return RunningTrial(
        number=number,
        params=live.params,
        step=live.step,
        rows_seen=latest.rows_seen if latest else 0,
        epoch=latest.epoch if latest else 0.0,
        value=live.value,
        seconds=latest.seconds if latest else 0.0,
    )


def _last_event(study: optuna.Study) -> float:
    trials = study.get_trials(deepcopy=False)
    times = [t for trial in trials for t in (trial.datetime_start, trial.datetime_complete) if t]
    return max((t.timestamp() for t in times), default=0.0)
