"""Trains stacks whose trials come and go: each ends on its own, and others take the free slots."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jamba_ray.checkpoints import Snapshot, step_of
from jamba_ray.config.run import TrialConfig
from jamba_ray.errors import TrialError
from jamba_ray.runners.report_check import checked
from jamba_ray.runners.runner import Reporter, Runner, Saver
from jamba_ray.study.records import TrialOutcome, TrialSpec
from jamba_ray.training import Decision, Member, Outcome, Report

Ended = Callable[[TrialOutcome], None]
"""Is called with the outcome of each trial as soon as it has ended."""
More = Callable[[], Sequence[TrialSpec]]
"""Returns trials of the same structure that are to join."""


class StackRunner(Runner):
    """Extends ``Runner`` for stacks of trials."""

    def train_stack(
        self,
        specs: Sequence[TrialSpec],
        base: TrialConfig,
        report: Reporter,
        *,
        size: int,
        ended: Ended,
        more: More,
        steps_to_come: int | None = None,
    ) -> None:
        """Trains ``specs`` of one structure, and trials that join them, as one stack.

        It has at most ``size`` trials at a time. ``steps_to_come`` is that of
        ``jamba_ray.training.fit``. A trial that raises fails alone, as in ``train``. If a stack
        fails as a whole, its trials continue one by one from their newest checkpoints, so that only
        the faulty one fails.

        Raises:
            DetachedError: The study cannot be reached; no trial's state is known.
        """
        self.objective_key = f"val/{base.objective}"
        self._base, self._size, self._ended, self._more = base, size, ended, more
        self._specs: dict[int, TrialSpec] = {}
        self._open: dict[int, Member] = {}
        self._told: set[int] = set()
        self._joins = True
        # A replacement of ``fit`` need not take these arguments.
        self._hints = (
            {} if steps_to_come is None else {"steps_to_come": steps_to_come, "at_a_time": size}
        )
        self._saver = Saver(self._save)
        with self._watchdog:
            report = checked(self._written(self._watchdog.around(report)), self.objective_key)
            try:
                self._run(self._begin(specs, report), report)
            except (Exception, SystemExit) as error:
                self._one_by_one(report, error)

    def _run(self, members: list[tuple[Member, Snapshot | None]], report: Reporter) -> None:
        if not members:
            return
        others = self._open.keys() - {member.trial for member, _ in members}
        outcomes = self._fit(
            [member for member, _ in members],
            self._data,
            report,
            device=self._device,
            save=self._saver.save,
            finish=lambda outcome: self._end(outcome.trial, outcome),
            join=lambda: self._joining(report),
            resume={m.trial: snapshot for m, snapshot in members if snapshot is not None} or None,
            **self._hints,
        )
        for outcome in outcomes:
            self._end(outcome.trial, outcome)
        for trial in self._open.keys() - others:
            self._end(trial, TrialError("the training code ended without saying how the trial did"))

    def _joining(self, report: Reporter) -> list[tuple[Member, Snapshot | None]]:
        """Returns trials for the free slots.

        A study that has none now may have some later, because stacks grow.
        """
        if not self._joins or len(self._open) >= self._size:
            return []
        specs = [spec for spec in self._more() if spec.number not in self._specs]
        return self._begin(specs, report)

    def _begin(
        self, specs: Sequence[TrialSpec], report: Reporter
    ) -> list[tuple[Member, Snapshot | None]]:
        """Returns members with the snapshots to continue from, each at its last report.

        Checkpoints of different ages would put trials of one stack out of step, and the pruner
        would be asked in another order than without the interruption.
        """
        members = []
        for spec in specs:
            self._specs[spec.number] = spec
            self._newest.expect(spec.number, spec.saved)
            try:
                member = self._member(spec, self._base)
            except Exception as error:
                self._end(spec.number, error)
                continue
            if spec.folds:
                self._tell_end(spec.number, self._continued(spec, member))
                continue
            self._open[spec.number] = member
            members.append(member)
        found = {m.trial: self._read(m) for m in members if self._specs[m.trial].step}
        snapshots = {trial: snapshot for trial, snapshot in found.items() if snapshot is not None}
        behind = [m for m in members if step_of(snapshots.get(m.trial)) < self._specs[m.trial].step]
        snapshots |= self._catch_up(behind, snapshots, report)
        together = [(m, snapshots.get(m.trial)) for m in members if m.trial in self._open]
        if behind and len(together) < len(members):
            # Those that were to end before the interruption end now, which frees their slots.
            together += self._joining(report)
        return together

    def _catch_up(
        self, members: list[Member], snapshots: dict[int, Snapshot], report: Reporter
    ) -> dict[int, Snapshot]:
        """Trains each member to the study's last report of it.

        Returns a snapshot of each member that continues.
        """
        if not members:
            return {}
        halted: set[int] = set()

        def until(reports: Sequence[Report]) -> list[Decision]:
            decisions = list(report(reports))
            for i, one in enumerate(reports):
                if decisions[i] == "continue" and one.step >= self._specs[one.trial].step:
                    decisions[i] = "stop"
                    halted.add(one.trial)
            return decisions

        outcomes = self._fit(
            members,
            self._data,
            until,
            device=self._device,
            save=self._saver.save,
            resume={m.trial: snapshots[m.trial] for m in members if m.trial in snapshots} or None,
            **self._hints,
        )
        caught_up = {}
        for outcome in outcomes:
            if outcome.state == "stopped" and outcome.trial in halted and outcome.checkpoint:
                caught_up[outcome.trial] = outcome.checkpoint
            else:
                self._end(outcome.trial, outcome)
        return caught_up

    def _one_by_one(self, report: Reporter, error: BaseException) -> None:
        """Continues alone with each unfinished trial; repeated reports change nothing."""
        left = list(self._open.values())
        if len(left) == 1:
            self._end(left[0].trial, error)
            return
        self._joins = False
        for member in left:
            try:
                self._run([(member, self._read(member))], report)
            except (Exception, SystemExit) as own:
                self._end(member.trial, own)

    def _end(self, trial: int, how: Outcome | BaseException) -> None:
        """Reports a trial's end, once."""
        spec = self._specs.get(trial)
        if spec is not None and trial not in self._told:
            self._tell_end(trial, self._settled(spec, how))

    def _tell_end(self, trial: int, outcome: TrialOutcome) -> None:
        self._told.add(trial)
        self._open.pop(trial, None)
        self._ended(outcome)
