"""A TCP proxy on loopback that stands for the network between a client and a cluster."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class Network:
    """Carries connections to ``target`` until it is cut."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname, parts.port)
        self._swallow = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}"
        self.connections = 0

    def refuse(self) -> None:
        """A tunnel that ended: connections are reset, new ones refused."""
        with self._lock:
            self._listener.close()
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            _shut(one)

    def swallow(self) -> None:
        """A firewall that forgot: what is sent arrives nowhere, and nobody is told."""
        self._swallow = True

    def restore(self) -> None:
        """All is well again, for new connections."""
        self._swallow = False
        with self._lock:
            self._listener = self._listen(self.port)

    def close(self) -> None:
        """End everything."""
        self.refuse()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            # A closed listener still takes one connection more while ``accept`` waits.
            try:
                listener.settimeout(0.2)
                near, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self.connections += 1
            near.settimeout(None)
            try:
                far = socket.create_connection(self._target, timeout=10)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            with self._lock:
                self._sockets |= {near, far}
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(a, b), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._swallow:
                    target.sendall(data)
        if not self._swallow:
            _shut(target)


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def network(target: str) -> Iterator[Network]:
    """A network to ``target`` (http://host:port)."""
    between = Network(target)
    try:
        yield between
    finally:
        between.close()
