"""The copies of a run that goes on, made by a thread of their own: no store is waited for."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from jamba_ray.errors import JambaError, StorageError
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.runs.run_folder import RunFolder

COPY_EVERY_S = 8.0
"""The loss of the head costs at most ten seconds of the study: these, and what a copy itself
takes."""
ROWS_EVERY_S = 30.0
"""Rows and logs come behind: the objective's are in the study too."""


class Replicator:
    """Copies one run to its store again and again, one copy at a time, until ``stop``.

    ``note`` is told what the store refuses, each sentence once, from the replicator's thread; the
    next copy tries again.
    """

    def __init__(
        self,
        folder: RunFolder,
        note: Callable[[str], object],
        *,
        study_every_s: float = COPY_EVERY_S,
        rows_every_s: float = ROWS_EVERY_S,
    ) -> None:
        self._note, self._noted = note, set[str]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-copy", daemon=True)
        self._tasks: list[_PeriodicTask] = []
        if (replica := replica_of(folder, self._pause)) is not None:
            now = time.monotonic()
            self._tasks = [
                _PeriodicTask(replica.push_study, study_every_s, now),
                _PeriodicTask(replica.push_rows, rows_every_s, now + rows_every_s),
            ]

    def start(self) -> None:
        """Begin to copy, where the store is remote."""
        if self._tasks:
            self._thread.start()

    def stop(self) -> None:
        """No copy begins after this, and the one that is being made has ended: two at a time could
        leave the older one in the store."""
        self._stop.set()
        if self._tasks:
            self._thread.join()

    def _loop(self) -> None:
        while True:
            first = min(self._tasks, key=lambda task: task.due)
            if self._stop.wait(max(0.0, first.due - time.monotonic())):
                return
            try:
                first.go()
            except JambaError as error:
                self._say(error.message)
            except Exception as error:
                self._say(f"the run is not copied ({type(error).__name__}: {error}).")

    def _pause(self, seconds: float) -> None:
        """Before a store that refused is asked again."""
        if self._stop.wait(seconds):
            raise StorageError("the run ended, and is copied as it is then.")

    def _say(self, sentence: str) -> None:
        if sentence not in self._noted and not self._stop.is_set():
            self._noted.add(sentence)
            self._note(sentence)


class _PeriodicTask:
    """Something to be done every so often."""

    def __init__(self, do: Callable[[], None], every_s: float, due: float) -> None:
        self._do, self._every_s, self.due = do, every_s, due

    def go(self) -> None:
        # From beginning to beginning: a copy that takes long must not make the next one later.
        self.due = time.monotonic() + self._every_s
        self._do()


@contextlib.contextmanager
def copied(folder: RunFolder, note: Callable[[str], object]) -> Iterator[None]:
    """While this is open the run is copied to its store, where that is remote."""
    replicator = Replicator(folder, note)
    replicator.start()
    try:
        yield
    finally:
        replicator.stop()
