"""The study's database: SQLite in WAL mode where a commit survives ``kill -9`` and power loss."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import time
from pathlib import Path
from typing import IO, Literal

import optuna
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from sqlalchemy.pool import QueuePool

from jamba_ray.errors import StorageError

STUDY_NAME = "jamba_ray"
"""The one study in a run's database."""


class StudyDatabase:
    """Opens ``study.db`` for its one writer; close it to leave a single, complete file.

    Raises:
        StorageError: Another process writes this study, or the file is damaged or not writable.
    """

    def __init__(
        self, path: Path, direction: Literal["maximize", "minimize"], *, wait_s: float = 10.0
    ) -> None:
        self._path = path
        self._lock = _lock(path.with_name(f".{path.name}.lock"), wait_s)
        # Optuna announces each study on stderr.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            verify(path)
            backend = RDBStorage(
                "sqlite://", engine_kwargs={"creator": self._connect, "poolclass": QueuePool}
            )
            self._backend = backend
            # The cache spares re-reading finished trials: suggestions stay fast in long studies.
            self.storage = _CachedStorage(backend)
            self.study = optuna.create_study(
                study_name=STUDY_NAME,
                storage=self.storage,
                direction=direction,
                load_if_exists=True,
            )
        except StorageError:
            self._lock.close()
            raise
        except Exception as error:
            self._lock.close()
            raise StorageError(
                f"the study must be readable, but {str(path)!r} is not "
                f"({type(error).__name__}: {str(error).splitlines()[0]}). "
                "Restore it from a copy, or start a new run."
            ) from error

    def close(self) -> None:
        """Fold the write-ahead log into the file and release it."""
        engine = self._backend.engine
        self._backend.remove_session()
        engine.dispose()
        with contextlib.suppress(sqlite3.Error), contextlib.closing(self._connect()) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._lock.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=30.0, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        # FULL: the log is fsynced at each commit, so an acknowledged trial survives power loss.
        connection.execute("PRAGMA synchronous=FULL")
        return connection


def verify(path: Path) -> None:
    """Check a study that exists.

    Raises:
        StorageError: The file is damaged.
    """
    if not path.exists() or path.stat().st_size == 0:
        return
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        verdict = str(error)
    if verdict != "ok":
        raise StorageError(
            f"the study must be intact, but {str(path)!r} is damaged ({verdict}). "
            "Restore it from a copy, or start a new run."
        )


def _lock(path: Path, wait_s: float) -> IO[str]:
    """Hold ``path`` until closed; the system releases it when the process dies, however it dies.

    Waits a little, because the writer of a driver killed a moment ago may not be gone yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held until close)
    except OSError as error:
        raise StorageError(
            f"{str(path.parent)!r} must be writable, but is not ({error.strerror}). "
            "Choose another `store=`."
        ) from error
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                file.close()
                raise StorageError(
                    f"a run must have one writer, but {str(path.parent)!r} is in use by process "
                    f"{holder}. Wait for it, end it, or choose another `run=`."
                ) from None
            time.sleep(0.1)
    file.seek(0)
    file.truncate()
    file.write(f"{os.getpid()} on {os.uname().nodename}")
    file.flush()
    return file
