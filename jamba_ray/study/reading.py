"""Reads a study without being its writer: during a sweep, after it, or after a crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage

from jamba_ray.config.direction import Direction
from jamba_ray.errors import RunExistsError, StorageError, one_line
from jamba_ray.study import lease, old_study, recovery
from jamba_ray.study.backend import JournalBackend
from jamba_ray.study.records import Stay, TrialRecord
from jamba_ray.study.recovery import STUDY_NAME
from jamba_ray.study.trial_index import record, stays_of


@dataclass(frozen=True)
class StudyReading:
    """Holds the content of a study at one moment."""

    trials: tuple[TrialRecord, ...]
    """By number; those without an end are running (or their sweep was killed)."""
    begun: Mapping[int, datetime]
    """Trial number -> when it was begun, local time."""
    ended: Mapping[int, datetime]
    """Trial number -> when it ended; unfinished ones are missing."""
    stays: Mapping[int, tuple[Stay, ...]]
    """Trial number -> the runners that trained it; those of which no runner is known are missing.
    """
    distributions: Mapping[str, BaseDistribution]
    """Parameter -> where its values come from, in the order of their first use."""
    direction: Direction
    """Which way the objective is better, by the study itself: it has one before its identity."""
    identity: Mapping[str, Any]
    """``objective``, ``direction`` and the fingerprints of the configuration and the data."""
    sessions: Mapping[str, float]
    """Driver session -> Unix time at which it began; the first one dates the study."""


def read_study(path: Path) -> StudyReading:
    """Reads a study (or an earlier version's ``study.db`` beside it), without a lock or a change.

    Raises:
        StorageError: There is no study at ``path``, or it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.load_study(study_name=STUDY_NAME, storage=_storage(path))
        trials = study.get_trials(deepcopy=False)
        attributes = study.user_attrs
    except Exception as error:
        raise StorageError(
            f"the study must be readable, but {str(path)!r} is not "
            f"({one_line(error)}). Give the folder of a sweep that has begun."
        ) from error
    distributions: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            distributions.setdefault(name, distribution)
    return StudyReading(
        trials=tuple(record(trial) for trial in trials),
        begun={t.number: t.datetime_start for t in trials if t.datetime_start is not None},
        ended={t.number: t.datetime_complete for t in trials if t.datetime_complete is not None},
        stays={t.number: stays for t in trials if (stays := stays_of(t))},
        distributions=distributions,
        direction="minimize" if study.directions[0].name == "MINIMIZE" else "maximize",
        identity=dict(attributes.get("identity", {})),
        sessions=dict(attributes.get("sessions", {})),
    )


def begun_with(path: Path) -> Mapping[str, Any]:
    """Returns the identity of the study at ``path``; empty where none has begun or none can be
    read: whoever opens it says why."""
    try:
        if found := recovery.content(path).data:
            return recovery.identity_in(found)
        return read_study(path).identity if old_study.path_beside(path).exists() else {}
    except (OSError, ValueError, StorageError):
        return {}


def has_study(path: Path) -> bool:
    """Says whether a study has begun here, by this version or an earlier one."""
    files = (path, recovery.copy_of(path), old_study.path_beside(path))
    return any(file.exists() for file in files)


def is_being_written(path: Path) -> bool:
    """Says whether a driver holds the study's lease."""
    try:
        lease.check_free(path)
    except RunExistsError:
        return True
    return False


def _storage(path: Path) -> JournalStorage:
    found = recovery.content(path)
    storage = JournalStorage(JournalBackend(found.data))
    old = old_study.path_beside(path)
    if not found.data and old.exists():
        old_study.read(storage, old)
    elif not found.data:
        raise ValueError("it holds no study")
    return storage
