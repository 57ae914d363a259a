"""A cluster's job API over HTTP: who may use it, and one job from submission to its end."""

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
"""To connect, and between two pieces of an answer."""
_QUIET_S = 30.0
"""After so long without a line the log is asked for anew."""


@dataclass(frozen=True)
class JobState:
    """A job as the cluster knows it."""

    status: str
    exit_code: int | None
    message: str

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status in _TERMINAL


def access(address: str, timeout_s: float = 10.0) -> Access:
    """Ask for the list of jobs without a token."""
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
    """Whether an address is this machine's own."""
    host = urllib.parse.urlsplit(address).hostname or ""
    return host in {"localhost", "::1"} or host.startswith("127.")


def token_path() -> Path:
    """Where Ray looks for the token if RAY_AUTH_TOKEN does not hold it."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")


def token_mistake() -> str | None:
    """Why there is no usable token here; None: there is one."""
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
    """Refuse a cluster that cannot be reached, that anybody may use, or whose token is not here.

    Raises:
        UnavailableError: With the way out.
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
    """The jobs of one cluster; make it after ``require_access``.

    Every request goes through ``link``: where the cluster is out of reach it is asked again, then
    UnavailableError is raised.
    """

    def __init__(self, address: str, link: Link | None = None) -> None:
        """Raises UnavailableError where the cluster refuses the token or speaks another version."""
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
        # Ray's client waits for ever for a network that swallows what is sent.
        client._do_request = functools.partial(client._do_request, timeout=_REQUEST_S)
        self._client = client

    def submit(
        self,
        name: str,
        entrypoint: str,
        folder: Path,
        excludes: Sequence[str],
        env: Mapping[str, str],
    ) -> bool:
        """Submit a job under a name; False where the name is taken (another client was first)."""
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
        """How a job stands; None: there is no such job."""
        return self._retry(lambda: self._state(name))

    def stop(self, name: str) -> None:
        """Ask a job to stop; the cluster sends SIGTERM to the sweep."""
        self._retry(lambda: self._client.stop_job(name))

    def log(self, name: str) -> str:
        """All of a job's log so far."""
        return str(self._retry(lambda: self._client.get_job_logs(name)))

    def follow(self, name: str, show: Callable[[str], None]) -> JobState:
        """Hand on the log, line by line and each line once, until the job has ended. Survives lost
        connections.

        Raises:
            UnavailableError: The cluster is out of reach for too long, or no longer knows the job.
        """
        log = _Log(show)
        while True:
            # Whatever ends it: the job's state says how things are.
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
            # A connection that died without a word looks like a quiet log: look again at times.
            log.take(await asyncio.wait_for(anext(stream), _QUIET_S))


class _Log:
    """Lines of a log that is read from its beginning again and again, each handed on once."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = self._read = 0
        self._pending = ""

    def begin(self) -> None:
        """The next text is the beginning of the log."""
        self._read, self._pending = 0, ""

    def take(self, text: str) -> None:
        """The next piece of the log; only whole lines are shown."""
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._read += 1
            if self._read > self._shown:
                self._shown = self._read
                self._show(line)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
