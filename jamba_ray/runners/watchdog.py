"""The watchdog of a runner: a stack that reports nothing for too long ends its process."""

from __future__ import annotations

import faulthandler
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from jamba_ray.runs.run_folder import open_to_append
from jamba_ray.training import Decision, Report

Reporter = Callable[[Sequence[Report]], Sequence[Decision]]


class Watchdog:
    """While entered, ``limit_s`` seconds without a report end this process, however it hangs.

    The timer is ``faulthandler``'s, a C thread that needs no GIL: native code that never comes back
    is ended too. Where every thread was goes to ``log`` first. The study learns of it from Ray, as
    of any process that died, and knows by the silence that it hung.
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
        """``report``, which winds the watchdog up; waiting for the study is no hang."""
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
