"""Opens a study that may be damaged: checks every line and repairs the journal from its copy.

A commit that was cut off (the process died while it wrote) was not acknowledged and is removed. All
else that is wrong with the journal is damage: each line that it lost is taken from the copy.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage

from jamba_ray.config.direction import Direction, Directions
from jamba_ray.errors import JambaError, StorageError
from jamba_ray.runs.checked_lines import Merged, Position, content_of, encode, merge
from jamba_ray.runs.file_writes import write_whole
from jamba_ray.study import lease, old_study
from jamba_ray.study.backend import JournalBackend

STUDY_NAME = "jamba_ray"
"""The one study in a run's journal."""
MAX_TAIL = 1_000_000
"""Most bytes that are read after the last commit."""
_IDENTITY = b'"user_attr":{"identity":'


def copy_of(path: Path) -> Path:
    """Returns the path of a study's copy."""
    return path.with_name(f"{path.stem}.copy{path.suffix}")


@dataclass(frozen=True)
class Whole:
    """Holds a study whose every line passed its check."""

    data: bytes
    end: Position
    notes: tuple[str, ...]
    """What was damaged and how it was made good."""


@dataclass(frozen=True)
class Opened:
    """Holds what is known of a study after it was checked and its lease taken."""

    epoch: int
    """Of the lease, by which every commit is judged."""
    notes: tuple[str, ...]
    """What was damaged and how it was made good."""
    identity: Mapping[str, Any]
    """What the run was begun with; empty where it has not begun."""


def open_for_writing(path: Path, *directions: Direction) -> Opened:
    """Takes the study's lease, then creates the study or checks and repairs it.

    Raises:
        RunExistsError: Another driver holds the lease.
        StorageError: The study is damaged and there is no good copy, or the disk refuses.
    """
    with refused(path):
        epoch = lease.take(path)
        try:
            with lease.held(path, epoch, ""):
                notes = () if _is_begun(path) else _begin(path, directions)
                whole = make_whole(path)
            with replayed(path):
                return Opened(epoch, (*notes, *whole.notes), identity_in(whole.data))
        except BaseException:
            lease.give_back(path, epoch)
            raise


def make_whole(path: Path) -> Whole:
    """Checks the journal and its copy and repairs both; only the holder of the lease may call it.

    Raises:
        StorageError: The study is damaged and there is no good copy.
        OSError: The disk refuses.
    """
    main, copy = content_of(path), content_of(copy_of(path))
    found = merge(main, copy)
    if not found.data:
        raise unreadable(path, f"{_damage(path, main, found)}; {_state(copy_of(path), copy)}")
    lost = found.newest - found.end.commits
    notes: tuple[str, ...] = ()
    if main.startswith(found.data) and not lost:
        if len(main) > len(found.data):
            if note := foreign(path, main[len(found.data) :][:MAX_TAIL]):
                notes = (note,)
            os.truncate(path, len(found.data))
    else:
        notes = (_restore(path, main, found, lost),)
    if copy != found.data:
        write_whole(copy_of(path), found.data)
    return Whole(found.data, found.end, notes)


def foreign(path: Path, tail: bytes) -> str | None:
    """Returns a sentence about lines after the last commit; None: they are an unfinished commit."""
    whole = [line for line in tail.split(b"\n")[:-1] if b'"op_code":' in line]
    n = sum(b',"sum":"' not in line for line in whole)
    if not n:
        return None
    return (
        f"{path.name} had {n} line{'s'[: n != 1]} that another program wrote (such as a note made "
        "in optuna-dashboard): removed, because a study has one writer."
    )


def content(path: Path) -> Merged:
    """Returns what the journal and its copy hold together, for readers; changes nothing."""
    main = content_of(path)
    found = merge(main, b"")
    if found.end.size < len(main) or not main:
        found = merge(main, content_of(copy_of(path)))
    return found


def copy_whole(path: Path) -> None:
    """Writes the copy again as a whole; raises OSError."""
    write_whole(copy_of(path), content_of(path))


@contextlib.contextmanager
def refused(path: Path) -> Iterator[None]:
    """Turns an OSError of the disk into a StorageError with a sentence."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{str(path.parent)!r} must be writable, but is not ({error}). Free or mount the disk, "
            "or choose another `store=`."
        ) from error


@contextlib.contextmanager
def replayed(path: Path) -> Iterator[None]:
    """Turns an error that Optuna raises while it reads the journal into a StorageError."""
    try:
        yield
    except JambaError:
        raise
    except Exception as error:
        raise unreadable(path, f"{type(error).__name__}: {error}") from error


def unreadable(path: Path, why: str) -> StorageError:
    """Returns the error for a study that is damaged and has no good copy."""
    return StorageError(
        f"the study must be intact, but {str(path)!r} is damaged ({why}) and there is no good "
        "copy beside it. Restore it from a copy, or start a new run."
    )


def _is_begun(path: Path) -> bool:
    return bool(content_of(path) or content_of(copy_of(path)))


def _begin(path: Path, directions: Directions) -> tuple[str, ...]:
    """Writes the first commit: an empty study, or an earlier version's study from SQLite."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # Optuna announces each study on stderr.
    backend = JournalBackend()
    storage = JournalStorage(backend)
    notes: tuple[str, ...] = ()
    old = old_study.path_beside(path)
    if old.exists():
        notes = (old_study.copy_into(storage, old, path),)
    elif any((path.parent / "checkpoints").glob("trial-*")):
        raise unreadable(path, "is missing, though there are checkpoints of its trials")
    else:
        optuna.create_study(study_name=STUDY_NAME, storage=storage, directions=directions)
    backend.seal()
    data, _ = encode(backend.sealed(), Position())
    write_whole(path, data)
    if notes:
        old_study.set_aside(old)
    return notes


def _restore(path: Path, main: bytes, found: Merged, lost: int) -> str:
    """Replaces a damaged file by the whole one and returns a sentence about it."""
    damage = _damage(path, main, found)
    kept = f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}" if main else ""
    if kept:
        os.replace(path, path.with_name(kept))
    write_whole(path, found.data)
    more = f"; {lost} commits after it are lost and their work is done again" if lost else ""
    aside = f" (the damaged file is kept as {kept})" if kept else ""
    return f"{path.name} {damage}: it was restored from {copy_of(path).name}{more}{aside}."


def _damage(path: Path, main: bytes, found: Merged) -> str:
    if not main:
        return "is empty" if path.exists() else "is missing"
    whole = merge(main, b"")
    if whole.end.size == len(main):
        return f"lacks its newest commits (it has {whole.end.commits} of {found.newest})"
    return f"is damaged after commit {whole.end.commits} of {found.newest}"


def _state(copy: Path, data: bytes) -> str:
    return f"{copy.name} is damaged too" if data else f"there is no {copy.name}"


def identity_in(data: bytes) -> dict[str, Any]:
    """Returns the newest identity in the journal, as ``Study.user_attrs`` will have it."""
    at = data.rfind(_IDENTITY)
    if at < 0:
        return {}
    line = data[data.rfind(b"\n", 0, at) + 1 : data.find(b"\n", at)]
    return dict(json.loads(line)["user_attr"]["identity"])
