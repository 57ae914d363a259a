"""A command on a terminal of its own: what its screen showed, and when."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyte

_EVERY_S = 0.25
_SCROLLBACK = 2000


@dataclass
class Recording:
    """A command that ended, and its screens."""

    columns: int
    lines: int
    code: int = -1
    screens: list[tuple[float, list[str]]] = field(default_factory=list)
    """(Seconds since the start, the lines of the screen), where it is not as before."""
    raw: bytes = b""
    everything: list[str] = field(default_factory=list)
    """What a user can scroll through at the end."""

    @property
    def first_s(self) -> float:
        """When the screen first showed something."""
        return next((at for at, screen in self.screens if any(screen)), float("inf"))

    def silences(self) -> list[tuple[float, float, str]]:
        """(Seconds, when it began, the last line shown) of every time that the screen stood still,
        the longest first."""
        found = []
        for (before, screen), (after, _) in zip(self.screens, self.screens[1:], strict=False):
            shown = [line for line in screen if line.strip()]
            found.append((after - before, before, shown[-1].strip() if shown else ""))
        return sorted(found, reverse=True)

    def text(self, every_s: float = 1.0) -> str:
        """The screens, one a second, to look at."""
        parts, due = [], 0.0
        for i, (at, screen) in enumerate(self.screens):
            last = i == len(self.screens) - 1
            if last or self.screens[i + 1][0] > due:
                due = max(due, at) + every_s
                frame = "\n".join(screen).rstrip()
                parts.append(f"=== {at:.2f} s {'=' * (self.columns - 12)}\n{frame}")
        return "\n".join(parts)


def record(
    line: Sequence[str],
    *,
    cwd: Path,
    columns: int,
    lines: int,
    environment: Mapping[str, str] = {},
    limit_s: float = 240.0,
) -> Recording:
    """Run a command to its end on a terminal of so many columns and lines."""
    found = Recording(columns, lines)
    screen = pyte.HistoryScreen(columns, lines, history=_SCROLLBACK, ratio=1.0)
    stream = pyte.ByteStream(screen)
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    kept = {k: v for k, v in os.environ.items() if k not in {"COLUMNS", "LINES", "NO_COLOR"}}
    begun = time.monotonic()
    process = subprocess.Popen(
        line,
        cwd=cwd,
        env={**kept, "TERM": "xterm-256color", **environment},
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    looked = 0.0
    try:
        while True:
            now = time.monotonic() - begun
            assert now < limit_s, f"no end after {limit_s} s:\n" + "\n".join(screen.display)
            ready, _, _ = select.select([ours], [], [], 0.05)
            if ready:
                try:
                    chunk = os.read(ours, 1 << 16)
                except OSError:  # the other end is closed
                    chunk = b""
                if not chunk:
                    break
                found.raw += chunk
                stream.feed(chunk)
            # A screen that is redrawn is looked at when it is whole.
            now = time.monotonic() - begun
            if not ready or now - looked >= _EVERY_S:
                _look(found, screen, now)
                looked = now
        found.code = process.wait(30)
        _look(found, screen, time.monotonic() - begun)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        os.close(ours)
    above = ["".join(row[x].data for x in range(columns)).rstrip() for row in screen.history.top]
    found.everything = above + [shown.rstrip() for shown in screen.display]
    return found


def _look(found: Recording, screen: pyte.Screen, at: float) -> None:
    shown = [line.rstrip() for line in screen.display]
    if not found.screens or found.screens[-1][1] != shown:
        found.screens.append((at, shown))
