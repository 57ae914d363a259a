"""The rows of a run in its remote store: while it runs what is new of them, at its end all.

``rows.jsonl.gz`` holds all rows as of some moment, ``rows/part-000001.jsonl.gz`` and so on what was
written since. An object cannot be appended to, so the newest part is written again until it is
large enough: what a copy costs does not grow with the sweep, nor do parts become many.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.runs.row_log import row_files, take_rows

_ALL = "rows.jsonl.gz"
_PARTS = "rows"
_PART_BYTES = 4_000_000
"""Rows of a part, before compression; the next begins when it has as many."""
_MAX_BYTES = 2_000_000_000


class BucketRows:
    """Copies the rows below ``folder`` to ``remote`` and, on another machine, back."""

    def __init__(self, folder: Path, remote: RemoteFolder) -> None:
        self._folder, self._remote = folder, remote
        self._taken: dict[Path, int] = {}
        """Bytes of each file that are in the store or in ``_open``."""
        self._part = 0
        self._open = b""
        self._sent = True

    def push_new(self) -> None:
        """Copy what was written since the last copy; the first one is of all there is.

        Raises:
            StorageError: The store does not take it; the next call tries again.
        """
        if self._part == 0:
            # Whatever an earlier session left in parts is in the rows that it was continued with.
            self.push_all()
            self._part = 1
            return
        lines = b"".join(self._new_lines(file) for file in row_files(self._folder))
        if not lines and self._sent:
            return
        self._open, self._sent = self._open + lines, False
        self._remote.write(
            f"{_PARTS}/part-{self._part:06d}.jsonl.gz", gzip.compress(self._open, compresslevel=6)
        )
        self._sent = True
        if len(self._open) >= _PART_BYTES:
            self._part, self._open = self._part + 1, b""

    def push_all(self) -> None:
        """Copy all rows as one object, in place of the parts.

        Raises:
            StorageError: The store does not take it.
        """
        packed, taken = io.BytesIO(), dict[Path, int]()
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6) as rows:
            for file in row_files(self._folder):
                whole = _whole_lines(file, 0)
                rows.write(whole)
                taken[file] = len(whole)
        if any(taken.values()):
            self._remote.write(_ALL, packed.getvalue())
        for name in self._remote.names(_PARTS):
            self._remote.delete(name)
        self._taken, self._open, self._sent = taken, b"", True

    def fetch(self) -> None:
        """Take the rows of trials that have none here; raises StorageError."""
        # The parts first: they are deleted after all rows are written as one.
        parts = [self._remote.read(name, _MAX_BYTES) for name in self._remote.names(_PARTS)]
        lines = _lines(self._remote.read(_ALL, _MAX_BYTES))
        for part in parts:
            lines += _lines(part)
        if lines:
            take_rows(self._folder, lines)

    def _new_lines(self, file: Path) -> bytes:
        before = self._taken.get(file, 0)
        if file.stat().st_size <= before:
            return b""
        found = _whole_lines(file, before)
        self._taken[file] = before + len(found)
        return found


def _whole_lines(file: Path, start: int) -> bytes:
    """From a place in a file to its last end of a line: a row may be being written."""
    with file.open("rb") as rows:
        rows.seek(start)
        found = rows.read()
    return found[: found.rfind(b"\n") + 1]


def _lines(packed: bytes | None) -> list[bytes]:
    if packed is None:
        return []
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            return file.read(_MAX_BYTES).splitlines()
    except (OSError, EOFError, zlib.error):
        return []  # rows are a convenience: what is damaged is left out, as a torn line is
