"""Tells the callbacks of plug-ins what happens.

They have a thread of their own: one that raises or hangs costs a note, never the sweep.

Limitations: what happens in the half second before the driver is killed is told to nobody, and a
resumed sweep tells what happens from then on; ``on_sweep_end`` has the whole sweep.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Mapping
from typing import Any

from jamba_ray.config.plugins import CALLBACKS
from jamba_ray.driver.monitor import Watch
from jamba_ray.errors import one_line
from jamba_ray.study.records import SweepProgress

_LAST_S = 30.0
"""Seconds to wait, at the end of a sweep, for callbacks that are still at work."""


class Callbacks:
    """Calls the callbacks of all plug-ins, in order, one event at a time."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        """Sentences for the summary."""
        self._objects: list[tuple[str, Any]] = []
        for name, make in CALLBACKS.items():
            try:
                self._objects.append((name, make()))
            except Exception as error:
                self._note(f"The callback {name} cannot be made: {one_line(error)}.")
        self._best: tuple[int, float | None] | None = None
        self._events: queue.SimpleQueue[tuple[str, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-callbacks", daemon=True)
        if self._objects:
            self._thread.start()

    def around(self, watch: Watch) -> Watch:
        """Returns ``watch`` extended by ``look``."""

        def both(progress: SweepProgress) -> None:
            self.look(progress)
            watch(progress)

        return both if self._objects else watch

    def look(self, progress: SweepProgress) -> None:
        """Tells which trials have ended since the last progress, and of a new best one."""
        for trial in progress.finished:
            self._events.put(("on_trial_end", trial))
        if (best := progress.best) is not None and self._best != (best.number, best.value):
            self._best = (best.number, best.value)
            self._events.put(("on_best", best))

    def end(self, summary: Mapping[str, Any]) -> list[str]:
        """Tells that the sweep has ended, waits for all that was told, and returns the notes."""
        if self._objects:
            self._events.put(("on_sweep_end", summary))
            self._events.put(None)
            self._thread.join(_LAST_S)
            if self._thread.is_alive():
                self._note(
                    f"The callbacks were still at work {_LAST_S:g} s after the sweep's end, and "
                    "were left there."
                )
        return self.notes

    def _loop(self) -> None:
        while (event := self._events.get()) is not None:
            what, of = event
            for name, one in self._objects:
                if (told := getattr(one, what, None)) is None:
                    continue
                try:
                    told(of)
                except Exception as error:
                    self._note(f"The callback {name} raised {one_line(error)} in `{what}`.")

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
