"""Watches the Ray processes that this process has started, and stops the sweep if one ends.

Ray itself waits a minute for a new head, and ends the process without an orderly stop if none
comes. On one machine none ever comes, so the sweep is stopped here, at once and in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

_LOOK_S = 0.25
_DEAD_WITHIN_S = 2.0


class HeadWatch:
    """Checks whether ``processes`` live, while entered, and calls ``interrupt`` if one has ended.

    ``interrupt`` is called with what happened, as the beginning of a sentence.
    """

    def __init__(
        self,
        processes: Mapping[str, subprocess.Popen[bytes]],
        interrupt: Callable[[str], object],
    ) -> None:
        self._processes, self._interrupt = processes, interrupt
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
        # The sweep may be ending because a process ended after the last check.
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
            if (why := self._look()) is not None:
                self._interrupt(why)
                return


def kill_sessions(leaders: Iterable[int]) -> None:
    """Sends SIGKILL to every process of some sessions and waits up to 2 s until they are gone.

    It finds processes whose parent has changed too.
    """
    wanted = set(leaders)
    pids = [pid for pid, fields in processes() if int(fields[3]) in wanted]
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _DEAD_WITHIN_S
    while any(is_alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)


def descendants(pid: int) -> list[tuple[int, str]]:
    """Returns (process number, command line) of every process below ``pid``."""
    parents: dict[int, list[int]] = {}
    for process, fields in processes():
        parents.setdefault(int(fields[1]), []).append(process)
    found, queue = [], [pid]
    while queue:
        for child in parents.get(queue.pop(), []):
            queue.append(child)
            try:
                line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, UnicodeDecodeError):
                line = ""
            found.append((child, line))
    return found


def processes() -> Iterator[tuple[int, list[str]]]:
    """Yields (process number, fields of ``stat`` from the state on) of every running process."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(path.name), fields


def is_alive(pid: int) -> bool:
    """Says whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
