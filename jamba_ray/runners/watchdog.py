"""Ends a runner's process when its stack reports nothing for too long."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from jamba_ray.runs.file_writes import open_to_append
from jamba_ray.training import Decision, Report

Reporter = Callable[[Sequence[Report]], Sequence[Decision]]


class Watchdog:
    """Ends this process after ``limit_s`` seconds without a report, while entered.

    The timer is ``faulthandler``'s, a C thread that needs no GIL, so that native code which never
    returns is ended too. It first writes the stack of every thread to ``log``. The study learns of
    the death from Ray, as of any process that died, and the missing reports tell it that the
    process hung.
    """

    def __init__(self, limit_s: float | None, log: Path) -> None:
        self._limit_s, self._log = limit_s, log
        self._file: IO[str] | None = None

    def __enter__(self) -> Watchdog:
        if self._limit_s is not None:
            try:
                self._file = open_to_append(self._log)
            except OSError:
                self._file = None
            self._wind_up()
        return self

    def __exit__(self, *_: object) -> None:
        faulthandler.cancel_dump_traceback_later()
        if self._file is not None:
            self._file.close()
            self._file = None
            # A runner without a failed trial leaves no log.
            if self._log.exists() and self._log.stat().st_size == 0:
                self._log.unlink(missing_ok=True)

    def around(self, report: Reporter) -> Reporter:
        """Wraps ``report`` to restart the timer; waiting for the study does not count."""
        if self._limit_s is None:
            return report

        def watched(reports: Sequence[Report]) -> Sequence[Decision]:
            faulthandler.cancel_dump_traceback_later()
            decisions = report(reports)
            self._wind_up()
            return decisions

        return watched

    def _wind_up(self) -> None:
        if self._limit_s is not None:
            file = self._file if self._file is not None else sys.stderr
            faulthandler.dump_traceback_later(self._limit_s, exit=True, file=file)
