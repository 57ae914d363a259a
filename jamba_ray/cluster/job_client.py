"""Calls a cluster's job API over HTTP: checks the access and follows one job to its end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import stat
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from jamba_ray.cluster.ray_private import SEND_REQUEST, override
from jamba_ray.cluster.retry import Link, is_silence
from jamba_ray.errors import UnavailableError

T = TypeVar("T")

Access = Literal["token", "open", "unreachable"]
"""``token``: requests without one are refused. ``open``: anybody may run code there."""
_TERMINAL = ("SUCCEEDED", "FAILED", "STOPPED")
_CHATTY = (
    *("dashboard.modules.dashboard_sdk", "dashboard.modules.job.sdk"),
    *("_private.runtime_env.packaging", "_private.runtime_env.working_dir"),
)
_RECONNECT_S = 2.0
_REQUEST_S = (10.0, 30.0)
"""Seconds to connect, and between two pieces of an answer."""
_QUIET_S = 30.0
"""Seconds without a line after which the log is requested again."""


@dataclass(frozen=True)
class JobState:
    """Holds a job's state as the cluster reports it."""

    status: str
    exit_code: int | None
    message: str

    @property
    def ended(self) -> bool:
        """Says whether the job has ended."""
        return self.status in _TERMINAL


def access(address: str, timeout_s: float = 10.0) -> Access:
    """Finds out whether the job API needs a token, by asking for the list of jobs without one."""
    request = urllib.request.Request(f"{address}/api/jobs/")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s):
            return "open"
    except urllib.error.HTTPError as error:
        return "token" if error.code in (401, 403) else "unreachable"
    except (OSError, ValueError):
        return "unreachable"


