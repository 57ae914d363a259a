"""Opening a study that may be damaged: checked to the last bit, and made good from its copy.

Beside ``study.db`` lie ``study.copy.db`` (whole, verified, a few seconds old) and ``study.redo``
(each commit since the copy, one checked line each): together they hold every acknowledged commit,
whatever happens to the one file that is written all the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import optuna
from optuna.storages import RDBStorage
from sqlalchemy.pool import NullPool

from jamba_ray.errors import StorageError
from jamba_ray.runs.run_folder import sync_folder
from jamba_ray.study import lease, rows
from jamba_ray.study.rows import STUDY_NAME, Contents, Row

_FILES = ("", "-wal", "-shm")
_REFUSALS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}


def copy_of(path: Path) -> Path:
    """Where the copy of a study lies."""
    return path.with_name(f"{path.stem}.copy{path.suffix}")


def redo_of(path: Path) -> Path:
    """Where the commits since the copy lie."""
    return path.with_name(f"{path.stem}.redo")


@dataclass(frozen=True)
class Opened:
    """A study that is whole and whose lease was taken."""

    epoch: int
    """Of the lease, by which every commit is judged."""
    notes: tuple[str, ...]
    """What was damaged and how it was made good."""
    identity: Mapping[str, Any]
    """What the run was begun with; empty where it has not begun."""


def open_for_writing(path: Path, direction: Literal["maximize", "minimize"]) -> Opened:
    """Make or check the study, make it good if need be, and take its lease.

    Raises:
        RunExistsError: Another driver holds the lease.
        StorageError: The study is damaged and there is no good copy, or the disk refuses.
    """
    try:
        damage = _damage(path)
        notes: tuple[str, ...] = ()
        if damage is not None:
            notes = (_restore(path, damage),)
        elif not is_there(path):
            _create(path, direction)
        with contextlib.closing(lease.connect(path, timeout_s=1.5)) as connection:
            epoch = lease.take(connection, path)
            known = connection.execute(
                "SELECT value_json FROM study_user_attributes WHERE key = 'identity'"
            ).fetchone()
            return Opened(epoch, notes, json.loads(known[0]) if known else {})
    except (OSError, sqlite3.Error) as error:
        if not is_refusal(error):
            raise unreadable(path, str(error)) from error
        raise unwritable(path, error) from error


def make_good(path: Path) -> str | None:
    """Restore a damaged study from its copy, and return what was done; None: it is whole, or there
    is nothing to restore it from (which ``open_for_writing`` refuses).

    Raises:
        RunExistsError: Another driver holds the lease.
        StorageError: The disk refuses.
    """
    try:
        damage = _damage(path)
        if damage is None or isinstance(_check(copy_of(path)), str):
            return None
        return _restore(path, damage)
    except (OSError, sqlite3.Error) as error:
        raise unwritable(path, error) from error


def is_refusal(error: Exception) -> bool:
    """Whether the disk (or another process) refuses, as opposed to the file being damaged."""
    if isinstance(error, OSError):
        return True
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _REFUSALS


def unwritable(path: Path, error: Exception) -> StorageError:
    """The error for a study whose disk refuses."""
    return StorageError(
        f"{str(path.parent)!r} must be writable, but is not ({error}). Free or mount the disk, "
        "or choose another `store=`."
    )


def unreadable(path: Path, why: str) -> StorageError:
    """The error for a study that cannot be used as it is."""
    return StorageError(
        f"the study must be intact, but {str(path)!r} is damaged ({why}) and there is no good "
        "copy beside it. Restore it from a copy, or start a new run."
    )


def copy(connection: sqlite3.Connection, path: Path) -> None:
    """Replace the copy by one of the study as it is now, unless that turns out damaged."""
    temporary = path.with_name(f".{copy_of(path).name}")
    _remove(temporary)
    with contextlib.closing(sqlite3.connect(temporary)) as target:
        connection.backup(target)
        # One whole file, without a log of its own.
        target.execute("PRAGMA journal_mode=DELETE")
        rows.read(target)
    _sync(temporary)
    os.replace(temporary, copy_of(path))
    sync_folder(path.parent)


class Redo:
    """Appends commits; a line that is torn or damaged ends what can be done again."""

    def __init__(self, path: Path) -> None:
        self._file: IO[bytes] | None = None
        with contextlib.suppress(OSError):
            # Unbuffered: what a full disk refuses must not come back when the file is closed.
            self._file = open(redo_of(path), "ab", buffering=0)  # noqa: SIM115 (kept open)

    def append(self, number: int, changed: list[Row]) -> None:
        """Note commit ``number``. The database is the truth: a disk that refuses costs only the
        chance to make it good."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.write(_line(number, changed).encode())

    def clear(self) -> None:
        """Forget what the copy holds by now."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.truncate(0)

    def close(self) -> None:
        """Release the file."""
        if self._file is not None:
            with contextlib.suppress(OSError, ValueError):
                self._file.close()


def _damage(path: Path) -> str | None:
    """What is wrong with the study; None: nothing, or there is none yet."""
    redo = _read_redo(path)
    newest = max([n for n, _ in redo], default=0)
    if not is_there(path):
        if is_there(copy_of(path)) or redo:
            return "is missing"
        checkpoints = path.parent / "checkpoints"
        if checkpoints.is_dir() and any(checkpoints.glob("trial-*")):
            return "is missing, though there are checkpoints of its trials"
        return None
    found = _check(path)
    if isinstance(found, str):
        return f"is damaged ({found})"
    if is_there(copy_of(path)):
        known = _check(copy_of(path))
        newest = max(newest, known.commits if isinstance(known, Contents) else 0)
    if found.commits < newest:
        return f"lacks its newest commits (it has {found.commits} of {newest})"
    return None


def _restore(path: Path, damage: str) -> str:
    """Put the copy and the commits since in the place of a damaged study; what was done."""
    source = copy_of(path)
    found = _check(source)
    redo = _read_redo(path)
    if isinstance(found, str):
        raise unreadable(path, f"{path.name} {damage}; {source.name}: {found}")
    with contextlib.closing(sqlite3.connect(source)) as connection:
        lease.refuse_if_held(connection, path, but_me=True)
    kept = _set_aside(path)
    temporary = path.with_name(f".{path.name}.restored")
    _remove(temporary)
    with contextlib.closing(sqlite3.connect(temporary, isolation_level=None)) as target:
        with contextlib.closing(sqlite3.connect(source)) as connection:
            connection.backup(target)
        done = _redo(target, redo, found.commits)
        rows.read(target)
        target.execute("PRAGMA journal_mode=WAL")
    _sync(temporary)
    os.replace(temporary, path)
    sync_folder(path.parent)
    newest = max([n for n, _ in redo], default=found.commits)
    lost = max(0, newest - found.commits - done)
    more = f"; {lost} commits after it are lost and their work is done again" if lost else ""
    aside = f" (the damaged file is kept as {kept})" if kept else ""
    return (
        f"{path.name} {damage}: it was restored from {source.name} and {done} later commits{more}"
        f"{aside}."
    )


def _redo(target: sqlite3.Connection, redo: list[tuple[int, list[Row]]], after: int) -> int:
    done = 0
    for number, changed in redo:
        if number != after + done + 1:
            continue
        target.execute("BEGIN")
        for name, given in changed:
            target.execute(rows.STATEMENTS[name], given)
        target.execute("COMMIT")
        done += 1
    return done


def _check(path: Path) -> Contents | str:
    """What a study file holds, or what is wrong with it."""
    if not is_there(path):
        return f"there is no {path.name}"
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as connection:
            return rows.read(connection) or "it holds no study"
    except (sqlite3.Error, rows.DamagedError) as error:
        if is_refusal(error):
            raise
        return str(error)


def _create(path: Path, direction: Literal["maximize", "minimize"]) -> None:
    """A new, empty study, which appears whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove(temporary)
    # Optuna announces each study on stderr.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = RDBStorage(
        f"sqlite:///{temporary}",
        engine_kwargs={"poolclass": NullPool},
        # This process made it: Optuna would read its 15 migrations a second time to compare.
        skip_compatibility_check=True,
    )
    optuna.create_study(study_name=STUDY_NAME, storage=backend, direction=direction)
    backend.remove_session()
    backend.engine.dispose()
    with contextlib.closing(sqlite3.connect(temporary)) as connection:
        connection.executescript(rows.SCHEMA)
        empty = Contents(STUDY_NAME, direction.upper())
        connection.execute(rows.STATEMENTS["digest"], (rows.STUDY, rows.study_digest(empty)))
        connection.commit()
        connection.execute("PRAGMA journal_mode=WAL")
    _sync(temporary)
    # Not ``rename``: of two drivers that start at once the second finds the first one's study.
    if path.exists() and path.stat().st_size == 0:
        path.unlink()
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass
    except OSError:
        # A file system without hard links.
        os.replace(temporary, path)
    _remove(temporary)
    sync_folder(path.parent)


def _line(number: int, changed: list[Row]) -> str:
    text = json.dumps([number, changed], allow_nan=False, separators=(",", ":"))
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _read_redo(path: Path) -> list[tuple[int, list[Row]]]:
    found: list[tuple[int, list[Row]]] = []
    try:
        lines = redo_of(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    for line in lines:
        checksum, _, text = line.partition(" ")
        if checksum != f"{zlib.crc32(text.encode(errors='replace')):08x}":
            continue
        number, changed = json.loads(text)
        found.append((number, [(name, given) for name, given in changed]))
    return found


def _set_aside(path: Path) -> str | None:
    """Move what there is of a damaged study out of the way."""
    name = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}"
    for suffix in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", path.with_name(name + suffix))
    return name if path.with_name(name).exists() else None


def is_there(path: Path) -> bool:
    """Whether the file exists and holds something."""
    return path.exists() and path.stat().st_size > 0


def _remove(path: Path) -> None:
    for suffix in (*_FILES, "-journal"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
