"""What processes that follow a run have in common: when to look again, and when to end."""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from jamba_ray.runs.row_log import FOLDER

POLL_S = 3.0
"""Seconds between two looks."""


def step_back() -> None:
    """Let the run have the processor first."""
    with contextlib.suppress(OSError):
        os.nice(10 - os.nice(0))


def mark(folder: Path) -> tuple[int, ...]:
    """Changes when the run has something new on disk."""
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
    """Whether stdin was closed: by whoever started this process, or by its death."""
    deadline = time.monotonic() + wait_s
    while (left := deadline - time.monotonic()) > 0:
        ready, _, _ = select.select([0], [], [], left)
        if ready and not os.read(0, 4096):
            return True
    return False


def say(sentence: str) -> None:
    """A line for ``logs/tracking.log``."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), sentence, flush=True)
