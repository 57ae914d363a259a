"""Asks a server over HTTP, by the standard library alone: with patience, and in sentences."""

from __future__ import annotations

import http.client
import json
import math
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jamba_ray import __version__
from jamba_ray.checkpoints.retry import Failure, Patience, retry
from jamba_ray.errors import ConfigError, DataError, JambaError, UnavailableError
from jamba_ray.serving.token_file import tokens_of

_PATIENCE = Patience(deadline_s=math.inf, first_s=0.4, longest_s=10.0)
"""It ends by the number of attempts (``Client.retries``)."""
_AGAIN = (408, 429, 500, 502, 503, 504)
_MAX_ANSWER = 1 << 31


@dataclass(frozen=True)
class Reply:
    """Holds an answer."""

    status: int
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        """Returns the body as JSON; None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def sentence(self) -> str:
        """Returns what an error's body says."""
        found = self.json
        text = found.get("error") if isinstance(found, dict) else None
        return str(text) if text else f"its status is {self.status}"


class _RefusedError(Exception):
    """Carries an answer that is none of those asked for."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


@dataclass
class Client:
    """Sends requests to one server over a connection that is kept; for one thread."""

    url: str
    token_file: str | None = None
    ca: str | None = None
    timeout_s: float = 60.0
    retries: int = 6
    sleep: Callable[[float], None] = time.sleep
    sent_again: int = 0
    _connection: http.client.HTTPConnection | None = None
    _token: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises ConfigError where the token cannot be read."""
        if self.token_file is not None:
            self._token = tokens_of(Path(self.token_file))[0]

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        accepts: tuple[int, ...] = (200,),
    ) -> Reply:
        """Returns the answer to a GET, or to a POST where there is a body.

        Raises:
            UnavailableError: The server does not answer, however often it is asked.
            ConfigError: It refuses the token, or has no such address.
            DataError: It refuses the rows.
        """

        def attempt() -> Reply:
            reply = self._once(path, body, headers or {})
            if reply.status in accepts:
                return reply
            raise _RefusedError(reply)

        def failed(failure: Failure) -> None:
            error, is_last = failure.error, failure.attempts > self.retries
            if isinstance(error, _RefusedError):
                if error.reply.status not in _AGAIN or is_last:
                    raise self._refused(path, error.reply) from None
            elif isinstance(error, OSError | http.client.HTTPException):
                self.close()
                if isinstance(error, ssl.SSLCertVerificationError) or is_last:
                    raise self._silent(error) from error
            else:
                raise error
            self.sent_again += 1

        return retry(attempt, _PATIENCE, failed, sleep=self.sleep)

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _once(self, path: str, body: bytes | None, headers: dict[str, str]) -> Reply:
        if self._connection is None:
            self._connection = self._connect()
        sent = {"user-agent": f"jamba_ray/{__version__}", **headers}
        if self._token is not None:
            sent["authorization"] = f"Bearer {self._token.decode()}"
        prefix = urlsplit(self.url).path.rstrip("/")
        method = "GET" if body is None else "POST"
        self._connection.request(method, prefix + path, body=body, headers=sent)
        response = self._connection.getresponse()
        raw = response.read(_MAX_ANSWER)
        found = {name.lower(): value for name, value in response.getheaders()}
        if found.get("connection", "").lower() == "close":
            self.close()
        return Reply(response.status, found, raw)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host = str(parts.hostname)
        if parts.scheme == "http":
            return http.client.HTTPConnection(host, parts.port, timeout=self.timeout_s)
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            raise ConfigError(
                [
                    f"`ca` must be a file of certificates (PEM), but {self.ca!r} is none "
                    f"({error.strerror or error}). Give another."
                ]
            ) from error
        return http.client.HTTPSConnection(
            host, parts.port, timeout=self.timeout_s, context=context
        )

    def _silent(self, error: Exception) -> JambaError:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return UnavailableError(
            f"{self.url} must answer, but does not ({why}). Start it with `jamba-ray serve`, or "
            "give another `url=`."
        )

    def _refused(self, path: str, reply: Reply) -> JambaError:
        if reply.status == 401:
            way_out = (
                "Give the `token_file` that the server named when it started"
                if self._token is None
                else f"{self.token_file!r} holds another one; give the server's `token_file`"
            )
            return ConfigError([f"{self.url} wants a token and refuses this one. {way_out}."])
        if reply.status == 404 and path != "/reference":
            return ConfigError(
                [f"`url` must be that of `jamba-ray serve`, but {self.url} has no {path}."]
            )
        if reply.status in _AGAIN:
            return UnavailableError(
                f"{self.url} must answer {path}, but {reply.sentence.rstrip('.')}. Try again, or "
                "look into the server's log."
            )
        return DataError(f"{self.url} refuses the rows: {reply.sentence}")
