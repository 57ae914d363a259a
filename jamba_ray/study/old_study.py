"""Reads the study of version 0.1 from ``study.db`` (SQLite), to continue it in a journal."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial

from jamba_ray.errors import JambaError, StorageError
from jamba_ray.study import lease

_FILES = ("study.db", "study.db-wal", "study.db-shm", "study.copy.db", "study.redo")
_STUDY = 0
"""``trial_id`` of the study's own digest; Optuna's ids begin at 1."""


def path_beside(path: Path) -> Path:
    """Returns where the study of an older version would be, beside a journal."""
    return path.with_name("study.db")


def copy_into(storage: BaseStorage, old: Path, path: Path) -> str:
    """Copies an older study into an empty storage and returns a sentence about it.

    Raises:
        RunExistsError: A driver of the older version writes it.
        StorageError: Both it and its copy are damaged.
    """
    found, wrong = None, []
    for file in (old, old.with_name("study.copy.db")):
        try:
            with _opened(file) as (backend, connection):
                _refuse_if_held(connection, old)
                _check(backend, connection)
                _copy(backend, storage)
            found = file
            break
        except JambaError:
            raise
        except Exception as error:  # whatever SQLite, SQLAlchemy and Optuna find wrong
            wrong.append(f"{file.name}: {error}")
    if found is None:
        raise StorageError(
            f"the study must be intact, but {str(old)!r} is damaged ({'; '.join(wrong)}) and there "
            "is no good copy beside it. Restore it from a copy, or start a new run."
        )
    why = f" (study.db is damaged: {wrong[0]})" if wrong else ""
    return (
        f"{found.name} of an earlier version was read{why}; the study goes on in {path.name}. "
        f"The old file is kept as {old.name}.imported."
    )


def read(storage: BaseStorage, old: Path) -> None:
    """Copies an older study into an empty storage for a reader, even while a driver writes it."""
    with _opened(old) as (backend, _):
        _copy(backend, storage)


def set_aside(old: Path) -> None:
    """Renames an older study after it was copied, so that it is not taken for the newest."""
    for name in _FILES:
        with contextlib.suppress(FileNotFoundError):
            file = old.with_name(name)
            file.replace(file.with_name(f"{name}.imported"))


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[tuple[RDBStorage, sqlite3.Connection]]:
    """Opens the file read-only, as Optuna's storage and as a plain connection."""
    from sqlalchemy.pool import NullPool  # of Optuna, as is its storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # A study that was closed has no write-ahead log, and 'immutable' spares SQLite the files that
    # it would make beside it.
    closed = not file.with_name(f"{file.name}-wal").exists()
    uri = f"{file.resolve().as_uri()}?{'immutable=1' if closed else 'mode=ro'}"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=30.0, check_same_thread=False)

    with contextlib.closing(connect()) as connection:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise ValueError(verdict)
        backend = RDBStorage(
            "sqlite://",
            engine_kwargs={"creator": connect, "poolclass": NullPool},
            skip_table_creation=True,
        )
        try:
            yield backend, connection
        finally:
            backend.remove_session()
            backend.engine.dispose()


def _copy(backend: RDBStorage, storage: BaseStorage) -> None:
    (study,) = backend.get_all_studies()
    name = study.study_name
    optuna.copy_study(
        from_study_name=name, from_storage=backend, to_storage=storage, to_study_name=name
    )


def _refuse_if_held(connection: sqlite3.Connection, old: Path) -> None:
    holder, renewed = connection.execute("SELECT holder, renewed FROM jamba_ray_lease").fetchone()
    process = json.loads(holder) if holder else None
    lease.refuse_if_held(lease.Holder(0, process, renewed), old)


def _check(backend: RDBStorage, connection: sqlite3.Connection) -> None:
    """Raises ValueError if a stored digest does not match: SQLite itself has no checksums."""
    digests = dict(connection.execute("SELECT trial_id, sha256 FROM jamba_ray_digests"))
    (study,) = backend.get_all_studies()
    study_id = backend.get_study_id_from_name(study.study_name)
    trials = backend.get_all_trials(study_id, deepcopy=False)
    direction = study.direction.name
    own = [direction, study.user_attrs, study.system_attrs, len(trials)]
    found = {_STUDY: _sha256(own)} | {t.number + 1: _digest(t) for t in trials}
    if found != digests:
        wrong = sorted(k for k in {*found, *digests} if found.get(k) != digests.get(k))
        what = "the study's own record" if wrong[0] == _STUDY else f"trial {wrong[0] - 1}"
        raise ValueError(f"{what} is not as it was written")


def _digest(trial: FrozenTrial) -> str:
    kinds = trial.distributions
    params = [
        [name, kinds[name].to_internal_repr(value), distribution_to_json(kinds[name])]
        for name, value in sorted(trial.params.items())
    ]
    began, ended = _utc(trial.datetime_start), _utc(trial.datetime_complete)
    return _sha256(
        [
            [trial.number + 1, trial.number, trial.state.name, began, ended],
            trial.values,
            params,
            sorted(trial.intermediate_values.items()),
            trial.user_attrs,
            trial.system_attrs,
        ]
    )


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _utc(local: datetime.datetime | None) -> str | None:
    if local is None:
        return None
    return local.astimezone(datetime.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
