"""A study as a sampler sees it: all of its trials or some, and notes on them are dropped."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState


class StudyView:
    """A storage that reads through, except for what samplers note on trials for other processes:
    there are none, and the trial will be created whole."""

    def __init__(self, storage: Any, trials: Sequence[FrozenTrial] | None) -> None:
        self._storage, self._trials = storage, trials

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> Sequence[FrozenTrial]:
        """Those that are to be seen."""
        if self._trials is None:
            found: Sequence[FrozenTrial] = self._storage.get_all_trials(study_id, deepcopy, states)
            return found
        return [t for t in self._trials if states is None or t.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Drop the note."""


def view(
    study: optuna.Study, storage: BaseStorage, trials: Sequence[FrozenTrial] | None = None
) -> optuna.Study:
    """Returns the study in ``storage`` as it is now (``Study`` caches its list of trials), or with
    these ``trials`` alone."""
    make: Callable[..., optuna.Study] = optuna.Study
    return make(
        study_name=study.study_name,
        storage=StudyView(storage, trials),
        sampler=study.sampler,
        pruner=study.pruner,
    )
