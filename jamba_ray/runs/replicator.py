"""Copies a running run to its store in a thread of its own, so that nothing waits for the store."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from jamba_ray.errors import JambaError, StorageError
from jamba_ray.runs.bucket_replica import replica_of
from jamba_ray.runs.run_folder import RunFolder

COPY_EVERY_S = 8.0
"""Seconds between copies of the study. The loss of the head costs at most ten seconds of it: these
and the time of a copy."""
ROWS_EVERY_S = 30.0
"""Seconds between copies of rows and logs; the study has the objective's values as well."""


class Replicator:
    """Copies one run to its store again and again, one copy at a time, until ``stop``.

    ``note`` is called from the replicator's thread with each of the store's errors, once; the next
    copy tries again.
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
        """Starts to copy, where the store is remote."""
        if self._tasks:
            self._thread.start()

    def stop(self) -> None:
        """Stops copying and waits for a running copy to end.

        Two copies at a time could leave the older one in the store.
        """
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
        """Waits before a store that refused is tried again."""
        if self._stop.wait(seconds):
            raise StorageError("the run ended, and is copied as it is then.")

    def _say(self, sentence: str) -> None:
        if sentence not in self._noted and not self._stop.is_set():
            self._noted.add(sentence)
            self._note(sentence)


class _PeriodicTask:
    """Runs a function at a fixed interval."""

    def __init__(self, do: Callable[[], None], every_s: float, due: float) -> None:
        self._do, self._every_s, self.due = do, every_s, due

    def go(self) -> None:
        # Counted from start to start: a slow copy must not delay the next one.
        self.due = time.monotonic() + self._every_s
        self._do()


@contextlib.contextmanager
def copied(folder: RunFolder, note: Callable[[str], object]) -> Iterator[None]:
    """Copies the run to its store while the context is open, where the store is remote."""
    replicator = Replicator(folder, note)
    replicator.start()
    try:
        yield
    finally:
        replicator.stop()
