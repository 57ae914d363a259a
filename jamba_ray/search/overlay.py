"""A study that can be read but whose notes on trials are held back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna


class Overlay:
    """A storage that reads through and keeps the notes that samplers and pruners make on trials.

    Samplers note draws for other processes, pruners note rungs before they answer. Held back, the
    writer decides whether and in which order they become true.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self.notes: list[tuple[int, str, Any]] = []
        """(trial id, key, value) in the order noted."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Hold the note back."""
        self.notes.append((trial_id, key, value))


def view(study: optuna.Study) -> tuple[optuna.Study, Overlay]:
    """The study as it is now (``Study`` caches its list of trials), and the notes made on it."""
    overlay = Overlay(study._storage)
    make: Callable[..., optuna.Study] = optuna.Study
    seen = make(
        study_name=study.study_name, storage=overlay, sampler=study.sampler, pruner=study.pruner
    )
    return seen, overlay
