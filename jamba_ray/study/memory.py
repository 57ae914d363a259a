"""The study in memory, which notes the rows of every change until they are committed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from jamba_ray.study import rows
from jamba_ray.study.rows import Contents, Row

_STUDY_ID = 0


class StudyMemory(InMemoryStorage):
    """Optuna's in-memory storage with one study; ``take_rows`` hands out what changed.

    Reading costs nothing however many trials there are, and the rows of a whole call are committed
    in one transaction.
    """

    def __init__(self, contents: Contents) -> None:
        super().__init__()
        direction = StudyDirection[contents.direction]
        super().create_new_study([direction], contents.name)
        self._changed: list[Row] = []
        self._touched: set[int] = set()
        self._study_touched = False
        for key, value in contents.user_attrs.items():
            super().set_study_user_attr(_STUDY_ID, key, value)
        for key, value in contents.system_attrs.items():
            super().set_study_system_attr(_STUDY_ID, key, value)
        for trial in contents.trials:
            super().create_new_trial(_STUDY_ID, trial)

    def take_rows(self) -> list[Row]:
        """The rows of all changes since the last call, digests included."""
        taken, self._changed = self._changed, []
        trials = self._studies[_STUDY_ID].trials
        taken += [("digest", [n + 1, rows.digest(trials[n])]) for n in sorted(self._touched)]
        if self._study_touched:
            taken.append(("digest", [rows.STUDY, rows.study_digest(self.contents())]))
        self._touched, self._study_touched = set(), False
        return taken

    def contents(self) -> Contents:
        """The study as it is now."""
        study = self._studies[_STUDY_ID]
        return Contents(
            name=study.name,
            direction=study.directions[0].name,
            user_attrs=study.user_attrs,
            system_attrs=study.system_attrs,
            trials=study.trials,
        )

    # -- changes, each noted ------------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See Optuna."""
        number = super().create_new_trial(study_id, template_trial)
        self._note(number, *rows.new_trial(self.get_trial(number)))
        self._study_touched = True
        return number

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See Optuna."""
        super().set_study_user_attr(study_id, key, value)
        self._changed.append(("study_user", [key, json.dumps(value, allow_nan=False)]))
        self._study_touched = True

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See Optuna."""
        super().set_study_system_attr(study_id, key, value)
        self._changed.append(("study_system", [key, json.dumps(value, allow_nan=False)]))
        self._study_touched = True

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See Optuna."""
        super().set_trial_user_attr(trial_id, key, value)
        text = json.dumps(value, allow_nan=False)
        self._note(trial_id, ("trial_user", [trial_id + 1, key, text]))

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See Optuna."""
        super().set_trial_system_attr(trial_id, key, value)
        text = json.dumps(value, allow_nan=False)
        self._note(trial_id, ("trial_system", [trial_id + 1, key, text]))

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """See Optuna."""
        super().set_trial_intermediate_value(trial_id, step, float(intermediate_value))
        self._note(trial_id, ("report", [trial_id + 1, step, float(intermediate_value)]))

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """See Optuna."""
        floats = None if values is None else [float(v) for v in values]
        done = super().set_trial_state_values(trial_id, state, floats)
        self._note(trial_id, rows.trial_row(self.get_trial(trial_id)))
        if floats is not None:
            self._note(trial_id, ("value", [trial_id + 1, floats[0]]))
        return done

    def _note(self, trial_id: int, *changed: Row) -> None:
        self._changed += changed
        self._touched.add(trial_id)
