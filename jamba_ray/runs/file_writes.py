"""Writes the files of a run: whole or not at all, or line by line at their end."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from jamba_ray.errors import StorageError

_LOG = logging.getLogger(__name__)


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON so that a reader sees either the old file or the whole new one.

    Raises:
        ValueError: ``value`` holds NaN, an infinity or something that JSON has not.
        StorageError: The file cannot be written.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file whole and durable by a temporary file, fsync and rename; raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file as ``write_whole`` does; raises StorageError where the disk refuses."""
    try:
        write_whole(path, content)
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} must be writable, but is not ({error.strerror or error}). "
            "Free some space or choose another `store=`."
        ) from error


def open_to_append(path: Path) -> IO[str]:
    """Opens a file of the run to add lines.

    Raises OSError where the disk refuses, and where the name is a link, a pipe or a device, which
    somebody else may have put there.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return open(handle, "a", encoding="utf-8")
    except BaseException:
        os.close(handle)
        raise


def open_log(path: Path) -> IO[str]:
    """Opens a file as ``open_to_append`` does, but raises StorageError where it refuses."""
    try:
        return open_to_append(path)
    except OSError as error:
        raise StorageError(
            f"{str(path)!r} must be a plain file that can be written, but is not "
            f"({error.strerror or error}). Move it away."
        ) from error


def append_log(path: Path, text: str) -> None:
    """Adds lines to a log; raises OSError as ``open_to_append`` does."""
    with open_to_append(path) as log:
        log.write(text)


def sync_folder(folder: Path) -> None:
    """Makes renames inside ``folder`` survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class RunLog:
    """Appends lines, and hands them to Python's ``logging`` for programs that call jamba_ray; a
    resumed run continues the same file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, line: str) -> None:
        """Appends one line with the local time; a disk that refuses does not end a run."""
        _LOG.info(line)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):
            append_log(self._path, f"{stamp} {line}\n")
