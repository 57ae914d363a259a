"""Copies the rows of a run to its remote store: new ones while it runs, all of them at its end.

``rows.jsonl.gz`` holds all rows up to some moment, ``rows/part-000001.jsonl.gz`` and so on those
written since. An object cannot be appended to, so the newest part is written again until it is
large enough: the cost of a copy does not grow with the sweep, and the parts stay few.
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
"""Bytes of rows in a part, before compression, after which the next part begins."""
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
        """Copies the rows written since the last call; the first call copies all rows.

        Raises:
            StorageError: The store refuses; the next call tries again.
        """
        if self._part == 0:
            # The local rows hold what an earlier session left in parts: it was fetched.
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
        """Copies all rows as one object, which replaces the parts.

        Raises:
            StorageError: The store refuses.
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
        """Takes the rows of trials that have none here; raises StorageError."""
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
    """Returns a file's content from ``start`` to its last line end: a row may be half written."""
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
        return []  # rows are not essential: damaged ones are left out, as a torn line is
