"""Names what Optuna keeps to itself and this package uses; no other file does.

What an upgrade of Optuna takes away fails in ``tests/study/test_optuna_private.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import optuna
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIISampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

Transform: TypeAlias = _SearchSpaceTransform


def transform_of(space: Mapping[str, BaseDistribution]) -> Transform:
    """Returns Optuna's own way to the unit cube, so that ``cmaes`` sees what Optuna's sampler would
    show it."""
    return _SearchSpaceTransform(dict(space), transform_0_1=True)


def storage_of(study: optuna.Study) -> BaseStorage:
    """Returns the storage of a study; a public name is there for none."""
    found: BaseStorage = study._storage
    return found


def note_on_trial(study: optuna.Study, trial: FrozenTrial, key: str, value: Any) -> None:
    """Stores a note of a sampler with the trial that it proposes, as Optuna's own samplers do."""
    storage_of(study).set_trial_system_attr(trial._trial_id, key, value)


def note_on_study(study: optuna.Study, key: str, value: Any) -> None:
    """Stores something large with the study: user attributes are copied whenever one is read."""
    storage_of(study).set_study_system_attr(study._study_id, key, value)


def noted_on_study(study: optuna.Study, key: str) -> Any:
    """Returns what ``note_on_study`` stored, or None."""
    return storage_of(study).get_study_system_attrs(study._study_id).get(key)


def survivors(
    sampler: NSGAIISampler, study: optuna.Study, population: Sequence[FrozenTrial]
) -> list[FrozenTrial]:
    """Returns whom NSGA-II lets have children: by rank of front, then by crowding distance."""
    found: list[FrozenTrial] = sampler._elite_population_selection_strategy(study, list(population))
    return found
