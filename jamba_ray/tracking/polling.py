"""Decides when a process that follows a run checks again, and when it ends."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from jamba_ray.runs.row_log import FOLDER

POLL_S = 3.0
"""Seconds between two checks."""


def step_back() -> None:
    """Lowers the priority of this process, so that the run gets the processor first."""
    with contextlib.suppress(OSError):
        os.nice(10 - os.nice(0))


def mark(folder: Path) -> tuple[int, ...]:
    """Returns a value that changes when the run has new data on disk."""
    names = ["study.journal", "summary.json", "config.yaml"]
    paths = [folder / name for name in names]
    paths += sorted((folder / FOLDER).glob("*.jsonl"))
    found: list[int] = []
    for path in paths:
        with contextlib.suppress(OSError):
            stat = path.stat()
            found += [stat.st_mtime_ns, stat.st_size]
    return tuple(found)


def told_to_end(wait_s: float) -> bool:
    """Says whether stdin was closed, by the process that started this one or by its death."""
    deadline = time.monotonic() + wait_s
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([0], [], [], left)
        if ready and not os.read(0, 4096):
            return True
    return False


def say(sentence: str) -> None:
    """Prints a line with the time, for ``logs/tracking.log``."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), sentence, flush=True)
