"""Notes the reports of runners and decides whether each trial continues."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial

from jamba_ray.study import folds
from jamba_ray.study.ending import Ending
from jamba_ray.study.pruners import Pruner
from jamba_ray.study.records import ReportLine, TrialOutcome
from jamba_ray.study.rungs import FURTHER
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.trial_index import Live, TrialIndex

Decision = Literal["continue", "prune", "stop"]


class Reporting:
    """Writes reports into the study and answers each with a decision; does not commit."""

    def __init__(
        self,
        storage: JournalStorage,
        trial_index: TrialIndex,
        pruner: Pruner,
        ending: Ending,
        settings: StudySettings,
        clock: Callable[[], float],
    ) -> None:
        self._storage, self._trial_index, self._pruner = storage, trial_index, pruner
        self._ending, self._settings, self._clock = ending, settings, clock

    def note(self, report: ReportLine) -> Decision:
        """Notes one report and returns what its trial is to do now."""
        live = self._trial_index.live.get(report.number)
        if live is None:
            # It ended because its runner counted as lost: who still trains it must stop.
            return "stop"
        self._note_runner(live, report)
        live.heard = self._clock()
        if live.spoilt is not None:
            return "stop"
        if live.latest is None and live.step > 0:
            live.goodput_before = report.goodput_s
        live.latest = report
        if not math.isfinite(report.value):
            live.spoilt = f"the validation {self._settings.objective} became {report.value}"
            return "stop"
        decision = self._judge(live, report)
        if decision == "continue" and (late := self._ending.out_of_time()):
            self._ending.say(late)
            return "stop"
        return decision

    def fold(self, number: int, fold: int, result: TrialOutcome) -> Decision:
        """Notes a finished fold and returns whether its trial trains the next one."""
        live = self._trial_index.live.get(number)
        if live is None:
            return "stop"
        if fold not in live.folds:
            key = f"{folds.KEY}{fold}"
            self._storage.set_trial_user_attr(live.trial_id, key, folds.stored(result))
            live.folds[fold] = result
            if self._falls_behind(live):
                self._storage.set_trial_user_attr(live.trial_id, "pruned_at", live.step)
                live.pruned_at = live.step
        return self.between_folds(number)

    def between_folds(self, number: int) -> Decision:
        """Returns whether a trial that trains its further folds may go on."""
        live = self._trial_index.live.get(number)
        if live is None or live.spoilt is not None:
            return "stop"
        live.heard = self._clock()
        if live.pruned_at is not None:
            return "prune"
        if late := self._ending.out_of_time():
            self._ending.say(late)
            return "stop"
        return "continue"

    def _falls_behind(self, live: Live) -> bool:
        s, best = self._settings, self._trial_index.best
        is_free = s.pruner.name != "none" and live.origin is None and not (s.further or s.limits)
        if not is_free or best is None or len(live.folds) >= s.folds:
            return False
        return folds.is_beaten(folds.values_of(live.folds), best.folds, s.direction)

    def ended(self, trial: FrozenTrial) -> None:
        """Takes note of a trial that ended and is in its final state."""
        self._pruner.ended(trial)

    def hung(self, live: Live) -> str | None:
        """Returns why a trial counts as hung; None: it reported in time, or has no runner."""
        limit = self._settings.hang_timeout_s
        if limit is None or not live.ticket or self._clock() - live.heard < limit:
            return None
        return f"it reported nothing for `hang_timeout_s` ({limit:g} s) and was ended"

    def _note_runner(self, live: Live, report: ReportLine) -> None:
        """Notes at its first report who trains the trial, since when, and from where on."""
        if not report.runner or (live.stays and live.stays[-1][0] == report.runner):
            return
        given = live.heard if math.isfinite(live.heard) else self._clock()
        stay = [report.runner, given, report.step - 1, live.step]
        self._storage.set_trial_user_attr(live.trial_id, "stays", [*live.stays, stay])
        live.stays.append(stay)

    def _judge(self, live: Live, report: ReportLine) -> Decision:
        """Returns the pruner's decision; a step judged before a crash is not judged again.

        ``pruned_at`` is written before the rung, so that a rung without it means 'continue'.
        """
        if report.step < live.step:
            return "continue"
        if report.step == live.step and not self._settings.pruner.has_rungs:
            # Others may have ended since, and the answer to a repeated report must not change.
            return "prune" if live.pruned_at is not None else "continue"
        if report.step > live.step:
            self._storage.set_trial_intermediate_value(live.trial_id, report.step, report.value)
            if report.further:
                key, further = f"{FURTHER}{report.step}", list(report.further)
                self._storage.set_trial_system_attr(live.trial_id, key, further)
            live.step, live.value = report.step, report.value
        prunes, reached = self._pruner.judge(self._storage.get_trial(live.trial_id))
        if prunes and live.pruned_at is None:
            self._storage.set_trial_user_attr(live.trial_id, "pruned_at", report.step)
            live.pruned_at = report.step
        for key, value in reached.items():
            self._storage.set_trial_system_attr(live.trial_id, key, value)
        self._pruner.reached(report.number, reached)
        return "prune" if live.pruned_at is not None else "continue"
