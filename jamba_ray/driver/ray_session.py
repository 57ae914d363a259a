"""A Ray session that says nothing and leaves nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from jamba_ray.cluster.nodes import cluster_machine
from jamba_ray.cluster.resources import Machine, this_machine
from jamba_ray.driver.head_watch import kill_sessions
from jamba_ray.errors import UnavailableError
from jamba_ray.runs.scratch import scratch_folder

_QUIET = {
    # Tune's own loggers and display cost more than small trials.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "1000000",
    "RAY_AIR_RICH_LAYOUT": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_ALWAYS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Signals are ours: see jamba_ray.driver.signals.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Resume never reads Tune's state, so do not write it every few seconds.
    "TUNE_GLOBAL_CHECKPOINT_S": "100000000",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    # The searcher knows how many runners there are; Tune would start them one after the other.
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_INIT": "1",
}
_NOISY = ("ray", "ray.tune", "ray.train", "ray.data", "ray._private", "asyncio", "filelock")
_LONGEST_TEMP = 30
"""Characters of a temporary folder in which Ray's sockets (``<temp>/session_.../sockets/...``) stay
below the 107 bytes that a Unix socket's path may have."""


@dataclass(frozen=True)
class RaySession:
    """What a session offers while it is open."""

    machine: Machine
    local: bool
    """Whether this process started the cluster (and ends it)."""
    scratch: Path
    """A folder for what Tune writes; deleted at the end."""
    node_id: str
    """The driver's node, where the study lies."""
    ahead: tuple[str, ...] = ()
    """What the workers that Ray starts import at once."""
    processes: Mapping[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """What this process started and cannot go on without, by name; empty on a cluster."""


@contextlib.contextmanager
def ray_session(
    *,
    address: str | None = None,
    verbose: bool = False,
    machine: Machine | None = None,
    ahead: Callable[[Machine], Sequence[str]] = lambda machine: (),
) -> Iterator[RaySession]:
    """Connect to the cluster at ``address`` or ``RAY_ADDRESS`` (set by ``ray job submit``), or
    start one on this machine; shut down whatever happens.

    Args:
        address: A cluster; ``local``: this machine, whatever the environment says.
        verbose: Let Ray print.
        machine: What a cluster on this machine may use; None: all there is.
        ahead: Modules that each worker on this machine (Ray starts one per CPU) imports at once.

    Raises:
        UnavailableError: The cluster cannot be reached or Ray cannot start.
    """
    _set_environment(verbose)
    import ray
    from ray._private import auto_init_hook

    # After shutdown no late call may start another Ray (the variable for it is read on import).
    auto_init_hook.enable_auto_connect = False
    address = address or os.environ.get("RAY_ADDRESS")
    local = address in (None, "", "local")
    loaded: Sequence[str] = ()
    with scratch_folder() as scratch, _silence(verbose):
        try:
            if local:
                machine = machine or this_machine(_count_gpus())
                loaded = ahead(machine)
                _start(machine, scratch, verbose, loaded)
            else:
                ray.init(
                    address=address,
                    log_to_driver=verbose,
                    logging_level=logging.INFO if verbose else logging.ERROR,
                    configure_logging=verbose,
                )
        except Exception as error:
            _end()
            where = "on this machine" if local else f"at {address!r}"
            raise UnavailableError(
                f"Ray must be reachable {where}, but is not "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0]}). "
                "Check `ray status`, or unset RAY_ADDRESS to run on this machine."
            ) from error
        try:
            yield RaySession(
                machine=cluster_machine(local=local),
                local=local,
                scratch=scratch,
                node_id=ray.get_runtime_context().get_node_id(),
                processes=_processes() if local else {},
                ahead=tuple(loaded),
            )
        finally:
            _end()


