"""Keeps prepared rows in a folder on disk: an entry for each table and way to prepare it.

An entry is written under another name and renamed when it is whole. Whoever uses one holds a shared
lock on it to the end of its process; whoever opens one deletes all others that nobody holds. So the
cache never holds more than what is in use and the last that was.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jamba_ray.errors import DataError

_PREFIX = "rows-"
_INDEX = "index.json"
_held: list[int] = []
"""Descriptors of the entries in use; their locks end with the process."""


def cached(
    cache: str, key: str, write: Callable[[Path], Mapping[str, Any]]
) -> tuple[Path, dict[str, Any]]:
    """Returns the folder of entry ``key`` and the JSON object that ``write``, given an empty
    folder, gave.

    ``write`` is called where there is no such entry yet.

    Raises:
        DataError: The cache cannot be written, or its disk is too full.
    """
    root = Path(cache).expanduser().absolute()
    entry = root / f"{_PREFIX}{key}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        _delete_unused(root, entry)
        while not _hold(entry):
            _written(root, entry, write)
        index: dict[str, Any] = json.loads((entry / _INDEX).read_text())
    except OSError as error:
        raise DataError(
            f"rows that do not fit memory must be written to {root}, but that failed "
            f"({error.strerror or error}); set data.cache to a folder with more room."
        ) from error
    return entry, index


def _written(root: Path, entry: Path, write: Callable[[Path], Mapping[str, Any]]) -> None:
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}writing-", dir=root))
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        (folder / _INDEX).write_text(json.dumps(write(folder), allow_nan=False))
        if not entry.exists():  # another process may have been faster
            folder.rename(entry)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _hold(entry: Path) -> bool:
    """Locks an entry against deletion; False where there is none."""
    try:
        lock = os.open(entry, os.O_RDONLY)
    except FileNotFoundError:
        return False
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not (entry / _INDEX).exists():  # it was deleted before the lock was ours
        os.close(lock)
        return False
    _held.append(lock)
    return True


def _delete_unused(root: Path, wanted: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*"):
        if folder == wanted or not folder.is_dir():
            continue
        lock = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass
        finally:
            os.close(lock)
