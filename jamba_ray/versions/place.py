"""Reads and writes the files of a registry: in a folder of this machine, or in a bucket.

What every place gives: a file is written whole or not at all, a version appears whole or not at
all, and one process at a time changes a model's names.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from jamba_ray.checkpoints.folder import cannot_write, sync_folder
from jamba_ray.checkpoints.remote_folder import RemoteFolder
from jamba_ray.config.store_uri import StoreUri, parse_store
from jamba_ray.errors import ConfigError, StorageError

LAST = "version.json"
"""The file of a version that is written last: without it there is no version."""
WAIT_S = 20.0
"""Seconds that a process waits for another one that changes the same model's names."""
SCRATCH = ".scratch"
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Place(Protocol):
    """Reads and writes below the root of a registry; names are relative, with '/' between."""

    def read(self, name: str, limit: int) -> bytes | None:
        """Returns at most ``limit`` bytes of a file; None: there is none."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Writes a file so that a reader sees the old one or the whole new one."""
        ...

    def names(self, below: str = "") -> list[str]:
        """Returns the names of all files below a folder, sorted, without scratch files."""
        ...

    def add(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """Adds a folder of files, of which ``LAST`` is written last; False: it exists already."""
        ...

    def locked(self, model: str) -> contextlib.AbstractContextManager[None]:
        """Keeps other processes from changing the names of a model meanwhile."""
        ...

    def fetched(self, folder: str, files: Mapping[str, bytes], key: str) -> Path:
        """Returns a folder of this machine that holds these files of the registry's ``folder``."""
        ...


def place_of(registry: str) -> Place:
    """Returns the place that ``registry=`` means.

    Raises:
        ConfigError: It is no folder and no bucket.
    """
    try:
        found = parse_store(registry)
    except ValueError as error:
        why = str(error).replace("`store`", "`registry`")
        raise ConfigError([f"{why}."]) from None
    if isinstance(found, StoreUri):
        from jamba_ray.versions.bucket_place import BucketPlace

        return BucketPlace(RemoteFolder(found))
    return FolderPlace(Path(found))


def checked_name(name: str) -> str:
    """Returns a relative name of plain parts; raises ValueError for one that could climb."""
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name!r} is no name of a file in a registry")
    return name


class FolderPlace:
    """Keeps a registry in a folder of this machine, or of a file server."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def read(self, name: str, limit: int) -> bytes | None:
        """Returns at most ``limit`` bytes of a file; None: there is none.

        Raises:
            StorageError: It cannot be read, or is a link or no file.
        """
        path = self.root / checked_name(name)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with open(os.open(path, flags), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise OSError(errno.EINVAL, "it is not a regular file")
                return file.read(limit)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            what = "it is a link" if error.errno == errno.ELOOP else error.strerror or error
            raise StorageError(
                f"{path} must be a plain file of the registry, but cannot be read ({what}). "
                "Restore it from a copy."
            ) from error

    def write(self, name: str, data: bytes) -> None:
        """Writes a file by a temporary file, fsync and rename.

        Raises:
            StorageError: The disk refuses.
        """
        path = self.root / checked_name(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, scratch = tempfile.mkstemp(prefix=f"{SCRATCH}.", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.chmod(scratch, 0o644)
                os.replace(scratch, path)
            except BaseException:
                Path(scratch).unlink(missing_ok=True)
                raise
            sync_folder(path.parent)
        except OSError as error:
            raise _refused(path, error, len(data)) from error

    def names(self, below: str = "") -> list[str]:
        """Returns the names of all files below a folder, sorted; raises StorageError."""
        base = self.root / below if below else self.root
        found = []
        for folder, folders, files in os.walk(base):
            folders[:] = [one for one in folders if not one.startswith(".")]
            inside = Path(folder).relative_to(self.root)
            found += [(inside / one).as_posix() for one in files if not one.startswith(".")]
        return sorted(found)

    def add(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """Adds a folder in one step, by a rename; False: another process has added it already.

        Raises:
            StorageError: The disk refuses; nothing is left behind.
        """
        target = self.root / checked_name(folder)
        scratch = target.parent / f"{SCRATCH}.{uuid.uuid4().hex}"
        try:
            scratch.mkdir(parents=True)
            _write_tree(scratch, files)
            os.rename(scratch, target)
            sync_folder(target.parent)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                return False
            raise _refused(target, error, sum(map(len, files.values()))) from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        return True

    @contextlib.contextmanager
    def locked(self, model: str) -> Iterator[None]:
        """Holds the lock of a model, which the system frees when this process ends.

        Raises:
            StorageError: Another process holds it for long, or the disk refuses.
        """
        path = self.root / checked_name(model) / ".lock"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, flags, 0o644)
        except OSError as error:
            raise _refused(path, error, 0) from error
        try:
            _wait_for(handle, path)
            self._sweep(path.parent)
            yield
        finally:
            os.close(handle)

    def _sweep(self, folder: Path) -> None:
        """Deletes what killed processes left an hour ago or earlier."""
        for left in folder.glob(f"{SCRATCH}.*"):
            with contextlib.suppress(OSError):
                if time.time() - left.lstat().st_mtime > 3600.0:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def fetched(self, folder: str, files: Mapping[str, bytes], key: str) -> Path:
        """Returns the folder itself."""
        return self.root / checked_name(folder)


def _write_tree(base: Path, files: Mapping[str, bytes]) -> None:
    """Writes files, ``LAST`` at the end, and makes them and their names durable."""
    made = {base}
    for name in sorted(files, key=lambda one: (one == LAST, one)):
        path = base / checked_name(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        made.add(path.parent)
        with open(path, "xb") as file:
            file.write(files[name])
            file.flush()
            os.fsync(file.fileno())
        path.chmod(0o444)
    for one in sorted(made, reverse=True):
        sync_folder(one)


def write_copy(base: Path, files: Mapping[str, bytes]) -> Path:
    """Writes a copy of a version to ``base`` in one step, or takes the one that is there."""
    scratch = base.parent / f"{SCRATCH}.{uuid.uuid4().hex}"
    try:
        scratch.mkdir(parents=True)
        _write_tree(scratch, files)
        if base.exists():
            shutil.rmtree(base, ignore_errors=True)
        with contextlib.suppress(OSError):  # another process was first: the same bytes
            os.rename(scratch, base)
    except OSError as error:
        raise _refused(base, error, sum(map(len, files.values()))) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return base


def _wait_for(handle: int, path: Path) -> None:
    until = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise _refused(path, error, 0) from error
            if time.monotonic() >= until:
                raise StorageError(
                    f"one process at a time must change the names of {path.parent.name!r}, but "
                    f"another one has done so for {WAIT_S:.0f} s. Try again when it has ended."
                ) from None
            time.sleep(0.02)


def _refused(path: Path, error: OSError, n_bytes: int) -> StorageError:
    told = cannot_write(path, error, n_bytes).message
    return StorageError(told.replace("`store=`", "`registry=`"))
