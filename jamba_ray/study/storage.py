"""The study's database: SQLite in WAL mode where a commit survives ``kill -9`` and power loss."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import optuna

from jamba_ray.errors import ConfigError, StorageError
from jamba_ray.runs.refusal import refusal
from jamba_ray.study import lease, recovery, rows
from jamba_ray.study.memory import StudyMemory
from jamba_ray.study.rows import STUDY_NAME, Row

PATIENCE_S = 60.0
"""A disk that refuses is tried again for so long before the study is given up as lost."""
COPY_EVERY_S = 5.0
"""A changed study is copied so often, while it is written or looked at."""
_COPY_SHARE = 0.02
"""A large study less often: copying takes no more than this share of the time. What was committed
since the copy is in the redo log."""

__all__ = ["STUDY_NAME", "StudyDatabase"]


class StudyDatabase:
    """Opens ``study.db`` for its one writer; close it to leave a single, complete file.

    Changes are made to ``storage`` (in memory) and become true with ``commit``. Without ``epoch``
    (see ``lease.take``) it takes the lease itself and gives it back when it is closed. ``waiting``
    is called with a sentence at each try while the disk refuses, and with None after it.

    Raises:
        RunExistsError: Another process writes this study.
        StorageError: The file is damaged beyond repair or not writable.
    """

    def __init__(
        self,
        path: Path,
        direction: Literal["maximize", "minimize"],
        *,
        epoch: int | None = None,
        patience_s: float = PATIENCE_S,
        waiting: Callable[[str | None], None] = lambda sentence: None,
    ) -> None:
        self._path, self._patience_s, self._waiting = path, patience_s, waiting
        self.notes: tuple[str, ...] = ()
        """What was found damaged and how it was made good."""
        self._own = epoch is None
        if epoch is None:
            opened = recovery.open_for_writing(path, direction)
            epoch, self.notes = opened.epoch, opened.notes
        self._epoch, self._writer = epoch, uuid.uuid4().hex
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with contextlib.ExitStack() as undo:
            contents = self._open(undo)
            self._commits = contents.commits
            self._redo = recovery.Redo(path)
            undo.callback(self._redo.close)
            self._copied = -1
            # The first one with the first commit: until there is one, a torn file is lost.
            wait_s = COPY_EVERY_S if recovery.is_there(recovery.copy_of(path)) else 0.0
            self._copy_at = time.monotonic() + wait_s
            self.storage = StudyMemory(contents)
            self.study = optuna.load_study(study_name=STUDY_NAME, storage=self.storage)
            self._check_direction(direction)
            undo.pop_all()

    def _open(self, undo: contextlib.ExitStack) -> rows.Contents:
        path = self._path
        try:
            self._connection = lease.connect(path)
            undo.callback(self._connection.close)
            self._inode = _inode(path)
            # The newest server of a session is its writer, should Ray ever run two.
            self._connection.execute(
                "UPDATE jamba_ray_lease SET writer = ? WHERE epoch = ?", (self._writer, self._epoch)
            )
            self._fence()
            contents = rows.read(self._connection)
            if contents is None:
                raise rows.DamagedError("it holds no study")
            return contents
        except (sqlite3.Error, OSError, rows.DamagedError) as error:
            if recovery.is_refusal(error):
                raise _refused(path, error, 0.0) from error
            raise recovery.unreadable(path, str(error)) from error

    def _check_direction(self, direction: str) -> None:
        if self.study.direction.name.lower() != direction:
            raise ConfigError(
                [
                    f"the study must {direction}, but was begun to "
                    f"{self.study.direction.name.lower()}. Use the same `objective`, or another "
                    "`run=`."
                ]
            )

    def commit(self) -> None:
        """Make all changes to ``storage`` true, in one transaction; returns once they are durable.

        Raises:
            LeaseLostError: Another driver writes this study now; nothing was written.
            StorageError: The disk refused for ``patience_s``. What was committed before is intact;
                the changes in memory are not: open the study anew.
        """
        changed = self.storage.take_rows()
        if not changed:
            return
        changed.append(("commits", [self._commits + 1]))
        try:
            self._commit_patiently(changed)
        finally:
            self._waiting(None)
        self._commits += 1
        self._redo.append(self._commits, changed)
        self.copy_if_due()

    def copy_if_due(self) -> None:
        """Keep ``study.copy.db`` not far behind; a copy that fails is made later."""
        if time.monotonic() >= self._copy_at and self._copied != self._commits:
            self._copy()

    def close(self) -> None:
        """Copy it a last time, fold the write-ahead log into the file and release it."""
        with contextlib.suppress(sqlite3.Error):
            if self._own:
                self._connection.execute(
                    "UPDATE jamba_ray_lease SET holder = '', renewed = 0 "
                    "WHERE epoch = ? AND writer = ?",
                    (self._epoch, self._writer),
                )
        if self._copied != self._commits:
            self._copy()
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()
        self._redo.close()

    def _commit_patiently(self, changed: list[Row]) -> None:
        begun, pause = time.monotonic(), 0.1
        while True:
            try:
                self._commit_once(changed)
                return
            except (sqlite3.Error, OSError) as error:
                if not recovery.is_refusal(error):
                    raise recovery.unreadable(self._path, str(error)) from error
                waited = time.monotonic() - begun
                if waited >= self._patience_s:
                    raise _refused(self._path, error, waited) from error
                self._waiting(refusal(error, waited, self._patience_s))
                time.sleep(max(0.0, min(pause, self._patience_s - waited)))
                pause = min(2 * pause, 5.0)
                self._reconnect()

    def _commit_once(self, changed: list[Row]) -> None:
        # A file that was deleted, or whose disk went away, would be written to without an error.
        if _inode(self._path) != self._inode:
            raise OSError(f"{self._path.name} was replaced by another file")
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._fence()
            for name, given in changed:
                connection.execute(rows.STATEMENTS[name], given)
            connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _fence(self) -> None:
        """The lease is read in the transaction that it guards: nobody can come in between."""
        found = self._connection.execute("SELECT epoch, writer FROM jamba_ray_lease").fetchone()
        if found != (self._epoch, self._writer):
            raise lease.lost_lease(self._path)

    def _reconnect(self) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):
            self._connection.close()
        with contextlib.suppress(sqlite3.Error, OSError):
            self._connection = lease.connect(self._path)

    def _copy(self) -> None:
        begun = time.monotonic()
        with contextlib.suppress(sqlite3.Error, OSError, rows.DamagedError):
            recovery.copy(self._connection, self._path)
            self._copied = self._commits
            self._redo.clear()
        spent = time.monotonic() - begun
        self._copy_at = begun + max(COPY_EVERY_S, spent / _COPY_SHARE)


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _refused(path: Path, error: Exception, waited_s: float) -> StorageError:
    was_not = f"was not for {waited_s:.0f} s" if waited_s >= 0.5 else "is not"
    return StorageError(
        f"{str(path)!r} must be writable, but {was_not} ({error}). "
        "What was acknowledged is intact; free or mount the disk, then `resume=true`."
    )
