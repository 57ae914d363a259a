"""Assigns trials to runners: a runner has a ticket, and a trial names its runner's ticket."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.storages import JournalStorage

from jamba_ray.config.space import Params
from jamba_ray.study import stacks, warm_start
from jamba_ray.study.ending import Ending
from jamba_ray.study.folds import stored
from jamba_ray.study.proposal import whole_trial
from jamba_ray.study.records import Answer, TrialSpec
from jamba_ray.study.settings import StudySettings
from jamba_ray.study.suggestions import NOTES, Suggestions
from jamba_ray.study.trial_index import Live, TrialIndex


class Assignment:
    """Gives trials to runners, first waiting ones, then new ones; does not commit."""

    def __init__(
        self,
        study: optuna.Study,
        storage: JournalStorage,
        trial_index: TrialIndex,
        suggestions: Suggestions,
        ending: Ending,
        settings: StudySettings,
        clock: Callable[[], float],
    ) -> None:
        self._study, self._storage, self._trial_index = study, storage, trial_index
        self._study_id = storage.get_study_id_from_name(study.study_name)
        self._suggestions, self._ending = suggestions, ending
        self._settings, self._clock = settings, clock

    def ask(self, ticket: str) -> Answer:
        """Returns a trial for the runner that holds ``ticket``, or the reason why there is none."""
        for number in self._trial_index.holders(ticket):
            return Answer(spec=self._spec(number))
        ended = self._ending.why_no_more()
        if ended is None and self._trial_index.waiting:
            number = self._trial_index.waiting[0]
            self.give(self._trial_index.live[number], ticket)
            self._trial_index.waiting.popleft()
            return Answer(spec=self._spec(number))
        if ended is None:
            number = self._trial_index.n_begun
            params, marks = self._suggestions.next(number, structure=self._new_structure(number))
            if params is not None:
                self._create(params, {"ticket": ticket, **marks})
                return Answer(spec=self._spec(number))
            ended = self._suggestions.exhausted()
        return Answer(ended=self._ending.say(ended))

    def fill(self, ticket: str, size: int, *, new: bool) -> list[TrialSpec]:
        """Adds trials of the same structure to a runner's trials (see ``SweepStudy.fill``)."""
        held = sorted(self._trial_index.holders(ticket))
        if held and not any(self._trial_index.live[number].losses for number in held):
            structure = self._settings.space.structure(self._trial_index.live[held[0]].params)
            held += self._take_waiting(ticket, structure, size - len(held))
            if new and not self._trial_index.waiting:
                held += self._create_more(ticket, held, structure, size)
        return [self._spec(number) for number in sorted(held)]

    def give(self, live: Live, ticket: str) -> None:
        """Records ``ticket`` as the holder of this trial; empty: it has no runner."""
        self._storage.set_trial_user_attr(live.trial_id, "ticket", ticket)
        live.ticket, live.heard = ticket, self._clock()

    def _create(self, params: Params, attrs: Mapping[str, Any]) -> None:
        marks = {key: value for key, value in attrs.items() if key != NOTES}
        now = datetime.datetime.now()
        trial = whole_trial(params, self._settings.space, marks, now, attrs.get(NOTES))
        trial_id = self._storage.create_new_trial(self._study_id, trial)
        begun = self._storage.get_trial(trial_id)
        self._suggestions.note(begun)
        self._trial_index.begin(begun, trial_id).heard = self._clock()

    def _spec(self, number: int) -> TrialSpec:
        live = self._trial_index.live[number]
        structure = self._settings.space.structure(live.params)
        kept = {str(i): stored(one) for i, one in live.folds.items()}
        resumed = live.step > 0
        params = dict(live.params)
        return TrialSpec(number, params, resumed, live.step, live.saved, structure, kept)

    def _take_waiting(self, ticket: str, structure: Params, n: int) -> list[int]:
        """Takes at most ``n`` waiting trials of this structure that never lost a runner."""
        live, structure_of = self._trial_index.live, self._settings.space.structure
        taken = [
            number
            for number in self._trial_index.waiting
            if not live[number].losses and structure_of(live[number].params) == structure
        ][: max(0, n)]
        for number in taken:
            self.give(live[number], ticket)
            self._trial_index.waiting.remove(number)
        return taken

    def _new_structure(self, number: int) -> Params | None:
        """Returns the structure for a first stack's first trial; None: the sampler chooses it."""
        s, begun = self._settings, len(self._trial_index.stacks)
        explores = s.stack > 1 and s.sampler.name in ("tpe", "gp", "random", "cmaes")
        explores = explores and not warm_start.kept(self._study)
        if not (explores and stacks.has_structures(s.space) and begun < s.sampler.n_startup_trials):
            return None
        tried = [
            s.space.structure(trial.params) for trial in self._study.get_trials(deepcopy=False)
        ]
        return self._suggestions.new_structure(number, tried)

    def _create_more(self, ticket: str, held: list[int], structure: Params, size: int) -> list[int]:
        s, stack = self._settings, self._trial_index.live[held[0]].stack
        share = math.ceil((s.n_trials - self._trial_index.n_begun) / s.runners)
        exploring = self._trial_index.is_among_first_stacks(stack, s.sampler.n_startup_trials)
        limit = stacks.trials_in_stack(s.space, s.n_trials, size, exploring=exploring)
        room = limit - self._trial_index.stacks[stack]
        now = stacks.at_a_time_now(size, self._trial_index.n_begun, s.runners, s.begin_with)
        made: list[int] = []
        while len(made) < min(now - len(held), share, room) and self._ending.why_no_more() is None:
            number = self._trial_index.n_begun
            params, marks = self._suggestions.next(number, structure=structure, joins=True)
            if params is None:
                break
            self._create(params, {"ticket": ticket, "stack": stack, **marks})
            made.append(number)
        return made