def _start(machine: Machine, scratch: Path, verbose: bool, ahead: Sequence[str]) -> None:
    import ray

    options: dict[str, Any] = {}
    if len(str(scratch / "ray")) <= _LONGEST_TEMP:
        options["_temp_dir"] = str(scratch / "ray")
    with _few_processes(verbose), _in_sessions_of_their_own():
        ray.init(
            address="local",
            num_cpus=machine.cpus,
            num_gpus=machine.gpus,
            include_dashboard=False,
            log_to_driver=verbose,
            logging_level=logging.INFO if verbose else logging.ERROR,
            configure_logging=verbose,
            object_store_memory=_object_store_bytes(),
            # Ray starts a worker for each CPU and ends idle ones above this number after a second;
            # one became the study's server, and another would be ended just before a runner needs
            # it.
            _system_config={
                "num_workers_soft_limit": machine.cpus + 2,
                "preload_python_modules": list(ahead),
            },
            **options,
        )


@contextlib.contextmanager
def _few_processes(verbose: bool) -> Iterator[None]:
    """Let ``ray.init`` start only what a sweep on one machine has a use for.

    Ray starts an autoscaler's monitor, the dashboard's server (without its dashboard) and a log
    monitor one after the other, and ends them so: 3.8 s of a sweep on 2 cores, in which nothing
    else happens. Nothing scales here, nobody looks, and runners write their own logs. No option
    leaves them out (Ray 2.60).
    """
    from ray._private.node import Node

    unused = ["start_monitor", "start_api_server", *([] if verbose else ["start_log_monitor"])]
    with replaced(Node, dict.fromkeys(unused, lambda *args, **options: None)):
        yield


@contextlib.contextmanager
def _in_sessions_of_their_own() -> Iterator[None]:
    """Let ``ray.init`` start each process in a session of its own.

    A signal for this process's group (Ctrl-C, ``timeout``) would end Ray under a sweep that is
    still saving its state; and the session's number, which workers inherit, finds them all. No
    option does it (Ray 2.60).
    """
    from ray._private import services

    apart = partial(services.ConsolePopen, start_new_session=True)
    with replaced(services, {"ConsolePopen": apart}):
        yield


@contextlib.contextmanager
def replaced(owner: type | ModuleType, methods: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
    """Replaces methods of a class or module of Ray's for a while: what no option of Ray offers.
    Those that it does not have are left out, so that another Ray does what it does."""
    kept = {name: getattr(owner, name) for name in methods if hasattr(owner, name)}
    for name in kept:
        setattr(owner, name, methods[name])
    try:
        yield
    finally:
        for name, method in kept.items():
            setattr(owner, name, method)


def _processes() -> dict[str, subprocess.Popen[bytes]]:
    from ray._private import worker

    started: Any = worker._global_node.all_processes  # type: ignore[attr-defined]
    return {name: started[name][0].process for name in ("gcs_server", "raylet")}


def end_at_once() -> None:
    """Kills the Ray that this process has started, and all its workers, without a word to it: it
    may be what hangs. Does nothing to a cluster, nor where there is no Ray."""
    if "ray" in sys.modules:
        with contextlib.suppress(Exception):
            kill_sessions(process.pid for process in _processes().values())


def _end() -> None:
    import ray

    with contextlib.suppress(Exception):
        ray.shutdown()


def _object_store_bytes() -> int:
    """A fifth of the memory, at most 8 GB and at most 80 % of the shared memory there is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        shared = shutil.disk_usage("/dev/shm").free
    except OSError:
        shared = memory
    return max(100_000_000, int(min(0.2 * memory, 8e9, 0.8 * shared)))


def _count_gpus() -> int:
    """GPUs visible to this process, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([d for d in visible.split(",") if d.strip() and d.strip() != "-1"])
    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def _set_environment(verbose: bool) -> None:
    for name, value in {**_ALWAYS, **({} if verbose else _QUIET)}.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def _silence(verbose: bool) -> Iterator[None]:
    """Raise the level of Ray's loggers and drop warnings raised inside its modules."""
    if verbose:
        yield
        return
    from ray._private import worker

    printed: Any = worker.stdout_deduplicator  # type: ignore[attr-defined]
    loggers = [logging.getLogger(name) for name in _NOISY]
    before, skipped = [logger.level for logger in loggers], printed.skip_re
    # The raylet's words on a worker that died are printed even with `log_to_driver=False`.
    printed.skip_re = re.compile("")
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray(\..*)?$")
            warnings.filterwarnings("ignore", category=ResourceWarning)
            yield
    finally:
        printed.skip_re = skipped
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
