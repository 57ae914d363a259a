"""Sends tables to a server and returns its scores in their order, some requests at a time.

Letters: N rows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa  # type: ignore[import-untyped]

from jamba_ray.errors import DataError
from jamba_ray.serving.client import Client, Reply
from jamba_ray.serving.rows_body import ARROW

AT_A_TIME = 3
"""Requests that are under way; the server scores on some threads, and reading goes on meanwhile."""
T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """Holds what a server says of N rows."""

    score: npt.NDArray[np.float64]
    alert: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float64]
    probability: npt.NDArray[np.float64] | None
    versions: frozenset[str]


@dataclass(frozen=True)
class Sent(Generic[T]):
    """Holds what was sent, with its scores."""

    what: T
    found: Remote


class RemoteScores:
    """Scores tables; each thread has a connection of its own."""

    def __init__(self, client: Callable[[], Client], key: str | None) -> None:
        self._make, self._headers = client, {"content-type": ARROW, "accept": ARROW}
        if key is not None:
            self._headers["x-key"] = key
        self._local = threading.local()
        self._clients: list[Client] = []

    def scored(self, batches: Iterator[tuple[T, pa.Table]]) -> Iterator[Sent[T]]:
        """Yields each batch with its scores, in their order.

        Raises:
            UnavailableError, ConfigError, DataError: As ``Client.ask`` does.
        """
        waiting: deque[tuple[T, Future[Remote]]] = deque()
        with ThreadPoolExecutor(AT_A_TIME, "jamba_ray-send") as pool:
            try:
                for what, table in batches:
                    waiting.append((what, pool.submit(self._score, table)))
                    if len(waiting) > AT_A_TIME:
                        yield self._next(waiting)
                while waiting:
                    yield self._next(waiting)
            finally:
                for _, future in waiting:
                    future.cancel()
        for client in self._clients:
            client.close()

    @property
    def sent_again(self) -> int:
        """Returns how many requests were sent again."""
        return sum(client.sent_again for client in self._clients)

    @staticmethod
    def _next(waiting: deque[tuple[T, Future[Remote]]]) -> Sent[T]:
        what, future = waiting.popleft()
        return Sent(what, future.result())

    def _score(self, table: pa.Table) -> Remote:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
        reply = self._client().ask(
            "/predict", bytes(sink.getvalue()), self._headers, accepts=(200, 413)
        )
        if reply.status == 200:
            return _remote(reply, table.num_rows)
        if table.num_rows == 1:
            raise DataError(f"the server refuses a row: {reply.sentence}")
        half = table.num_rows // 2
        return _joined(self._score(table.slice(0, half)), self._score(table.slice(half)))

    def _client(self) -> Client:
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self._make()
            self._clients.append(client)
        return client


def _remote(reply: Reply, n: int) -> Remote:
    try:
        with pa.ipc.open_stream(reply.body) as stream:
            table = stream.read_all()
        found: dict[str, Any] = {name: table[name].to_numpy() for name in table.column_names}
        if table.num_rows != n:
            raise ValueError(f"{table.num_rows} scores of {n} rows")
        return Remote(
            found["score"],
            found["alert"].astype(np.int64),
            found["threshold"],
            found.get("probability"),
            frozenset(reply.headers.get("x-model-version", "").split(",")),
        )
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise DataError(
            f"the server's answer must be scores of the rows, but is not ({str(error)[:100]}). Is "
            "it a `jamba-ray serve` of this version?"
        ) from error


def _joined(a: Remote, b: Remote) -> Remote:
    probability = None
    if a.probability is not None and b.probability is not None:
        probability = np.concatenate([a.probability, b.probability])
    return Remote(
        np.concatenate([a.score, b.score]),
        np.concatenate([a.alert, b.alert]),
        np.concatenate([a.threshold, b.threshold]),
        probability,
        a.versions | b.versions,
    )
