"""Runs a sweep as a job of a cluster: finds or submits it, follows it, and stops it in order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from rich.console import Console
from rich.text import Text

from jamba_ray.cluster import job_result, upload
from jamba_ray.cluster.job_client import Jobs, JobState
from jamba_ray.cluster.job_result import killed_by
from jamba_ray.errors import ConfigError, ExitCode, JambaError

_STOP_WAIT_S = 60
_REPEAT_S = 1.0
"""Signals so shortly after the first are the same request: ``timeout`` sends each one twice, to the
process and to its group."""
_MAX_ATTEMPTS = 20
_SHELL = 128
"""The number that a shell adds to the signal that ended a command."""
_AGAIN = {
    *(ExitCode.INTERRUPTED, ExitCode.UNAVAILABLE, ExitCode.INTERNAL, ExitCode.STORAGE),
    ExitCode.RUN_EXISTS,  # as a job: processes of the job before still wrote
}
"""Exit codes after which the same command continues the sweep instead of repeating the result."""


class Submission:
    """Submits the sweep ``key``, follows it, and asks it to stop when a signal comes."""

    def __init__(
        self,
        jobs: Jobs,
        key: str,
        out: Console,
        package: upload.Upload,
        phase: Callable[[str], object] = lambda words: None,
    ) -> None:
        self._jobs, self._key, self._out, self._package = jobs, key, out, package
        self._phase = phase
        self._job: str | None = None
        self._asked_at: float | None = None

    def run(self, entrypoint: str) -> tuple[int, job_result.JobResult | None]:
        """Returns (the sweep's exit code, the result that it sent back).

        Raises:
            UnavailableError: The cluster is out of reach for too long, or refuses.
        """
        job = self._job = self._find_or_submit(entrypoint)
        before = {s: signal.signal(s, self._stop) for s in (signal.SIGTERM, signal.SIGINT)}
        self._phase(f"following job {job}")
        try:
            state = self._jobs.follow(job, self._show)
            found = job_result.unpack(self._jobs.log(job))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        code = exit_code(state, found)
        if found is None:
            why = (state.message.strip().splitlines() or ["no reason given"])[0]
            self._say(f"job {job} ended without a result ({state.status}: {why})")
        if code in _AGAIN:
            self._say(f"exit code {code}: {advice(self._key)}")
        return code, found

    def _say(self, sentence: str) -> None:
        self._out.print(sentence, style="dim", highlight=False, markup=False, soft_wrap=True)

    def _find_or_submit(self, entrypoint: str) -> str:
        """Returns the job that runs or has finished the sweep, else a new one that continues it."""
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            job = self._key if attempt == 1 else f"{self._key}.{attempt}"
            state = self._jobs.state(job)
            if state is None:
                env = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WAIT_S)}
                folder, excludes = self._package.folder, self._package.excludes
                self._phase("uploading the sweep")
                if self._jobs.submit(job, entrypoint, folder, excludes, env):
                    self._say(f"job {job} submitted")
                    return job
                self._say(f"job {job} was submitted by another client; following it")
                return job
            if not state.ended:
                self._say(f"job {job} runs already; following it")
                return job
            code = exit_code(state, job_result.unpack(self._jobs.log(job)))
            if code not in _AGAIN:
                self._say(f"job {job} has ended already (exit code {code}); this is its log")
                return job
        raise ConfigError(
            [
                f"`submit.key` must name a sweep that can end, but {self._key!r} was stopped or "
                f"lost {_MAX_ATTEMPTS} times. See the logs, or give another `submit.key=`."
            ]
        )

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._asked_at is not None and time.monotonic() - self._asked_at < _REPEAT_S:
            return
        if self._asked_at is not None or self._job is None:
            raise SystemExit(ExitCode.INTERRUPTED)
        self._asked_at = time.monotonic()
        # In a thread: a handler must not wait for the network inside another request, nor print
        # inside another line.
        threading.Thread(target=self._ask_to_stop, args=(self._job, number), daemon=True).start()

    def _ask_to_stop(self, job: str, number: int) -> None:
        self._say(
            f"{signal.Signals(number).name}: the sweep is asked to stop with its state saved "
            "(once more: leave now)"
        )
        try:
            self._jobs.stop(job)
        except JambaError as error:
            self._say(f"the sweep was not asked to stop: {error.message}")

    def _show(self, line: str) -> None:
        if line.startswith(job_result.MARK):
            return
        if self._out.is_terminal:  # above the line that counts the seconds
            self._out.print(Text.from_ansi(line), soft_wrap=True)
        else:
            print(line, flush=True)


def advice(key: str) -> str:
    """Returns how to continue after the connection to the sweep was lost."""
    return (
        f"The same command follows the sweep, or continues it where it was (`submit.key={key}`); "
        "what is finished is not done again."
    )


def exit_code(state: JobState, found: job_result.JobResult | None) -> int:
    """Returns the sweep's exit code, from its result or else from the state of the job.

    Ray's own code is that of a shell, or none where the job was stopped.
    """
    if found is not None:
        return found.exit_code
    if state.status == "SUCCEEDED":
        return ExitCode.OK
    if state.exit_code is not None and (state.exit_code < 0 or state.exit_code > _SHELL):
        return killed_by(state.exit_code % _SHELL if state.exit_code > 0 else -state.exit_code)
    if state.exit_code in set(ExitCode) - {ExitCode.OK}:
        return ExitCode(state.exit_code)
    return ExitCode.INTERRUPTED if state.status == "STOPPED" else ExitCode.UNAVAILABLE
