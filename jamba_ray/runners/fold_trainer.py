"""Trains the further folds of a trial whose first fold has come to its end.

A trial's first fold is trained like a trial without folds: in a stack, and stopped at a rung where
it is poor. Only what is left of it then costs the further folds. Each finished fold is kept (its
model in the store, its result in the study) before the next one begins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from jamba_ray.checkpoints import Snapshot
from jamba_ray.data.prepared import PreparedData
from jamba_ray.errors import TrialError
from jamba_ray.runners.report_check import checked, is_number
from jamba_ray.study.folds import joined
from jamba_ray.study.records import TrialOutcome
from jamba_ray.training import KEPT, Decision, Member, Outcome, Report
from jamba_ray.training.folds import Fit, fit_folds, held_share, member_of_fold
from jamba_ray.training.snapshot_io import to_use

Reporter = Callable[[Sequence[Report]], Sequence[Decision]]


@dataclasses.dataclass(frozen=True)
class FoldCalls:
    """Holds what a trial's folds are told to, which the study's server answers."""

    finished: Callable[[int, int, TrialOutcome], Decision]
    """Called with (trial, fold, result) of each finished fold; ``prune`` ends the trial."""
    between: Callable[[int], Decision]
    """Called with the trial at each report of a further fold; ``stop`` ends it."""
    together: bool = True
    """Whether ``fit`` is that of ``training``, which trains folds of networks as one stack."""


class FoldTrainer:
    """Trains folds 2, 3 ... of one trial after the other and joins all of them to its result."""

    def __init__(
        self,
        data: PreparedData,
        calls: FoldCalls,
        fit: Fit,
        device: str,
        save: Callable[[int, int, Snapshot], str],
        watched: Callable[[Reporter], Reporter],
    ) -> None:
        """Sets up the trainer.

        Args:
            data: Has the folds.
            calls: Answers what follows.
            fit: ``jamba_ray.training.fit``, or its replacement.
            device: Where to train.
            save: Stores a fold's model, with (trial, fold, model).
            watched: Wraps a reporter, so that a fold that hangs is noticed.
        """
        self._data, self._calls, self._fit, self._device = data, calls, fit, device
        self._save, self._watched = save, watched

    def finish(
        self,
        member: Member,
        known: Mapping[int, TrialOutcome],
        first: Outcome | None = None,
        told: TrialOutcome | None = None,
    ) -> TrialOutcome:
        """Returns the result of a trial over its folds.

        Args:
            member: The trial as its first fold was trained.
            known: Its folds that were finished before; nothing of them is trained again.
            first: Its first fold, where that has just ended.
            told: The result of ``first`` as the study takes it.

        Raises:
            TrialError: A fold failed.
        """
        folds, decision = dict(known), self._calls.between(member.trial)
        if first is not None and told is not None:
            if told.state == "stopped":  # by the budget, before its end
                return self._joined({1: told}, "stopped", told.reason)
            folds[1], decision = told, self._keep(member.trial, 1, first, told)

        def finished(fold: int, outcome: Outcome) -> Decision:
            if outcome.state == "stopped":
                return "stop"
            if outcome.state == "pruned":
                return "prune"
            folds[fold] = _result(member.trial, fold, outcome)
            return self._keep(member.trial, fold, outcome, folds[fold])

        if decision == "continue":
            missing = [i for i in range(1, len(self._data.folds) + 1) if i not in folds]
            decision = fit_folds(
                [member_of_fold(member, i) for i in missing],
                self._data.folds,
                self._reporter(member),
                finished,
                fit=self._fit,
                together=self._calls.together,
                device=self._device,
            )
        state = {"continue": "complete", "prune": "pruned", "stop": "stopped"}[decision]
        reason = folds[1].reason
        if decision == "prune":
            reason = f"It fell behind the best trial after {len(folds)} folds."
        return self._joined(folds, state, reason)

    def _joined(
        self, folds: Mapping[int, TrialOutcome], state: str, reason: str | None
    ) -> TrialOutcome:
        return joined(folds, state, reason, held_share(self._data.folds))

    def _reporter(self, member: Member) -> Reporter:
        def ask(reports: Sequence[Report]) -> list[Decision]:
            return [self._calls.between(member.trial)] * len(reports)

        return checked(self._watched(ask), f"val/{member.config.objective}")

    def _keep(self, trial: int, fold: int, outcome: Outcome, told: TrialOutcome) -> Decision:
        """Stores a fold's model, then its result: a result that is known has its model."""
        if outcome.checkpoint is not None:
            self._save(trial, fold, _to_use(outcome.checkpoint, trial))
        return self._calls.finished(trial, fold, told)


def _result(trial: int, fold: int, outcome: Outcome) -> TrialOutcome:
    """Returns a fold's result as the study keeps it.

    Raises:
        TrialError: It has none.
    """
    value = outcome.value
    if outcome.state not in KEPT or value is None or not math.isfinite(value):
        why = outcome.reason or f"its value is {value}"
        raise TrialError(f"fold {fold} failed: {why}")
    return TrialOutcome(
        number=trial,
        state=outcome.state,
        reason=outcome.reason,
        value=value,
        metrics={k: float(v) for k, v in outcome.metrics.items() if is_number(v)},
        best_step=outcome.best_step,
        rows_seen=outcome.rows_seen,
        epochs=outcome.epochs,
        seconds=outcome.seconds,
        goodput_s=outcome.goodput_s,
    )


def _to_use(snapshot: Snapshot, trial: int) -> Snapshot:
    """Returns a model without what only its further training needs, under its trial's number."""
    bare = to_use(snapshot)
    state = {**bare.documents.get("state", {}), "trial": trial}
    return dataclasses.replace(bare, documents={**bare.documents, "state": state})