def is_loopback(address: str) -> bool:
    """Says whether an address is this machine's own."""
    host = urllib.parse.urlsplit(address).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def token_path() -> Path:
    """Returns where Ray looks for the token if RAY_AUTH_TOKEN does not hold it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def token_mistake() -> str | None:
    """Returns why there is no usable token here; None: there is one."""
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return None
    path = token_path()
    try:
        status = path.stat()
    except OSError:
        return f"the token must be in RAY_AUTH_TOKEN or {path}, but is in neither"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return (
            f"{path} must be readable by its owner alone (0600), but is "
            f"{stat.S_IMODE(status.st_mode):04o}; `chmod 600 {path}`"
        )
    return None if status.st_size else f"{path} must hold the token, but is empty"


def require_access(address: str, *, insecure_local: bool) -> None:
    """Refuses a cluster that cannot be reached, that anybody may use, or whose token is not here.

    Raises:
        UnavailableError: The cluster is refused; the message has the way out.
    """
    found = access(address)
    if found == "unreachable":
        raise UnavailableError(
            f"the cluster must answer at {address}, but does not. Open the tunnel "
            "(`ray dashboard cluster/<file>.yaml`), or give `submit.address=`."
        )
    if found == "open":
        if insecure_local and is_loopback(address):
            os.environ["RAY_AUTH_MODE"] = "disabled"
            return
        raise UnavailableError(
            f"the cluster at {address} must ask for a token, but runs code for anybody. "
            "Start it with RAY_AUTH_MODE=token (the files in cluster/ do); for a cluster on this "
            "machine that nobody else can reach there is --insecure-local."
        )
    os.environ["RAY_AUTH_MODE"] = "token"
    if mistake := token_mistake():
        raise UnavailableError(f"{mistake}. Copy the cluster's token there, mode 0600.")


class Jobs:
    """Submits and follows the jobs of one cluster; make it after ``require_access``.

    Every request goes through ``link``, which retries while the cluster cannot be reached and then
    raises UnavailableError.
    """

    def __init__(self, address: str, link: Link | None = None) -> None:
        """Raises UnavailableError where the cluster refuses the token or has another version."""
        from ray.job_submission import JobSubmissionClient

        self._link = link or Link(address)
        try:
            client: Any = self._link.retry(lambda: JobSubmissionClient(address))
            for module in _CHATTY:
                logging.getLogger(f"ray.{module}").setLevel(logging.ERROR)
        except UnavailableError:
            raise
        except Exception as error:
            raise UnavailableError(
                f"the cluster at {address} must accept this client, but does not "
                f"({type(error).__name__}: {_first_line(error)}). "
                "Check the token and Ray's version."
            ) from error
        # Ray's client waits for ever if the network drops what is sent.
        override(client, SEND_REQUEST, lambda send: functools.partial(send, timeout=_REQUEST_S))
        self._client = client

    def submit(
        self,
        name: str,
        entrypoint: str,
        folder: Path,
        excludes: Sequence[str],
        env: Mapping[str, str],
    ) -> bool:
        """Submits a job under a name; False where the name is taken (another client was first)."""
        runtime_env = {
            "working_dir": str(folder),
            "excludes": list(excludes),
            "env_vars": dict(env),
        }
        attempts = 0

        def ask() -> None:
            nonlocal attempts
            attempts += 1
            self._client.submit_job(
                entrypoint=entrypoint, submission_id=name, runtime_env=runtime_env
            )

        try:
            self._retry(ask)
        except RuntimeError as error:
            if "already exists" in str(error):
                # The answer to an earlier attempt may be what was lost.
                return attempts > 1
            raise UnavailableError(
                f"the cluster must take the job, but does not ({_first_line(error)}). "
                "See the dashboard's log."
            ) from error
        return True

    def state(self, name: str) -> JobState | None:
        """Returns the state of a job; None: there is no such job."""
        return self._retry(lambda: self._state(name))

    def stop(self, name: str) -> None:
        """Asks a job to stop; the cluster sends SIGTERM to the sweep."""
        self._retry(lambda: self._client.stop_job(name))

    def log(self, name: str) -> str:
        """Returns all of a job's log so far."""
        return str(self._retry(lambda: self._client.get_job_logs(name)))

    def follow(self, name: str, show: Callable[[str], None]) -> JobState:
        """Passes the log on, each line once, until the job has ended; reconnects by itself.

        Raises:
            UnavailableError: The cluster is out of reach for too long, or no longer knows the job.
        """
        log = _Log(show)
        while True:
            # Any error may end the log; the job's state then says whether the job has ended.
            with contextlib.suppress(Exception):
                asyncio.run(self._tail(name, log))
            state = self.state(name)
            if state is None:
                raise UnavailableError(
                    f"the cluster must know job {name!r}, but does not: its head was started anew. "
                    f"{self._link.advice}"
                )
            if state.ended:
                # The connection may have closed before the last lines.
                log.begin()
                log.take(self.log(name) + "\n")
                return state
            time.sleep(_RECONNECT_S)

    def _retry(self, ask: Callable[[], T]) -> T:
        from ray.exceptions import AuthenticationError

        try:
            return self._link.retry(ask)
        except AuthenticationError as error:
            raise UnavailableError(
                f"the cluster must accept the token, but does not ({_first_line(error)}). "
                f"Copy the cluster's token here. {self._link.advice}"
            ) from error

    def _state(self, name: str) -> JobState | None:
        try:
            info = self._client.get_job_info(name)
        except RuntimeError as error:
            if is_silence(error):
                raise
            if "does not exist" in str(error) or "status code 404" in str(error):
                return None
            raise UnavailableError(f"the cluster must answer: {_first_line(error)}.") from error
        return JobState(str(info.status.value), info.driver_exit_code, info.message or "")

    async def _tail(self, name: str, log: _Log) -> None:
        log.begin()
        stream = aiter(self._client.tail_job_logs(name))
        while True:
            # A dead connection looks like a quiet log: request it again from time to time.
            log.take(await asyncio.wait_for(anext(stream), _QUIET_S))


class _Log:
    """Passes on each line once of a log that is read from its beginning again and again."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = self._read = 0
        self._pending = ""

    def begin(self) -> None:
        """Notes that the next text is the beginning of the log."""
        self._read, self._pending = 0, ""

    def take(self, text: str) -> None:
        """Takes the next piece of the log; only whole lines are shown."""
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._read += 1
            if self._read > self._shown:
                self._shown = self._read
                self._show(line)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
