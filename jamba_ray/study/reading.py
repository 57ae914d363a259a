"""The study read by somebody who is not its writer: during a sweep, after it, after a crash."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import RDBStorage
from sqlalchemy.pool import NullPool

from jamba_ray.errors import JambaError, RunExistsError, StorageError
from jamba_ray.study import lease
from jamba_ray.study.records import TrialRecord
from jamba_ray.study.rows import STUDY_NAME
from jamba_ray.study.trial_index import record


@dataclass(frozen=True)
class StudyReading:
    """What a study held at one moment."""

    trials: tuple[TrialRecord, ...]
    """By number; those without an end are running (or their sweep was killed)."""
    begun: Mapping[int, datetime]
    """Trial number -> when it was begun, local time."""
    ended: Mapping[int, datetime]
    """Trial number -> when it ended; unfinished ones are missing."""
    distributions: Mapping[str, BaseDistribution]
    """Parameter -> where its values come from, in the order of their first use."""
    identity: Mapping[str, Any]
    """``objective``, ``direction`` and the fingerprints of the configuration and the data."""
    sessions: Mapping[str, float]
    """Driver session -> Unix time at which it began; the first one dates the study."""


def read_study(path: Path) -> StudyReading:
    """Read ``study.db`` without a lock and without leaving a trace beside it.

    Raises:
        StorageError: There is no study at ``path``, or it is damaged.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        backend = RDBStorage(
            "sqlite://",
            engine_kwargs={"creator": lambda: _connect(path), "poolclass": NullPool},
            skip_table_creation=True,
        )
        try:
            study = optuna.load_study(study_name=STUDY_NAME, storage=backend)
            trials = study.get_trials(deepcopy=False)
            attributes = study.user_attrs
        finally:
            backend.remove_session()
            backend.engine.dispose()
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise StorageError(
            f"the study must be readable, but {str(path)!r} is not "
            f"({type(error).__name__}: {lines[0] if lines else 'no message'}). "
            "Give the folder of a sweep that has begun."
        ) from error
    distributions: dict[str, BaseDistribution] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            distributions.setdefault(name, distribution)
    return StudyReading(
        trials=tuple(record(trial) for trial in trials),
        begun={t.number: t.datetime_start for t in trials if t.datetime_start is not None},
        ended={t.number: t.datetime_complete for t in trials if t.datetime_complete is not None},
        distributions=distributions,
        identity=dict(attributes.get("identity", {})),
        sessions=dict(attributes.get("sessions", {})),
    )


def is_being_written(path: Path) -> bool:
    """Whether a driver holds the study's lease."""
    try:
        with contextlib.closing(_connect(path)) as connection:
            lease.refuse_if_held(connection, path)
    except RunExistsError:
        return True
    except (sqlite3.Error, JambaError):
        return False
    return False


def _connect(path: Path) -> sqlite3.Connection:
    """A connection that cannot write.

    A study that was closed has no write-ahead log; 'immutable' then spares SQLite the files that
    it would make (and a read-only connection could not remove).
    """
    closed = not path.with_name(f"{path.name}-wal").exists()
    mode = "immutable=1" if closed else "mode=ro"
    uri = f"{path.resolve().as_uri()}?{mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=30.0, check_same_thread=False)
    with contextlib.suppress(sqlite3.Error):
        connection.execute("PRAGMA query_only=1")
    return connection
