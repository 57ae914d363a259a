"""Checks the study beside Tune's loop: shows the progress and deletes checkpoints that lost."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray

from jamba_ray.driver.head_watch import HeadWatch
from jamba_ray.driver.signals import Signalled
from jamba_ray.errors import JambaError, StorageError
from jamba_ray.runners.study_client import aside, call
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.records import SweepProgress

CLOSE_S = 5.0
"""Seconds to wait for each thread that is closed at a sweep's end.

One that calls Ray after ``ray.shutdown`` ends the whole process with code 1: each of its calls may
take ``CALL_S``, so that it is done in time.
"""
CALL_S = CLOSE_S / 3
_POLL_S = 0.5
_LOOK_AT_DATA_S = 2.0
_TIDY_S = 10.0
"""Seconds between deletions of running trials' old checkpoints; finished trials' go at once."""

Watch = Callable[[SweepProgress], None]
"""Is called with the sweep's progress."""


class Monitor:
    """Checks the study twice a second, shows its progress and deletes checkpoints that lost."""

    def __init__(
        self,
        server: Any,
        folder: RunFolder,
        keep: tuple[int, int],
        watch: Watch | None,
        seen: int,
        changed: Callable[[], Sequence[str]],
        stopping: Callable[[], bool],
        head: HeadWatch,
    ) -> None:
        self._changed, self._looked_at = changed, time.monotonic()
        self._stopping, self._head = stopping, head
        self._server, self._keep, self._watch = server, keep, watch
        self._store = folder.checkpoint_store()
        self._seen, self._tidied_at = seen, time.monotonic()
        self._last: SweepProgress | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-monitor", daemon=True)
        self.notes: list[str] = []
        """Sentences for the summary."""

    def start(self) -> None:
        """Starts the checks in another thread, which runs until ``stop``."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the checks and waits for the running one."""
        self._stop.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(CLOSE_S)

    def look(self) -> SweepProgress:
        """Fetches and shows the progress, and deletes checkpoints that are no longer needed."""
        progress: SweepProgress = call(
            self._server.progress, self._seen, timeout_s=30.0, meanwhile=self._while_waiting
        )
        self._seen += len(progress.finished)
        self._last = dataclasses.replace(progress, finished=())
        if self._watch is not None:
            self._watch(progress)
        if progress.finished or time.monotonic() - self._tidied_at >= _TIDY_S:
            self._tidied_at = time.monotonic()
            best, finished = call(self._server.standing, *self._keep, timeout_s=30.0)
            self._store.retain(best, finished)
        return progress

    def _loop(self) -> None:
        while not self._stop.wait(_POLL_S):
            try:
                if self._stopping():
                    # Without its head Ray cannot end a runner: it would wait for the head.
                    if self._head.lost is None:
                        self._end_runners()
                    return
                self.look()
                self._look_at_data()
            except Signalled:
                continue  # the next round ends the runners
            except StorageError as error:
                # Runners and searcher get the same error and end the sweep; deleting can wait.
                self.note(error.message)
            except JambaError as error:
                self.note(error.message)
            except Exception as error:
                self.note(f"the display failed ({type(error).__name__}: {error}).")
                self._watch = None

    def _end_runners(self) -> None:
        """Kills the runners, because Tune would wait 5 to 15 s for those in the middle of a trial.

        What they have not reported by now is done again on resume anyway.
        """
        for runner in call(aside(self._server.runners), timeout_s=CALL_S):
            if self._stop.is_set():
                return  # Ray's end ends the rest
            # A runner that is gone took its handle with it; there is nothing to end.
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(ray.get(runner, timeout=CALL_S))

    def _while_waiting(self) -> None:
        """Shows why the study waits for its disk, and raises ``Signalled`` if the sweep is to stop.

        While it waits, the study answers only the call ``trouble``.
        """
        if self._stopping():
            raise Signalled
        sentence: str | None = call(aside(self._server.trouble), timeout_s=30.0)
        if sentence and self._last is not None and self._watch is not None:
            self._watch(dataclasses.replace(self._last, trouble=sentence))

    def _look_at_data(self) -> None:
        if time.monotonic() - self._looked_at < _LOOK_AT_DATA_S:
            return
        self._looked_at = time.monotonic()
        if sentences := self._changed():
            call(self._server.spoil, sentences[0].removesuffix("."), timeout_s=30.0)

    def note(self, sentence: str) -> None:
        """Adds a sentence to the summary, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)
