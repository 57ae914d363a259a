"""Keeps Optuna's operations of a study in memory until a commit makes them durable."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from typing import Any

from optuna.storages.journal import BaseJournalBackend


class JournalBackend(BaseJournalBackend):
    """Gives Optuna's ``JournalStorage`` the operations of a study and takes new ones from it.

    New operations are in ``storage`` at once. They are written to the file by the caller of
    ``seal`` and ``sealed``.
    """

    def __init__(self, data: bytes = b"") -> None:
        self._data: bytes | None = data
        self.n_written = data.count(b"\n")
        """Operations in the file; those in ``_open`` follow."""
        self._open: list[tuple[bytes, dict[str, Any]]] = []
        self._sealed = 0
        self._lock = threading.Lock()

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Returns the operations from a number on; those in the file can be read once only."""
        with self._lock:
            begun = max(0, log_number_from - self.n_written)
            found = [operation for _, operation in self._open[begun:]]
            data, self._data = self._data, None
        if log_number_from < self.n_written:
            if data is None:
                raise ValueError("the journal must be read once, but is read again. Open it anew.")
            lines = data.split(b"\n")[log_number_from : self.n_written]
            return [*(json.loads(line) for line in lines), *found]
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Adds operations; raises ValueError for one that is not strict JSON (NaN, an infinity)."""
        texts = [json.dumps(log, separators=(",", ":"), allow_nan=False) for log in logs]
        with self._lock:
            # Parsed from the text, so that memory holds exactly what will be read from the file.
            self._open += [(text.encode(), json.loads(text)) for text in texts]

    def seal(self) -> int:
        """Ends a group of operations and returns how many were sealed or written so far."""
        with self._lock:
            self._sealed = len(self._open)
            return self.n_written + self._sealed

    def sealed(self) -> list[bytes]:
        """Returns the operations up to the last seal that are not in the file yet."""
        with self._lock:
            return [text for text, _ in self._open[: self._sealed]]

    def written(self, n: int) -> None:
        """Removes the first ``n`` operations from memory, because they are in the file."""
        with self._lock:
            del self._open[:n]
            self.n_written += n
            self._sealed -= n
