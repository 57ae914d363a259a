"""Shows a sampler all trials of a study or some, and keeps what the sampler writes apart."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState


class StudyView:
    """Reads through to a storage, but writes nothing to trials.

    What a sampler notes on the trial that does not exist yet is in ``notes``: those of TPE and GP
    are for other processes, of which there are none; a generation is stored with the trial.
    """

    def __init__(self, storage: Any, trials: Sequence[FrozenTrial] | None) -> None:
        self._storage, self._trials = storage, trials
        self.notes: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> Sequence[FrozenTrial]:
        """Returns the trials that the sampler may see."""
        if self._trials is None:
            found: Sequence[FrozenTrial] = self._storage.get_all_trials(study_id, deepcopy, states)
            return found
        return [t for t in self._trials if states is None or t.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Keeps the note."""
        self.notes[key] = value


def view(
    study: optuna.Study, storage: BaseStorage, trials: Sequence[FrozenTrial] | None = None
) -> optuna.Study:
    """Returns the study in ``storage`` as it is now, or with these ``trials`` alone.

    A new object is needed because ``Study`` caches its list of trials.
    """
    make: Callable[..., optuna.Study] = optuna.Study
    return make(
        study_name=study.study_name,
        storage=StudyView(storage, trials),
        sampler=study.sampler,
        pruner=study.pruner,
    )
