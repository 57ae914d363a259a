"""Ensures that a run has one writer: by a lease in ``study.lease`` that its driver renews."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jamba_ray.errors import RunExistsError, StorageError

STALE_S = 30.0
"""Seconds without a renewal after which a lease may be taken over."""
RENEW_S = 5.0
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_BYTES = 1024
"""Size of the file, which is written in place: a rename would leave its lock behind."""


class LeaseLostError(StorageError):
    """Reports that another driver has taken over this run."""


@dataclass(frozen=True)
class Holder:
    """Holds who may write a study."""

    epoch: int
    """Grows with each driver that takes the lease; every commit checks it."""
    process: dict[str, Any] | None = None
    """None: the lease was given back and is free."""
    renewed: float = 0.0
    writer: str = ""
    """The newest server of that driver; empty: no server opened the study yet."""


def lost_lease(path: Path) -> LeaseLostError:
    """Returns the error for a writer that has lost its lease."""
    return LeaseLostError(
        f"a run must have one writer, but another driver took over {str(path.parent)!r} while this "
        "one was silent. Nothing more is written from here; follow the other one."
    )


def lease_of(path: Path) -> Path:
    """Returns the path of a study's lease."""
    return path.with_name(f"{path.stem}.lease")


def take(path: Path) -> int:
    """Takes the lease and returns its new epoch, which every commit checks.

    Raises:
        RunExistsError: Another driver holds the lease.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, create=True, timeout_s=1.5) as file:
        found = _read(file)
        if found is not None:
            refuse_if_held(found, path)
        # The time makes it larger than the epoch of a lease file that was deleted.
        epoch = max(found.epoch + 1 if found else 0, time.time_ns())
        _write(file, Holder(epoch, _myself(), time.time()))
        os.fsync(file)
    return epoch


def adopt(path: Path, epoch: int, writer: str) -> None:
    """Registers ``writer`` within an epoch; of two servers of one driver the newest writes.

    Raises:
        LeaseLostError: Another driver took over.
    """
    with _locked(path) as file:
        found = _read(file)
        if found is None or found.epoch != epoch:
            raise lost_lease(path)
        _write(file, replace(found, writer=writer))


@contextlib.contextmanager
def held(path: Path, epoch: int, writer: str) -> Iterator[None]:
    """Locks the lease while the context is open, so that no other process can become the writer.

    Raises:
        LeaseLostError: Another process became the writer before.
        OSError: The lease cannot be read.
    """
    with _locked(path) as file:
        found = _read(file)
        if found is None:
            raise OSError(f"{lease_of(path).name} cannot be read")
        if found.epoch != epoch or found.writer not in ("", writer):
            raise lost_lease(path)
        yield


def give_back(path: Path, epoch: int, writer: str | None = None) -> None:
    """Frees the lease for the next driver, unless another driver holds it by now."""
    with contextlib.suppress(OSError), _locked(path) as file:
        found = _read(file)
        if found is not None and found.epoch == epoch and writer in (None, found.writer):
            _write(file, replace(found, process=None, renewed=0.0))


def refuse_if_held(holder: Holder, path: Path) -> None:
    """Raises RunExistsError, naming the holder, if a driver that may be alive holds the lease."""
    age = time.time() - holder.renewed
    if holder.process is None or age > STALE_S:
        return
    try:
        if _is_dead(holder.process):
            return
        name = f"process {int(holder.process['pid'])} on {holder.process['host']}"
    except (ValueError, KeyError, TypeError):
        name = "an unknown process"
    raise RunExistsError(
        f"a run must have one writer, but {str(path.parent)!r} is in use by {name} "
        f"(last sign of life {max(0.0, age):.0f} s ago). Wait for it, end it, or choose another "
        "`run=`."
    )


def check_free(path: Path) -> None:
    """Raises RunExistsError if a driver that may be alive holds the lease of ``path``.

    A lease that is missing or cannot be read counts as free.
    """
    try:
        file = os.open(lease_of(path), os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        found = _read(file)
    finally:
        os.close(file)
    if found is not None:
        refuse_if_held(found, path)


class Lease:
    """Renews the lease of ``epoch`` from a thread of the driver's process.

    A driver that is paused or cut off renews nothing, so another one may take over. From then on
    every commit of the first driver's server is refused, because a commit checks the epoch while it
    writes.
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
        give_back(self._path, self._epoch)

    def _loop(self) -> None:
        while not self._stop.wait(RENEW_S) and not self.lost:
            # If the disk fails, the commits fail too and report it.
            with contextlib.suppress(OSError):
                self._renew()

    def _renew(self) -> None:
        # Creates a deleted file again, but not a deleted folder.
        with _locked(self._path, create=True) as file:
            found = _read(file) or Holder(self._epoch, _myself())
            self.lost = found.epoch != self._epoch
            if not self.lost:
                _write(file, replace(found, renewed=time.time()))


@contextlib.contextmanager
def _locked(path: Path, *, create: bool = False, timeout_s: float = 30.0) -> Iterator[int]:
    file = os.open(lease_of(path), _FLAGS | (os.O_CREAT if create else 0), 0o644)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{lease_of(path).name} is locked") from None
                time.sleep(0.002)
        yield file
    finally:
        os.close(file)


def _read(file: int) -> Holder | None:
    """Returns the holder in the file; None: the file is empty or damaged."""
    try:
        found = Holder(**json.loads(os.pread(file, _BYTES, 0)))
    except (ValueError, TypeError):
        return None
    sound = isinstance(found.epoch, int) and isinstance(found.renewed, int | float)
    return found if sound else None


def _write(file: int, holder: Holder) -> None:
    os.pwrite(file, json.dumps(asdict(holder)).encode().ljust(_BYTES - 1) + b"\n", 0)


def _myself() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "space": _space(),
        "start": _start_of(os.getpid()) or "",
    }


def _is_dead(who: dict[str, Any]) -> bool:
    """Says whether the holder ran on this machine and has ended (its pid may be in use again)."""
    if not who["space"] or who["space"] != _space():
        return False
    return bool(_start_of(int(who["pid"])) != who["start"])


def _space() -> str:
    """Returns a name of the boot and the pid namespace, within which a pid names one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _start_of(pid: int) -> str | None:
    """Returns the start time of a process in clock ticks; None: it has ended or is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
