"""Keeps what each window showed: a line of JSON a window, checked, which survives crashes."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jamba_ray.errors import StorageError
from jamba_ray.runs.checked_lines import Position, commits, content_of, encode
from jamba_ray.runs.file_writes import sync_folder, write_bytes

FILE, LOCK = "history.jsonl", ".lock"


class History:
    """Holds the records of a folder; one process writes at a time (``locked``)."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> list[dict[str, Any]]:
        """Returns the whole records, the oldest first; a torn or damaged end is left out."""
        data, end = self._checked()
        return [json.loads(line) for line in data[: end.size].splitlines()]

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds a record, durably.

        Raises:
            StorageError: The disk does not take it.
        """
        data, end = self._checked()
        line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode()
        added, _ = encode([line], end)
        if end.size < len(data):  # what a crash left is written over
            write_bytes(self._path, data[: end.size] + added)
            return
        try:
            is_new = not self._path.exists()
            with self._path.open("ab") as file:
                file.write(added)
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise StorageError(
                f"{str(self._path)!r} must be writable, but is not ({error.strerror or error}). "
                "Free some space or choose another `output=`."
            ) from error

    def _checked(self) -> tuple[bytes, Position]:
        data, end = content_of(self._path), Position()
        for end in commits(data):  # noqa: B007 (the last one)
            pass
        return data, end


@contextmanager
def locked(folder: Path, what: str = "watch") -> Iterator[None]:
    """Keeps other processes from writing to the folder; it is made where it is not there.

    Raises:
        StorageError: It cannot be made, or another process writes to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        handle = os.open(folder / LOCK, flags, 0o644)
    except OSError as error:
        raise StorageError(
            f"{str(folder)!r} must be a folder that can be written, but is not "
            f"({error.strerror or error}). Choose another `output=`."
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StorageError(
                f"one process at a time may {what} in {str(folder)!r}, but another one does. Wait "
                "for it, or choose another `output=`."
            ) from error
        yield
    finally:
        os.close(handle)
