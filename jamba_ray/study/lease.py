"""One writer a run: a lease in the study itself, renewed while its driver lives."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from pathlib import Path

from jamba_ray.errors import RunExistsError, StorageError

STALE_S = 30.0
"""A lease not renewed for so long may be taken over."""
RENEW_S = 5.0


class LeaseLostError(StorageError):
    """Another driver writes this run now."""


def lost_lease(path: Path) -> LeaseLostError:
    """The error of a writer that finds that it lost its lease."""
    return LeaseLostError(
        f"a run must have one writer, but another driver took over {str(path.parent)!r} while this "
        "one was silent. Nothing more is written from here; follow the other one."
    )


def connect(path: Path, *, timeout_s: float = 30.0) -> sqlite3.Connection:
    """A connection to a study that exists; never makes a file."""
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(
        uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False
    )
    # FULL: the log is fsynced at each commit, so an acknowledged trial survives power loss.
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def take(connection: sqlite3.Connection, path: Path) -> int:
    """Become the writer; the lease's new epoch, by which every commit is judged.

    Raises:
        RunExistsError: Another driver holds the lease.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        refuse_if_held(connection, path)
        connection.execute(
            "UPDATE jamba_ray_lease SET epoch = epoch + 1, holder = ?, renewed = ?, writer = ''",
            (json.dumps(_myself()), time.time()),
        )
        (epoch,) = connection.execute("SELECT epoch FROM jamba_ray_lease").fetchone()
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return int(epoch)


def refuse_if_held(connection: sqlite3.Connection, path: Path, *, but_me: bool = False) -> None:
    """Raise RunExistsError, naming the holder, if a driver that may be alive holds the lease."""
    holder, renewed = connection.execute("SELECT holder, renewed FROM jamba_ray_lease").fetchone()
    age = time.time() - renewed
    if not holder or age > STALE_S:
        return
    try:
        who = json.loads(holder)
        if _is_dead(who) or (but_me and who == _myself()):
            return
        name = f"process {int(who['pid'])} on {who['host']}"
    except (ValueError, KeyError, TypeError):
        name = "an unknown process"
    raise RunExistsError(
        f"a run must have one writer, but {str(path.parent)!r} is in use by {name} "
        f"(last sign of life {max(0.0, age):.0f} s ago). Wait for it, end it, or choose another "
        "`run=`."
    )


def check_free(path: Path) -> None:
    """See ``refuse_if_held``; a study that is missing or cannot be read is nobody's."""
    if not path.exists():
        return
    try:
        with contextlib.closing(connect(path, timeout_s=1.0)) as connection:
            refuse_if_held(connection, path)
    except (sqlite3.Error, TypeError):
        return


class Lease:
    """Keeps the lease of ``epoch`` alive from a thread of the driver's process.

    A driver that is paused or cut off renews nothing, another may take over, and every commit of
    this one's server is refused from then on, because it checks the epoch in its transaction.
    """

    def __init__(self, path: Path, epoch: int) -> None:
        self._path, self._epoch = path, epoch
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="jamba_ray-lease", daemon=True)
        self.lost = False
        """Whether another driver took over."""

    def __reduce__(self) -> tuple[type[Lease], tuple[Path, int]]:
        # Tune serialises what it is given; only this process renews.
        return Lease, (self._path, self._epoch)

    def __enter__(self) -> Lease:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(RENEW_S)
        with contextlib.suppress(sqlite3.Error):
            self._write("UPDATE jamba_ray_lease SET holder = '', renewed = 0 WHERE epoch = ?")

    def _loop(self) -> None:
        while not self._stop.wait(RENEW_S) and not self.lost:
            # A disk that refuses: the commits meet the same trouble and say so.
            with contextlib.suppress(sqlite3.Error):
                self._write("UPDATE jamba_ray_lease SET renewed = ? WHERE epoch = ?", time.time())

    def _write(self, statement: str, *given: float) -> None:
        with contextlib.closing(connect(self._path)) as connection:
            if connection.execute(statement, (*given, self._epoch)).rowcount == 0:
                self.lost = True


def _myself() -> dict[str, str | int]:
    return {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "space": _space(),
        "start": _start_of(os.getpid()) or "",
    }


def _is_dead(who: dict[str, str | int]) -> bool:
    """Whether the holder is of this machine and gone (its number may have been given anew)."""
    if not who["space"] or who["space"] != _space():
        return False
    return _start_of(int(who["pid"])) != who["start"]


def _space() -> str:
    """Where a process number means the same process: one boot, one pid namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """When a process started, in clock ticks; None: there is none (a zombie is none)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
