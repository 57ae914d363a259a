"""Starts Ray on this machine for one sweep: on the loopback interface and with a long timeout.

Where Ray has no option for this, its own methods are replaced, here and nowhere else.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from jamba_ray.checkpoints import Failure, Patience, retry
from jamba_ray.cluster.resources import Machine
from jamba_ray.cluster.surroundings import object_store_bytes
from jamba_ray.errors import UnavailableError

_LOOPBACK = "127.0.0.1"
_START_S = 300
"""Seconds that Ray's own processes may take to start: half a minute is not enough on a machine that
other work loads."""
_SHORT = {"timeout_ms": 2000}


def start(machine: Machine, sockets: Path, verbose: bool, ahead: Sequence[str]) -> None:
    """Calls ``ray.init`` for a Ray of this process alone, with its sockets below ``sockets``.

    Raises:
        UnavailableError: A process of Ray ended while it was started.
    """
    import ray

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
            _temp_dir=str(sockets / "ray"),
            _node_ip_address=_LOOPBACK,
            # Ray starts a worker for each CPU and ends idle ones above this number after a second;
            # one became the study's server, and another would be ended just before a runner needs
            # it.
            _system_config={
                "num_workers_soft_limit": machine.cpus + 2,
                "preload_python_modules": list(ahead),
            },
        )


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """Makes ``ray.init`` use the loopback address, so that no other machine can connect.

    No option does it: Ray 2.60 takes 127.0.0.1 for the address that other machines reach.
    """
    from ray._private import services

    with replaced(services, {"resolve_ip_for_localhost": lambda host: host}):
        yield


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Makes ``ray.init`` wait up to ``_START_S`` for its processes, and stop waiting if one ends.

    It waits for half a minute, whether they live or not; no option changes that (Ray 2.60).
    """
    from ray._private import node, services

    module: Any = node
    begin: Any = module.Node.start_head_processes
    nodes: list[Any] = []
    deadline = time.monotonic() + _START_S

    def begun(one: Any) -> None:
        nodes.append(one)
        begin(one)

    def failed(failure: Failure) -> None:
        if ended := _ended(nodes):
            raise UnavailableError(ended) from None

    def retried(ask: Callable[..., Any], most: Mapping[str, int]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            left_s = deadline - time.monotonic()
            return retry(
                lambda: ask(*args, **{**options, **most}), Patience(left_s, first_s=0.0), failed
            )

        return call

    asking: dict[str, Callable[..., Any]] = {"get_node": retried(services.get_node, {})}
    port = {"wait_for_persisted_port": retried(module.wait_for_persisted_port, _SHORT)}
    with (
        replaced(module.Node, {"start_head_processes": begun}),
        replaced(module, port),
        replaced(services, asking),
    ):
        yield


def _ended(nodes: Sequence[Any]) -> str | None:
    """Returns a sentence on a process of Ray that ended, with the last line that it wrote."""
    for node in nodes:
        for name in ("gcs_server", "raylet"):
            for one in node.all_processes.get(name, ()):
                if (code := one.process.poll()) is not None:
                    return f"Ray's {name} must start, but ended with code {code}{_last(one)}."
    return None


def _last(process: Any) -> str:
    for path in (process.stderr_file, process.stdout_file):
        with contextlib.suppress(OSError, TypeError):
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
    from ray._private.node import Node

    unused = ["start_monitor", "start_api_server", *([] if verbose else ["start_log_monitor"])]
    with replaced(Node, dict.fromkeys(unused, lambda *args, **options: None)):
        yield


@contextlib.contextmanager
def _in_sessions_of_their_own() -> Iterator[None]:
    """Makes ``ray.init`` start each process in a session of its own.

    A signal for this process's group (Ctrl-C, ``timeout``) would otherwise end Ray under a sweep
    that is still saving its state; and by the session's number, which workers inherit, all of them
    are found. No option does it (Ray 2.60).
    """
    from ray._private import services

    apart = partial(services.ConsolePopen, start_new_session=True)
    with replaced(services, {"ConsolePopen": apart}):
        yield


@contextlib.contextmanager
def replaced(owner: type | ModuleType, methods: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Replaces methods of a class or module of Ray for a while, where Ray has no option.

    Methods that this version of Ray does not have are ignored, so that it behaves as it does by
    itself.
    """
    kept = {name: getattr(owner, name) for name in methods if hasattr(owner, name)}
    for name in kept:
        setattr(owner, name, methods[name])
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(owner, name, method)
