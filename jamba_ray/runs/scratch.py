"""Makes a scratch folder that its process deletes, or the next process if it was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jamba_ray.errors import UnavailableError

PREFIX = "jr-"
_OWNER = "owner"
LONGEST_BELOW = 19
"""Bytes of a temporary folder in which Ray's sockets stay below the 107 bytes of a Unix socket's
path: ``<folder>/jr-4194304-abcdefgh/ray/session_2026-11-28_15-10-57_641123_4194304/sockets/``
``plasma_store`` adds 88."""


@contextlib.contextmanager
def scratch_folder(within: Path | None = None) -> Iterator[Path]:
    """Makes a folder of this process, readable by its owner alone.

    Folders of killed processes are deleted first. The file ``owner`` in it is locked while the
    process lives. The kernel releases a lock however a process ends, and unlike a process number it
    cannot belong to another process or container by now.

    Args:
        within: The folder to make it in; None: the system's temporary folder.

    Raises:
        UnavailableError: There is no temporary folder that can be written.
    """
    temporary = temporary_folder() if within is None else within
    delete_abandoned(temporary)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=temporary))
    # Locked before it has its name, so that no process finds an unlocked one.
    nameless = folder / f".{_OWNER}"
    with open(nameless, "w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        os.replace(nameless, folder / _OWNER)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def temporary_folder() -> Path:
    """Returns the system's temporary folder (TMPDIR, else ``/tmp`` and others).

    Raises:
        UnavailableError: None of them can be written.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise UnavailableError(
            f"A temporary folder must be writable, but none is ({error.strerror or error}). "
            "Free some space, or set TMPDIR to a folder that can be written."
        ) from error


def socket_folder(others: Sequence[str] | None = None) -> Path:
    """Returns a folder whose path is short enough for sockets below it.

    That is the temporary folder, or another of the system's where TMPDIR is long (a job's folder on
    a cluster).

    Args:
        others: Folders to choose from where the temporary one is too long; None: the system's.

    Raises:
        UnavailableError: All are too long, cannot be written or would let others replace what
            is made there.
    """
    temporary = temporary_folder()
    if len(os.fsencode(temporary)) <= LONGEST_BELOW:
        return temporary
    if others is None:
        others = [os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp", "/var/tmp", "/dev/shm"]
    for name in filter(None, others):
        if len(os.fsencode(name)) <= LONGEST_BELOW and _is_safe(Path(name)):
            return Path(name)
    raise UnavailableError(
        f"A temporary folder must have a path of at most {LONGEST_BELOW} bytes for Ray's sockets, "
        f"but {temporary} is longer and none of {', '.join(filter(None, others))} can be used. "
        "Set TMPDIR to a short path that can be written."
    )


def _is_safe(folder: Path) -> bool:
    """Says whether this process can make folders there that no other user can replace."""
    try:
        found = folder.stat()
    except OSError:
        return False
    ours = found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return (
        stat.S_ISDIR(found.st_mode)
        and (ours or bool(found.st_mode & stat.S_ISVTX))
        and os.access(folder, os.W_OK | os.X_OK)
    )


def delete_abandoned(temporary: Path) -> None:
    """Deletes the scratch folders of processes that have ended; those of other users stay."""
    for owner in temporary.glob(f"{PREFIX}*/{_OWNER}"):
        with contextlib.suppress(OSError):
            _delete_if_abandoned(owner.parent)


def _delete_if_abandoned(folder: Path) -> None:
    """Deletes a scratch folder if its owner has ended.

    It works through the folder's descriptor only, because whoever may write in the temporary folder
    may replace the folder by another one, or by a link, at any moment.
    """
    plain = os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.ExitStack() as stack:
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | plain)
        stack.callback(os.close, inside)
        lock = os.open(_OWNER, os.O_RDWR | os.O_NONBLOCK | plain, dir_fd=inside)
        stack.callback(os.close, lock)
        if any(os.fstat(handle).st_uid != os.geteuid() for handle in (inside, lock)):
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Last: where something could not be deleted, the next process tries again.
        for name in sorted(os.listdir(inside), key=_OWNER.__eq__):
            if stat.S_ISDIR(os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=inside)
            else:
                os.unlink(name, dir_fd=inside)
        os.rmdir(folder)  # empty by now, or another one that is not ours to delete
