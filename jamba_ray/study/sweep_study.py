"""Writes the study: notes what runners report and answers with decisions; has no Ray.

There is one writer. Every method that changes something commits before it returns, and may be
called again with the same arguments (a reply can be lost): the second call changes nothing and
gives the same answer.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from optuna.trial import TrialState

from jamba_ray.config.space import Scalar
from jamba_ray.study import identity, measures, sampling, stacks, warm_start
from jamba_ray.study.assignment import Assignment
from jamba_ray.study.candidates import candidates
from jamba_ray.study.ending import Ending, begin_session
from jamba_ray.study.journal import StudyJournal
from jamba_ray.study.records import (
    Answer,
    Packing,
    Paying,
    ReportLine,
    SweepProgress,
    TrialOutcome,
    TrialRecord,
    TrialSpec,
    attributes,
)
from jamba_ray.study.reporting import Decision, Reporting
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.suggestions import Suggestions
from jamba_ray.study.termination import Termination
from jamba_ray.study.trial_index import Live, TrialIndex, record

_MAX_LOSSES = 1
"""How often a trial is continued after the loss of its runner; then it fails."""
_OUTDATED = "the run went on with other settings or data than this trial was begun with"


@dataclass(frozen=True)
class Noted:
    """Holds the decisions on reports that are in memory and not yet on the disk."""

    decisions: list[Decision]
    upto: int
    """The seal to commit before the decisions are sent."""


class SweepStudy:
    """Opens the study at ``path``, new or begun; ``session`` tells this driver from earlier ones.

    Trials that another session left unfinished are handed out first. ``waiting``: see
    ``StudyJournal``.

    Raises:
        StorageError: See ``StudyJournal``.
        ConfigError: The study was begun with other settings or data, or the grid is infinite.
    """

    def __init__(
        self,
        path: Path,
        settings: StudySettings,
        *,
        session: str = "",
        epoch: int | None = None,
        clock: Callable[[], float] = time.time,
        waiting: Callable[[str | None], None] = lambda sentence: None,
    ) -> None:
        self._settings = settings
        self._journal = StudyJournal(
            path, *settings.directions, epoch=epoch, patience_s=settings.patience_s, waiting=waiting
        )
        self._notes: list[str] = []
        try:
            self._storage, self._study = self._journal.storage, self._journal.study
            self._suggestions = Suggestions(self._study, self._storage, settings)
            changed = self._check_identity()
            self._trial_index = TrialIndex(settings.direction)
            trials = self._study.get_trials(deepcopy=False)
            study_id = self._storage.get_study_id_from_name(self._study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number
            self._trial_index.load(trials, session, partial(trial_id, study_id))
            for trial in trials:
                self._suggestions.note(trial)
            self._ending = Ending(
                settings,
                self._trial_index,
                self._suggestions,
                clock,
                *begin_session(self._study, session, clock()),
                Termination(self._study, settings),
            )
            self._reporting = Reporting(
                self._storage,
                self._trial_index,
                sampling.make_pruner(settings, trials, self._study),
                self._ending,
                settings,
                clock,
            )
            self._assignment = Assignment(
                self._study,
                self._storage,
                self._trial_index,
                self._suggestions,
                self._ending,
                settings,
                clock,
            )
            for number in list(self._trial_index.live) if changed else []:
                self._finish(TrialOutcome(number, "failed", reason=_OUTDATED))
            self._journal.commit()
        except BaseException:
            self._journal.close()
            raise

    # -- asked by the searcher ---------------------------------------------------------------

    def ask(self, ticket: str) -> Answer:
        """Returns a trial for the runner that holds ``ticket``, or the reason why there is none."""
        answer = self._assignment.ask(ticket)
        self._journal.commit()
        return answer

    def fill(self, ticket: str, size: int, *, new: bool = True) -> list[TrialSpec]:
        """Adds trials of the same structure to those of the runner of ``ticket``; returns all.

        Up to ``size`` trials: first those of that structure that wait for a runner, then, if
        ``new``, new ones. New ones are not added while trials of other structures wait, nor
        beyond this runner's share of the remaining trials, nor beyond what ``study.stacks``
        allows. A trial whose runner was lost trains alone, so that it cannot end other trials
        too.
        """
        specs = self._assignment.fill(ticket, size, new=new)
        self._journal.commit()
        return specs

    def packing(self, structure: str) -> Packing | None:
        """Returns the measured packing of a structure; None: no runner has measured it yet."""
        return stacks.packing(self._study, structure)

    def keep_packing(self, structure: str, found: Paying) -> Packing:
        """Stores a runner's measurement for all runners and sessions; the first one wins."""
        s = self._settings
        pruned = s.pruner.name != "none"
        chosen = stacks.chosen(found, s.space, s.n_trials, s.runners, pruned=pruned)
        stacks.keep_packing(self._study, structure, chosen, found.rows_per_s)
        self._journal.commit()
        return self.packing(structure) or chosen

    def lost(self, ticket: str, why: str, *, charged: bool = True) -> None:
        """Continues each trial of a lost runner once; at the second loss the trial fails.

        If not ``charged`` (the node was lost, which no trial caused), the trials are always
        continued. Which trial of a stack hung shows when each of them continues alone.
        """
        held = self._trial_index.holders(ticket)
        for number in held:
            live = self._trial_index.live[number]
            if charged and len(held) == 1 and (hung := self._reporting.hung(live)):
                self._finish(TrialOutcome(number=number, state="failed", reason=hung))
                continue
            if charged and live.losses >= _MAX_LOSSES:
                self._finish(TrialOutcome(number=number, state="failed", reason=why))
                continue
            if charged:
                self._storage.set_trial_user_attr(live.trial_id, "losses", live.losses + 1)
                live.losses += 1
            self._assignment.give(live, "")
            self._trial_index.waiting.append(number)
        self._journal.commit()

    def spoil(self, why: str) -> None:
        """Starts no more trials and fails running ones at their next report: the data changed."""
        self._ending.spoil(why)
        for live in self._trial_index.live.values():
            live.spoilt = live.spoilt or why

    def enqueue(self, params: Mapping[str, Scalar]) -> None:
        """Uses these values in the next new trial (see ``Suggestions.enqueue``)."""
        self._suggestions.enqueue(params)
        self._journal.commit()

    # -- called by the runners -----------------------------------------------------------------

    def report(self, reports: Sequence[ReportLine]) -> list[Decision]:
        """Notes one report of each of some trials and returns a decision for each."""
        noted = self.note_reports(reports)
        self.commit(noted.upto)
        return noted.decisions

    def note_reports(self, reports: Sequence[ReportLine]) -> Noted:
        """Notes reports without a commit: call ``commit(upto)`` before sending the decisions."""
        decisions = [self._reporting.note(report) for report in reports]
        return Noted(decisions, self._journal.seal())

    def commit(self, upto: int) -> None:
        """Makes changes durable (see ``StudyJournal.commit``).

        It is the only method that other threads may call at the same time.
        """
        self._journal.commit(upto)

    def saved(self, number: int, step: int) -> None:
        """Notes that a running trial has a resumable checkpoint at ``step``.

        If the checkpoint is missing when the trial is continued, the loss is noticed.
        """
        live = self._trial_index.live.get(number)
        if live is not None and live.saved != step:
            self._storage.set_trial_user_attr(live.trial_id, "saved", step)
            live.saved = step
            self._journal.commit()

    def fold(self, number: int, fold: int, result: TrialOutcome) -> Decision:
        """Notes a finished fold of a trial and returns whether the next one is trained."""
        decision = self._reporting.fold(number, fold, result)
        self._journal.commit()
        return decision

    def between_folds(self, number: int) -> Decision:
        """Returns whether a trial that trains its further folds may go on."""
        return self._reporting.between_folds(number)

    def finish(self, finish: TrialOutcome) -> None:
        """Notes how a trial ended; a complete trial fails if its value is not a finite number."""
        self._finish(finish)
        self._journal.commit()

    def _finish(self, finish: TrialOutcome) -> None:
        live = self._trial_index.live.get(finish.number)
        if live is None:
            return
        finish = self._judged(finish, live)
        state, values = measures.optuna_end(finish, live, self._settings)
        self._storage.set_trial_user_attr(live.trial_id, "outcome", attributes(finish))
        if finish.reason is not None:
            self._storage.set_trial_user_attr(live.trial_id, "reason", finish.reason)
        if state == TrialState.COMPLETE:
            for key, by in measures.violations(finish, self._settings).items():
                self._storage.set_trial_system_attr(live.trial_id, key, by)
        self._storage.set_trial_state_values(live.trial_id, state, values)
        ended = self._storage.get_trial(live.trial_id)
        self._suggestions.note(ended)
        self._reporting.ended(ended)
        self._trial_index.ended(finish.number, record(ended))

    # -- read by the driver ------------------------------------------------------------------

    def progress(self, after: int = 0) -> SweepProgress:
        """Returns the progress of the sweep.

        ``finished`` has the trials after the first ``after`` ones, in the order in which they
        finished.
        """
        trial_index, n = self._trial_index, self._settings.n_trials
        return SweepProgress(
            n_trials=min(n, self._suggestions.n_combinations or n),
            counts=trial_index.counts(),
            best=trial_index.best,
            running=trial_index.running(),
            finished=tuple(trial_index.records[number] for number in trial_index.order[after:]),
            failures=trial_index.failures(),
            elapsed_s=self._ending.elapsed_s,
            earlier_s=self._ending.earlier_s,
            goodput_s=trial_index.all_goodput_s(),
            runners=self._settings.runners,
            ended=self._ending.said,
        )

    def nothing_left(self) -> str | None:
        """Returns why there is no work left; None: there may be some."""
        return self._ending.nothing_left()

    def records(self) -> list[TrialRecord]:
        """Returns every trial by number, unfinished ones as running."""
        return [record(trial) for trial in self._study.get_trials(deepcopy=False)]

    def standing(self, keep: int, n_candidates: int = 0) -> tuple[list[int], list[int]]:
        """Returns (the trials whose checkpoints stay, all finished ones).

        The former are the best ``keep`` complete trials and, where a team is sought among
        ``n_candidates``, its candidates.
        """
        index = self._trial_index
        kept = list(dict.fromkeys([*index.ranked(keep), *index.front(self._settings.directions)]))
        if n_candidates:
            ranking = ((n, str(index.records[n].params.get("model.name"))) for n in index.ranked())
            kept = list(dict.fromkeys([*kept, *candidates(ranking, n_candidates)]))
        return kept, sorted(index.records)

    def give_up(self, why: str) -> None:
        """Fails the trials that never ended."""
        for number in list(self._trial_index.live):
            self._finish(TrialOutcome(number=number, state="failed", reason=why))
        self._journal.commit()

    def keep_note(self, sentence: str) -> None:
        """Stores a sentence for the summaries of this session and later ones."""
        kept: list[str] = self._study.user_attrs.get("notes", [])
        if sentence not in kept:
            self._study.set_user_attr("notes", [*kept, sentence])
            self._journal.commit()

    def notes(self) -> list[str]:
        """Returns sentences for the user: damage, changes on resume, and stored notes."""
        earlier = warm_start.kept(self._study)
        warm = [warm_start.in_words(earlier)] if earlier else []
        kept = self._study.user_attrs.get("notes", [])
        return [*self._journal.notes, *self._notes, *warm, *kept]

    def close(self) -> None:
        """Closes the file."""
        self._journal.close()

    # -- opening -----------------------------------------------------------------------------

    def _check_identity(self) -> bool:
        """Returns whether the run continues with other settings or data than it was begun with."""
        s = self._settings
        mine = identity.identity(s)
        known = self._study.user_attrs.get("identity")
        if known is None:
            self._suggestions.begin_with(s.first)
            if s.warm:
                warm_start.keep(self._study, s.warm)
            self._study.set_user_attr("identity", mine)
            return False
        changes = identity.accepted_changes(known, mine, s)
        if changes:
            # Of what is enqueued now, what was not is tried next; trial 0 is long decided.
            self._suggestions.begin_with(replace(s.first, defaults=None))
            self._notes += [identity.note(change) for change in changes]
            earlier = self._study.user_attrs.get("changes", [])
            self._study.set_user_attr("changes", [*earlier, [c.text for c in changes]])
            self._study.set_user_attr("identity", mine)
        return bool(changes)

    # -- finishing ---------------------------------------------------------------------------

    def _judged(self, finish: TrialOutcome, live: Live) -> TrialOutcome:
        """Returns the outcome as the study stores it: a complete trial needs a finite value."""
        state, reason = finish.state, finish.reason
        if live.spoilt is not None:
            state, reason = "failed", reason if finish.state == "failed" else live.spoilt
        elif state == "stopped":
            reason = reason or self._ending.out_of_time() or "it was told to stop"
            # A model that was stopped early still has the value that was measured. One of fewer
            # folds is not ranked beside whole ones.
            is_whole = len(finish.folds) >= self._settings.folds or self._trial_index.best is None
            state = "complete" if is_whole else "pruned"
        if state == "complete" and (lack := measures.lacking(finish, self._settings)):
            state, reason = "failed", lack
        sound = {k: float(v) for k, v in finish.metrics.items() if math.isfinite(v)}
        return replace(finish, state=state, reason=reason, metrics=sound)
