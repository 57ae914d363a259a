"""Draws a terminal's line from a second process, while this one lets none of its threads run.

Compiled code may hold the interpreter for seconds: Ray does, where it connects to a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO

_QUIET_S = 0.8
"""Seconds without a message after which the second process draws; messages come several times a
second."""
_DRAW_S = 0.5
_END_S = 1.0
_PACKAGES = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_Line = tuple[list[str], float, int, bool]


class StandIn:
    """Holds the second process; it ends with this one, however that ends."""

    def __init__(self, terminal: IO[str]) -> None:
        """Raises OSError or ValueError where there is no terminal or no process can start."""
        if not os.isatty(terminal.fileno()):
            raise OSError("no terminal")
        self._process = subprocess.Popen(
            # Without site packages it starts in hundredths of a second.
            [sys.executable, "-I", "-S", os.path.abspath(__file__)],
            stdin=subprocess.PIPE,
            stdout=terminal.fileno(),
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._pipe = self._process.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def tell(self, parts: list[str], since: float, width: int, *, is_dim: bool) -> None:
        """Sends the process what the line is: ``parts``, of which the first is followed by the
        seconds since ``since``, a time of ``time.monotonic``; no parts: draw nothing."""
        line: _Line = (parts, since, width, is_dim)
        with contextlib.suppress(OSError, ValueError):  # it has ended, or its pipe is full
            os.write(self._pipe.fileno(), json.dumps(line).encode() + b"\n")

    def end(self) -> None:
        """Ends the process; nothing is drawn after that."""
        with contextlib.suppress(OSError):
            self._pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _draw(text_of: Callable[[_Line], str]) -> None:
    line: _Line = ([], 0.0, 80, False)
    rest, drawn = b"", False
    while True:
        ready, _, _ = select.select([0], [], [], _DRAW_S if drawn else _QUIET_S)
        if ready:
            chunk = os.read(0, 1 << 16)
            if not chunk:
                return
            *whole, rest = (rest + chunk).split(b"\n")
            if whole:
                line = json.loads(whole[-1])
            drawn = False
        elif line[0] and _is_in_front():
            os.write(1, f"\r\x1b[2K{text_of(line)}".encode())
            drawn = True


def _is_in_front() -> bool:
    """Says whether the terminal is not another command's, as it is after Ctrl-Z and ``bg``."""
    try:
        return os.tcgetpgrp(1) == os.getpgrp()
    except OSError:  # it controls no processes
        return True


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends with the process that it stands in for
    sys.path.insert(0, _PACKAGES)
    from jamba_ray.reports.words import duration, fitting

    def text_of(line: _Line) -> str:
        (words, *more), since, width, is_dim = line
        seconds = time.monotonic() - since
        text = fitting([words, duration(seconds) if seconds >= 1.0 else "", *more], width, ", ")
        return f"\x1b[2m{text}\x1b[0m" if is_dim else text

    _draw(text_of)


if __name__ == "__main__":
    _main()
