"""Copies the study's journal to a remote store, as objects that each hold an appended part.

``study/<first byte>.jsonl`` holds whole commits from that byte of the journal on. An object cannot
be appended to, so the newest part is written again until it is large enough: the cost of a copy
does not grow with the sweep. All parts in order are the journal, and its checksums detect a part
that is damaged, missing or of another history.
"""

from __future__ import annotations

import re
from pathlib import Path

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.runs.checked_lines import Position, commits, newest_commit

PARTS = "study"
_PART_BYTES = 1_000_000
"""Bytes after which a part is closed and the next one begun."""
_NAME = re.compile(PARTS + r"/(\d{12})\.jsonl")
_MAX_BYTES = 100 * _PART_BYTES


class JournalParts:
    """Copies the journal at ``path`` to ``remote``, and reads it from there."""

    def __init__(self, path: Path, remote: RemoteFolder) -> None:
        self._path, self._remote = path, remote
        self._closed = Position()
        """The end of the last closed part, where the open one begins."""
        self._sent = 0
        """Bytes of the journal that are in the store."""
        self._names: set[str] = set()
        self._alone = False
        """Whether the store holds no other parts."""

    def push(self) -> None:
        """Copies the whole commits that were added since the last call; the first one copies all.

        Raises:
            StorageError: The store refuses; the next call tries again.
        """
        if not (data := self._appended()):
            return
        for end in _ends_of_parts(data, self._closed):
            size = end.size - self._closed.size
            name = f"{PARTS}/{self._closed.size:012d}.jsonl"
            self._remote.write(name, data[:size])
            self._names.add(name)
            self._sent = end.size
            if size >= _PART_BYTES:
                self._closed, data = end, data[size:]
        if not self._alone:
            # Parts of an earlier session, which may have another history.
            for name in self._parts():
                if name not in self._names:
                    self._remote.delete(name)
            self._alone = True

    def n_commits(self) -> int:
        """Returns the number of commits in the store by its last part; 0: there is no journal."""
        parts = self._parts()
        return newest_commit(self._remote.read(parts[-1], _MAX_BYTES) or b"") if parts else 0

    def read(self) -> bytes:
        """Returns all whole commits in the store, checked; empty where there are none.

        Raises:
            StorageError: The store does not answer.
        """
        data, at = bytearray(), Position()
        while (found := self._remote.read(f"{PARTS}/{at.size:012d}.jsonl", _MAX_BYTES)) is not None:
            ends = list(commits(found, at))
            if not ends:
                break
            data += found[: ends[-1].size - at.size]
            at = ends[-1]
        return bytes(data)

    def _appended(self) -> bytes:
        """Returns what follows the closed parts; empty: nothing is new."""
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return b""
        if size < self._sent:
            # It was repaired and lost commits: the local file is the source of truth.
            self._closed, self._sent, self._names, self._alone = Position(), 0, set(), False
        if size == self._sent:
            return b""
        with self._path.open("rb") as file:
            file.seek(self._closed.size)
            return file.read()

    def _parts(self) -> list[str]:
        return [name for name in self._remote.names(PARTS) if _NAME.fullmatch(name)]


def _ends_of_parts(data: bytes, start: Position) -> list[Position]:
    """Returns the ends of the parts into which ``data``, which follows ``start``, is split."""
    ends: list[Position] = []
    begun, last = start.size, start
    for last in commits(data, start):
        if last.size - begun >= _PART_BYTES:
            ends.append(last)
            begun = last.size
    return ends if last.size == begun else [*ends, last]
