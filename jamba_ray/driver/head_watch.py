"""Watches the Ray that this process has started: a sweep whose Ray ended cannot go on.

Ray waits a minute for a head that went away, and ends the process in the middle of it when none
came. On one machine none ever comes, so the sweep is ended here, at once and in order.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping

from jamba_ray.errors import ExitCode

_LOOK_S = 0.25
_GRACE_S = 5.0
"""Who was interrupted and has not left for so long waits in Ray's compiled code, for its head."""


class HeadWatch:
    """While entered, looks whether ``processes`` live, and calls ``interrupt`` if one does not.

    ``interrupt`` is given what happened, as a sentence's beginning. If that does not end the watch
    within ``grace_s`` seconds, this process is ended, and with it its Ray: with ``last_words`` and
    the code of an interruption, as after SIGKILL but for these.
    """

    def __init__(
        self,
        processes: Mapping[str, subprocess.Popen[bytes]],
        interrupt: Callable[[str], object],
        last_words: str,
        *,
        grace_s: float = _GRACE_S,
    ) -> None:
        self._processes, self._interrupt = processes, interrupt
        self._last_words, self._grace_s = last_words, grace_s
        self.lost: str | None = None
        """What happened, once a process has ended."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-head", daemon=True)

    def __enter__(self) -> HeadWatch:
        if self._processes:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        # What ends the sweep now may come of it, and sooner than the last look.
        if self._look() is not None:
            self._interrupt(str(self.lost))
        if self._thread.is_alive():
            self._thread.join()

    def _look(self) -> str | None:
        if self.lost is None:
            ended = [name for name, p in self._processes.items() if p.poll() is not None]
            self.lost = f"The end of Ray's {ended[0]} on this machine" if ended else None
        return self.lost

    def _loop(self) -> None:
        while not self._stop.wait(_LOOK_S):
            if (why := self._look()) is None:
                continue
            self._interrupt(why)
            if not self._stop.wait(self._grace_s):
                print(f"error: {why} {self._last_words}", file=sys.stderr, flush=True)
                for process in self._processes.values():
                    process.kill()  # runners end with their raylet
                os._exit(ExitCode.INTERRUPTED)
            return
