"""Starts Ray on this machine for one sweep: on the loopback interface and with a long timeout.

Where Ray has no option for this, its own methods are replaced (``cluster.ray_private``).
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jamba_ray.checkpoints import Failure, Patience, retry
from jamba_ray.cluster import ray_private
from jamba_ray.cluster.ray_private import PrivateName, replaced
from jamba_ray.cluster.resources import Machine
from jamba_ray.cluster.surroundings import object_store_bytes
from jamba_ray.errors import UnavailableError

_LOOPBACK = "127.0.0.1"
_START_S = 300
"""Seconds that Ray's own processes may take to start: half a minute is not enough on a machine that
other work loads."""
_SHORT = {"timeout_ms": 2000}


@dataclass(frozen=True)
class _Begun:
    """Holds a process of Ray that was started here."""

    name: str
    process: subprocess.Popen[bytes]
    outputs: tuple[str, ...]
    """Files that it writes to, its errors first."""


_BEGUN: list[_Begun] = []
"""Of the Ray that this process has started; Ray too is there once a process."""


def head_processes() -> dict[str, subprocess.Popen[bytes]]:
    """Returns what this process has started and cannot go on without, by name."""
    return {b.name: b.process for b in _BEGUN if b.name in ("gcs_server", "raylet")}


def forget() -> None:
    """Notes that the Ray of this process has ended."""
    _BEGUN.clear()


def start(machine: Machine, sockets: Path, verbose: bool, ahead: Sequence[str]) -> None:
    """Calls ``ray.init`` for a Ray of this process alone, with its sockets below ``sockets``.

    Raises:
        UnavailableError: A process of Ray ended while it was started.
    """
    import ray

    forget()
    for name in (ray_private.OWN_ADDRESS, ray_private.LOCAL_ADDRESS):
        name.require()  # without them it would listen to others
    options = {
        ray_private.TEMPORARY_FOLDER: str(sockets / "ray"),
        ray_private.OWN_ADDRESS: _LOOPBACK,
        # Ray starts a worker for each CPU and ends idle ones above this number after a second; one
        # became the study's server, and another would be ended just before a runner needs it.
        ray_private.SYSTEM_CONFIG: {
            "num_workers_soft_limit": machine.cpus + 2,
            "preload_python_modules": list(ahead),
        },
    }
    with _few_processes(verbose), _in_sessions_of_their_own(), _on_loopback(), _patient():
        ray.init(
            address="local",
            num_cpus=machine.cpus,
            num_gpus=machine.gpus,
            include_dashboard=False,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            configure_logging=verbose,
            object_store_memory=object_store_bytes(),
            **ray_private.known_options(options),
        )


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Makes ``ray.init`` use the loopback address, so that no other machine can connect.

    No option does it: Ray 2.60 takes 127.0.0.1 for the address that other machines reach.
    """
    with replaced({ray_private.LOCAL_ADDRESS: lambda host: host}):
        yield


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Makes ``ray.init`` wait up to ``_START_S`` for its processes, and stop waiting if one ends.

    It waits for half a minute, whether they live or not; no option changes that (Ray 2.60).
    """
    deadline = time.monotonic() + _START_S

    def failed(failure: Failure) -> None:
        if ended := _ended():
            raise UnavailableError(ended) from None

    def retried(name: PrivateName, most: Mapping[str, int]) -> Callable[..., Any]:
        ask = name.find()

        def call(*args: Any, **options: Any) -> Any:
            left_s = deadline - time.monotonic()
            return retry(
                lambda: ask(*args, **{**options, **most}), Patience(left_s, first_s=0.0), failed
            )

        return call

    asking = {ray_private.FIND_NODE: {}, ray_private.FIND_PORT: _SHORT}
    with replaced({name: retried(name, most) for name, most in asking.items()}):
        yield


def _ended() -> str | None:
    """Returns a sentence on a process of Ray that ended, with the last line that it wrote."""
    for one in _BEGUN:
        if one.name in ("gcs_server", "raylet") and (code := one.process.poll()) is not None:
            return f"Ray's {one.name} must start, but ended with code {code}{_last(one.outputs)}."
    return None


def _last(outputs: Sequence[str]) -> str:
    for path in outputs:
        with contextlib.suppress(OSError):
            lines = Path(path).read_text(errors="replace").split("\n")
            # A fatal message is followed by a stack trace of Ray's code, which is left out.
            said = [line.strip() for line in lines if line.strip()]
            fatal = [line for line in said if " C " in line or " F " in line or "what():" in line]
            if said:
                return f": {(fatal or said[-1:])[0]}"
    return ""


@contextlib.contextmanager
def _few_processes(verbose: bool) -> Iterator[None]:
    """Makes ``ray.init`` start only the processes that a sweep on one machine uses.

    Ray starts an autoscaler's monitor, the dashboard's server (without its dashboard) and a log
    monitor one after the other, and ends them one after the other, which takes seconds in which
    nothing else happens (``tests/benchmarks/sweep_speed.md``). A sweep on one machine uses none of
    them: runners write their own logs. No option leaves them out (Ray 2.60).
    """
    unused = [ray_private.START_MONITOR, ray_private.START_DASHBOARD]
    unused += [] if verbose else [ray_private.START_LOG_MONITOR]
    with replaced(dict.fromkeys(unused, lambda *args, **options: None)):
        yield


@contextlib.contextmanager
def _in_sessions_of_their_own() -> Iterator[None]:
    """Makes ``ray.init`` start each process in a session of its own, and notes it.

    A signal for this process's group (Ctrl-C, ``timeout``) would otherwise end Ray under a sweep
    that is still saving its state; and by the session's number, which workers inherit, all of them
    are found. No option does it (Ray 2.60).
    """
    start_process = ray_private.START_PROCESS.find()

    def apart(command: Sequence[str], **options: Any) -> Any:
        process = start_process(command, start_new_session=True, **options)
        files = (getattr(options.get(name), "name", None) for name in ("stderr", "stdout"))
        outputs = tuple(str(file) for file in files if file is not None)
        _BEGUN.append(_Begun(Path(command[0]).name, process, outputs))
        return process

    with replaced({ray_private.START_PROCESS: apart}):
        yield
