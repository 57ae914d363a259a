"""One writer a run: a lease in ``study.lease``, renewed while its driver lives."""

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
"""A lease not renewed for so long may be taken over."""
RENEW_S = 5.0
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_BYTES = 1024
"""Size of the file, which is written in place: a rename would leave its lock behind."""


class LeaseLostError(StorageError):
    """Another driver writes this run now."""


@dataclass(frozen=True)
class Holder:
    """Who may write a study."""

    epoch: int
    """Grows with each driver that takes the lease: every commit is judged by it."""
    process: dict[str, Any] | None = None
    """None: nobody, the lease was given back."""
    renewed: float = 0.0
    writer: str = ""
    """The server of that driver which opened the study last; empty: none yet."""


def lost_lease(path: Path) -> LeaseLostError:
    """The error of a writer that finds that it lost its lease."""
    return LeaseLostError(
        f"a run must have one writer, but another driver took over {str(path.parent)!r} while this "
        "one was silent. Nothing more is written from here; follow the other one."
    )


def lease_of(path: Path) -> Path:
    """Where the lease of a study lies."""
    return path.with_name(f"{path.stem}.lease")


def take(path: Path) -> int:
    """Become the writer; the lease's new epoch, by which every commit is judged.

    Raises:
        RunExistsError: Another driver holds the lease.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path, create=True, timeout_s=1.5) as file:
        found = _read(file)
        if found is not None:
            refuse_if_held(found, path)
        # Larger than any that was lost with its file.
        epoch = max(found.epoch + 1 if found else 0, time.time_ns())
        _write(file, Holder(epoch, _myself(), time.time()))
        os.fsync(file)
    return epoch


def adopt(path: Path, epoch: int, writer: str) -> None:
    """Become the writer within an epoch: the newest server of a driver is, should there be two.

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
    """While this is open nobody else becomes the writer.

    Raises:
        LeaseLostError: Somebody did before.
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
    """Let the next driver have it at once, unless another one has it."""
    with contextlib.suppress(OSError), _locked(path) as file:
        found = _read(file)
        if found is not None and found.epoch == epoch and writer in (None, found.writer):
            _write(file, replace(found, process=None, renewed=0.0))


def refuse_if_held(holder: Holder, path: Path) -> None:
    """Raise RunExistsError, naming the holder, if a driver that may be alive holds the lease."""
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
    """See ``refuse_if_held``; a lease that is missing or cannot be read is nobody's."""
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
    """Keeps the lease of ``epoch`` alive from a thread of the driver's process.

    A driver that is paused or cut off renews nothing, another may take over, and every commit of
    this one's server is refused from then on, because it checks the epoch while it writes.
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
            # A disk that refuses: the commits meet the same trouble and say so.
            with contextlib.suppress(OSError):
                self._renew()

    def _renew(self) -> None:
        # A file that somebody removed is made anew; a folder that is gone is not.
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
    """What the lease says; None: nothing, or it is damaged."""
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
    """Whether the holder is of this machine and gone (its number may have been given anew)."""
    if not who["space"] or who["space"] != _space():
        return False
    return bool(_start_of(int(who["pid"])) != who["start"])


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
