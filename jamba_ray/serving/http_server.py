"""Runs the application on a socket; the only file that imports uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jamba_ray.errors import ConfigError, UnavailableError

_HEADER_BYTES = 64 << 10
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\n"
    b"content-length: 0\r\n\r\n"
)
HEADER_TIMEOUT_S = 10.0


class Protocol(H11Protocol):
    """Ends connections whose headers do not come: uvicorn waits for them for ever."""

    header_timeout_s = HEADER_TIMEOUT_S
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait for the first request."""
        super().connection_made(transport)
        self._begin()

    def data_received(self, data: bytes) -> None:
        """Waits on where the headers are not whole yet; each byte is no new start."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._end()
        elif self._deadline is None:
            self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._end()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Leaves what follows to uvicorn's own limit of idle connections."""
        self._end()
        super().on_response_complete()

    def _begin(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self._give_up)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.write(_TOO_SLOW)
            self.transport.close()


class HttpServer(uvicorn.Server):
    """Runs until it is told to stop, and leaves signals to who started it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes no signals."""
        yield


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Raises:
        UnavailableError: The address is taken, or none of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends small answers at once (TCP_NODELAY).
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(2048)
    except (OSError, OverflowError) as error:
        found.close()
        why = getattr(error, "strerror", None) or error
        raise UnavailableError(
            f"`host` and `port` must be free on this machine, but {host}:{port} is not ({why}). "
            "Choose another `port=`, or 0 for any."
        ) from error
    return found


def serve(
    app: Any,
    sock: socket.socket,
    *,
    signals: Mapping[int, Callable[[HttpServer], None]],
    begun: Callable[[], None],
    connections: int,
    header_timeout_s: float,
    drain_s: float,
    tls: tuple[str, str] | None,
) -> None:
    """Answers at ``sock`` until a signal's action sets ``should_exit``.

    Raises:
        ConfigError: The files of TLS cannot be used.
    """
    protocol = type("Protocol", (Protocol,), {"header_timeout_s": header_timeout_s})
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        limit_concurrency=connections,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(drain_s)),
        h11_max_incomplete_event_size=_HEADER_BYTES,
        ssl_certfile=None if tls is None else tls[0],
        ssl_keyfile=None if tls is None else tls[1],
    )
    try:
        config.load()
    except OSError as error:  # of the ssl module too
        raise ConfigError(
            [
                f"`tls.cert` and `tls.key` must be a certificate and its key, but are not "
                f"({error.strerror or error}). Give PEM files that belong together."
            ]
        ) from error
    server = HttpServer(config)

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number, action in signals.items():
            loop.add_signal_handler(number, action, server)
        begun()
        await server.serve(sockets=[sock])

    sys.stdout.flush()
    asyncio.run(run())
