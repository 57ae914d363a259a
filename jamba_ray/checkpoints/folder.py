"""Creates, replaces and deletes folders in one step, even under ``kill -9`` and power loss.

POSIX makes ``rename`` atomic and ``fsync`` durable; everything else here follows from the order of
the two. Scratch folders begin with '.', so that no reader takes one for a checkpoint.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
import socket
import stat
import time
import uuid
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jamba_ray.errors import CheckpointError, StorageError

_SCRATCH = ".scratch"
_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100


def commit_folder(target: Path, files: Mapping[str, bytes]) -> None:
    """Makes ``target`` a folder of exactly these files, in their order, or leaves it as it was.

    ``target.parent`` must exist. Once this returns, the folder survives a power loss.

    Raises:
        StorageError: If the disk refuses; what was written so far is removed.
    """
    scratch = target.parent / _scratch_name()
    try:
        os.mkdir(scratch)
        for name, data in files.items():
            _write_durably(scratch / name, data)
        sync_folder(scratch)
        _install(scratch, target)
        sync_folder(target.parent)
    except OSError as error:
        n_bytes = sum(len(data) for data in files.values())
        raise cannot_write(target, error, n_bytes) from error
    finally:
        # The scratch folder holds what failed or was replaced; after a plain rename it is gone.
        shutil.rmtree(scratch, ignore_errors=True)


def discard_folder(folder: Path) -> None:
    """Deletes ``folder``: its name disappears at once, its files afterwards.

    Raises:
        StorageError: If the disk refuses.
    """
    scratch = folder.parent / _scratch_name()
    try:
        os.rename(folder, scratch)
        sync_folder(folder.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(
            f"Cannot remove {folder}: {_reason(error)}. Make its folder writable."
        ) from error
    shutil.rmtree(scratch, ignore_errors=True)


def sweep_scratch(parent: Path, older_than_s: float) -> list[Path]:
    """Deletes what killed writers left in ``parent``, never what a living one writes.

    A scratch folder is an orphan if the process that made it ran on this machine and has ended, or
    if no file was added for ``older_than_s`` seconds (it is another machine's, or the pid is in use
    again).
    """
    removed = []
    for path in sorted(parent.glob(f"{_SCRATCH}.*")):
        if _is_orphan(path, older_than_s):
            shutil.rmtree(path, ignore_errors=True)
            removed.append(path)
    return removed


class OpenFolder:
    """Holds a folder open for reading, so that a replacement meanwhile mixes no two checkpoints."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError if ``path`` is no readable folder."""
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CheckpointError(
                f"{path}: there is no checkpoint ({_reason(error)}). Check the path."
            ) from error

    def __enter__(self) -> OpenFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def read(self, name: str, limit: int) -> bytes:
        """Reads at most ``limit`` bytes of a file.

        Raises:
            CheckpointError: If it is missing, no regular file, a symbolic link or unreadable.
        """
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(name, flags, dir_fd=self._fd)
            with open(fd, "rb") as file:
                status = os.fstat(fd)
                if not stat.S_ISREG(status.st_mode):
                    raise OSError(errno.EINVAL, "it is not a regular file")
                return file.read(min(limit, status.st_size + 1))
        except OSError as error:
            raise CheckpointError(
                f"{self.path}: `{name}` {_read_problem(error)}. Use an older checkpoint."
            ) from error

    def was_replaced(self) -> bool:
        """Says whether another folder has this one's name by now."""
        try:
            now, then = os.stat(self.path), os.fstat(self._fd)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) != (then.st_dev, then.st_ino)


def sync_folder(folder: Path) -> None:
    """Makes the names in ``folder`` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def cannot_write(target: Path, error: OSError, n_bytes: int) -> StorageError:
    """Returns the error for a refused write: where, why, and what to do."""
    needed = f"{n_bytes / 1e6:.1f} MB were to be written"
    way_out = {
        errno.ENOSPC: f"{needed}. Free space there, or lower `keep_checkpoints`",
        errno.EDQUOT: f"{needed}. Free space there, or ask for a larger quota",
        errno.EROFS: "Remount it writable, or choose another `store=`",
        errno.EACCES: "Give this user the right to write there, or choose another `store=`",
        errno.ENOENT: "Its folder is gone: mount it again or restore it, then `resume=true`",
    }.get(error.errno or 0, "Check the disk, or choose another `store=`")
    return StorageError(f"Cannot write {target}: {_reason(error)}. {way_out}.")


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _install(scratch: Path, target: Path) -> None:
    try:
        os.rename(scratch, target)  # takes the place of nothing or of an empty folder
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        if not _exchange(scratch, target):
            # A crash between these two leaves no target; its old content is deleted as an orphan.
            os.rename(target, scratch.with_name(scratch.name + "-old"))
            os.rename(scratch, target)
            shutil.rmtree(scratch.with_name(scratch.name + "-old"), ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Swaps two names in one step; False where the system or file system cannot."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(a), _AT_FDCWD, os.fsencode(b), _RENAME_EXCHANGE)
    if done == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(b))


def _read_problem(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "is missing"
    if error.errno == errno.ELOOP:
        return "is a symbolic link, and links are never followed"
    return f"cannot be read ({_reason(error)})"


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _scratch_name() -> str:
    return f"{_SCRATCH}.{_machine()}.{os.getpid()}.{uuid.uuid4().hex[:12]}"


def _is_orphan(path: Path, older_than_s: float) -> bool:
    parts = path.name.split(".")
    of_here = len(parts) == 5 and parts[2] == _machine() and parts[3].isdigit()
    if of_here and not _is_alive(int(parts[3])):
        return True
    try:
        return time.time() - path.lstat().st_mtime > older_than_s
    except FileNotFoundError:
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@cache
def _machine() -> str:
    """Returns a name of the boot and the pid namespace, within which a pid names one process."""
    text = socket.gethostname()
    for source in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            text += os.readlink(source) if source.endswith("pid") else Path(source).read_text()
        except OSError:
            continue
    return hashlib.sha256(text.encode()).hexdigest()[:12]
