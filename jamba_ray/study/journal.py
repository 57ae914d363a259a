"""Writes the study's journal: each commit is one checksummed write that is durable when it returns.

``study.journal`` holds Optuna's own operations, one JSON object a line: plain Optuna
(``JournalFileBackend``) and ``optuna-dashboard`` read it. ``study.copy.journal`` beside it is a
second copy of the same file, from which a damaged one is repaired.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
from optuna.storages import JournalStorage

from jamba_ray.checkpoints import Failure, Patience, retry
from jamba_ray.config.direction import Direction
from jamba_ray.errors import ConfigError, StorageError
from jamba_ray.runs.checked_lines import encode
from jamba_ray.runs.refusal import refusal
from jamba_ray.study import lease, recovery
from jamba_ray.study.backend import JournalBackend
from jamba_ray.study.recovery import STUDY_NAME, copy_of

PATIENCE_S = 60.0
"""Seconds for which a failed write is retried before it raises ``StorageError``."""
SYNC_COPY_S = 5.0
"""Seconds between two fsyncs of the copy; the journal itself is synced at each commit."""
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC

__all__ = ["STUDY_NAME", "StudyJournal"]


class StudyJournal:
    """Opens ``study.journal`` for its only writer.

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
        *directions: Direction,
        epoch: int | None = None,
        patience_s: float = PATIENCE_S,
        waiting: Callable[[str | None], None] = lambda sentence: None,
    ) -> None:
        self._path, self._patience_s, self._waiting = path, patience_s, waiting
        self._own = epoch is None
        notes: tuple[str, ...] = ()
        if epoch is None:
            opened = recovery.open_for_writing(path, *directions)
            epoch, notes = opened.epoch, opened.notes
        self._epoch, self._writer = epoch, uuid.uuid4().hex
        self._turn = threading.Lock()
        self._failed: BaseException | None = None
        self._files: list[int] = []
        self._synced_copy = time.monotonic()
        try:
            with recovery.refused(path):
                lease.adopt(path, epoch, self._writer)
                with lease.held(path, epoch, self._writer):
                    whole = recovery.make_whole(path)
                self._end = whole.end
                self._inode = _inode(path)
            self.notes = [*notes, *whole.notes]
            """What was found damaged or foreign, and what was done about it."""
            self._backend = JournalBackend(whole.data)
            with recovery.replayed(path):
                self.storage = JournalStorage(self._backend)
                self.study = optuna.load_study(study_name=STUDY_NAME, storage=self.storage)
            self._check_direction(directions)
        except BaseException:
            self.close()
            raise

    def _check_direction(self, directions: Sequence[str]) -> None:
        begun = [one.name.lower() for one in self.study.directions]
        if begun != list(directions):
            raise ConfigError(
                [
                    f"the study must {', '.join(directions)}, but was begun to {', '.join(begun)}. "
                    "Use the same `objective`, or another `run=`."
                ]
            )

    def seal(self) -> int:
        """Ends a group of changes that belong together; returns the number for ``commit``."""
        return self._backend.seal()

    def commit(self, upto: int | None = None) -> None:
        """Writes the changes up to a seal (None: all so far) and returns once they are durable.

        Several threads may wait: the first one writes the changes of all of them at once.

        Raises:
            LeaseLostError: Another driver writes this study now; nothing was written.
            StorageError: The disk refused for ``patience_s``. What was committed before is intact;
                the changes in memory are not: open the study again.
        """
        upto = self._backend.seal() if upto is None else upto
        with self._turn:
            if self._backend.n_written >= upto:
                return
            if self._failed is not None:
                raise self._failed
            operations = self._backend.sealed()
            data, end = encode(operations, self._end)
            try:
                self._write_patiently(data)
            except BaseException as error:
                self._failed = error
                raise
            finally:
                self._waiting(None)
            self._end = end
            self._backend.written(len(operations))

    def close(self) -> None:
        """Closes the files, and gives the lease back where it was taken here."""
        with self._turn:
            for file in self._files:
                with contextlib.suppress(OSError):
                    os.fsync(file)
            self._close_files()
        if self._own:
            lease.give_back(self._path, self._epoch, self._writer)

    def _write_patiently(self, data: bytes) -> None:
        def failed(failure: Failure) -> None:
            error = failure.error
            if not isinstance(error, OSError):
                raise error
            self._close_files()
            if failure.is_last:
                raise _refused(self._path, error, failure.waited_s) from error
            self._waiting(refusal(error, failure.waited_s, self._patience_s))

        retry(lambda: self._write_once(data), Patience(self._patience_s, 0.1, 5.0), failed)

    def _write_once(self, data: bytes) -> None:
        """Writes a commit at its offset; may be repeated after an unfinished try."""
        # A file that was deleted, or whose disk went away, would be written to without an error.
        if _inode(self._path) != self._inode:
            raise OSError(f"{self._path.name} was replaced by another file")
        with self._fence():
            main, *copies = self._opened()
            self._remove_foreign(main)
            try:
                _write_at(main, data, self._end.size)
                _sync(main)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(main, self._end.size)
                raise
            for copy in copies:
                # A copy that cannot be written only loses the chance to repair the journal.
                with contextlib.suppress(OSError):
                    _write_at(copy, data, self._end.size)
                    self._sync_now_and_then(copy)

    def _remove_foreign(self, main: int) -> None:
        """Removes what follows the last commit, such as a note made in optuna-dashboard."""
        if os.fstat(main).st_size > self._end.size:
            tail = os.pread(main, recovery.MAX_TAIL, self._end.size)
            if (note := recovery.foreign(self._path, tail)) and note not in self.notes:
                self.notes.append(note)
            os.ftruncate(main, self._end.size)

    def _fence(self) -> contextlib.AbstractContextManager[None]:
        """Locks the lease for the time of a write, so that no other writer can take it."""
        return lease.held(self._path, self._epoch, self._writer)

    def _sync_now_and_then(self, copy: int) -> None:
        if time.monotonic() - self._synced_copy <= SYNC_COPY_S:
            return
        self._synced_copy = time.monotonic()
        if os.fstat(copy).st_nlink:
            _sync(copy)
        else:
            recovery.copy_whole(self._path)
            self._close_files()

    def _opened(self) -> list[int]:
        if not self._files:
            self._files = [os.open(self._path, _FLAGS)]
            with contextlib.suppress(OSError):
                self._files.append(os.open(copy_of(self._path), _FLAGS | os.O_CREAT, 0o644))
        return self._files

    def _close_files(self) -> None:
        files, self._files = self._files, []
        for file in files:
            with contextlib.suppress(OSError):
                os.close(file)


def _write_at(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        n = os.pwrite(file, view, offset)
        view, offset = view[n:], offset + n


def _sync(file: int) -> None:
    # macOS has no fdatasync.
    (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(file)


def _inode(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


def _refused(path: Path, error: object, waited_s: float) -> StorageError:
    was_not = f"was not for {waited_s:.0f} s" if waited_s >= 0.5 else "is not"
    return StorageError(
        f"{str(path)!r} must be writable, but {was_not} ({error}). "
        "What was acknowledged is intact; free or mount the disk, then `resume=true`."
    )
