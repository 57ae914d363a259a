"""Keeps a registry in a bucket, where single objects are atomic and nothing can be locked.

Who wants to change a model's names takes a number, as at a baker's counter (Lamport 1974): an
object ``<model>/.queue/<number>-<who>``, one higher than all there are. The lowest one is served.
That needs what stores promise since 2020: that an object and a listing show what was written
before. Who waits removes the number of a process that has not changed it for ``STALE_S`` seconds by
the waiting one's own clock; the one that is served looks whether its number is still there before
it writes.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from jamba_ray.checkpoints.remote_folder import RemoteFolder
from jamba_ray.errors import StorageError
from jamba_ray.versions.place import LAST, WAIT_S, checked_name, write_copy

STALE_S = 60.0
"""Seconds without a sign of life after which a number is taken from a process."""
_QUEUE = ".queue"
_POLL_S = 0.2


class BucketPlace:
    """Keeps a registry below a prefix of a bucket.

    Args:
        remote: Bucket and prefix.
        sleep, clock: Replace time in tests.
    """

    def __init__(
        self,
        remote: RemoteFolder,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._remote, self._sleep, self._clock = remote, sleep, clock
        self._ticket: str | None = None

    def __str__(self) -> str:
        return str(self._remote.uri)

    def read(self, name: str, limit: int) -> bytes | None:
        """Returns at most ``limit`` bytes of an object; None: there is none."""
        return self._remote.read(checked_name(name), limit)

    def write(self, name: str, data: bytes) -> None:
        """Writes an object, if this process is still the one that may."""
        if self._ticket is not None and self._remote.read(self._ticket, 1) is None:
            raise StorageError(
                f"one process at a time must change {self}, but another one took over while this "
                "one was silent. Nothing more is written; do it again."
            )
        self._remote.write(checked_name(name), data)

    def names(self, below: str = "") -> list[str]:
        """Returns the names of all objects below a folder, sorted, without those of the queue."""
        return [name for name in self._remote.names(below) if f"/{_QUEUE}/" not in name]

    def add(self, folder: str, files: Mapping[str, bytes]) -> bool:
        """Adds a folder whose last object makes it a version; call it in ``locked``."""
        if self.names(folder):
            return False
        for name in sorted(files, key=lambda one: (one == LAST, one)):
            self._remote.write(f"{checked_name(folder)}/{checked_name(name)}", files[name])
        return True

    @contextlib.contextmanager
    def locked(self, model: str) -> Iterator[None]:
        """Waits until it is this process's turn to change a model's names.

        Raises:
            StorageError: It is not within ``WAIT_S`` seconds, or the bucket refuses.
        """
        queue = f"{checked_name(model)}/{_QUEUE}"
        me = f"{uuid.uuid4().hex}"
        choosing = f"{queue}/choosing-{me}"
        self._remote.write(choosing, b"1")
        ticket = ""
        try:
            taken = [_number(name) for name in self._remote.names(queue)]
            ticket = f"{queue}/{max(taken, default=0) + 1:012d}-{me}"
            self._remote.write(ticket, str(os.getpid()).encode())
            self._remote.delete(choosing)
            self._wait(queue, ticket)
            self._ticket = ticket
            yield
        finally:
            self._ticket = None
            with contextlib.suppress(StorageError):
                self._remote.delete(choosing)
                if ticket:
                    self._remote.delete(ticket)

    def _wait(self, queue: str, ticket: str) -> None:
        """Waits for those who come first: all that are choosing, and all with lower numbers."""
        begun = self._clock()
        since: dict[str, float] = {}
        mine = ticket.rpartition("/")[2]
        while True:
            now = self._clock()
            names = [name for name in self._remote.names(queue) if name != ticket]
            first = [n for n in names if (last := n.rpartition("/")[2]) < mine or last[0] == "c"]
            if not first:
                return
            since = {name: since.get(name, now) for name in first}
            for name in [name for name, seen in since.items() if now - seen >= STALE_S]:
                self._remote.delete(name)
            if now - begun >= WAIT_S + STALE_S:
                raise StorageError(
                    f"one process at a time must change the names in {self}, but others have done "
                    f"so for {now - begun:.0f} s. Try again when they have ended."
                )
            self._sleep(_POLL_S)

    def fetched(self, folder: str, files: Mapping[str, bytes], key: str) -> Path:
        """Writes a copy of the verified files to this user's cache."""
        cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
        base = Path(cache) / "jamba-ray" / "versions" / key
        held = {name: base / name for name in files}
        with contextlib.suppress(OSError):
            same = all(path.read_bytes() == files[name] for name, path in held.items())
            there = {p.relative_to(base).as_posix() for p in base.rglob("*") if p.is_file()}
            if same and there == set(files):
                return base
        return write_copy(base, files)


def _number(name: str) -> int:
    digits = name.rpartition("/")[2].partition("-")[0]
    return int(digits) if digits.isdigit() else 0
