"""Writes what a run did and when, one line each, to ``log.txt``."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from rich.console import Console

from jamba_ray.runs.run_folder import append_log


class RunLog:
    """Appends lines; a resumed run continues the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: str) -> None:
        """Appends one line with the local time; a disk that refuses does not end a run."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):
            append_log(self._path, f"{stamp} {line}\n")


def say(console: Console, sentence: str) -> None:
    """Prints one line without markup or wrapping."""
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)
