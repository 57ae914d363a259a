"""Opens a Ray session that prints nothing and leaves nothing behind."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jamba_ray.cluster.nodes import cluster_machine
from jamba_ray.cluster.ray_private import AUTO_CONNECT, PRINTED, assign
from jamba_ray.cluster.resources import Machine, count_gpus, this_machine
from jamba_ray.cluster.surroundings import (
    cluster_address,
    require_surroundings,
)
from jamba_ray.driver.head_watch import kill_sessions
from jamba_ray.driver.local_ray import forget, head_processes, start
from jamba_ray.driver.own_token import own_token
from jamba_ray.errors import UnavailableError, one_line
from jamba_ray.runs.scratch import scratch_folder, socket_folder

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
    # For runners with several threads, also where a notebook starts Ray: see ``cli.entry``.
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_USAGE_STATS_ENABLED": "0",
    # jamba_ray.driver.signals handles the signals.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Resume never reads Tune's state, so it is not written every few seconds.
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


@dataclass(frozen=True)
class RaySession:
    """Holds what a session offers while it is open."""

    machine: Machine
    local: bool
    """Whether this process started the cluster (and ends it)."""
    scratch: Path
    """A folder for what Tune writes; deleted at the end."""
    node_id: str
    """The driver's node, where the study lies."""
    ahead: tuple[str, ...] = ()
    """Modules that the workers that Ray starts import at once."""
    processes: Mapping[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    """Processes that this one started and needs, by name; empty on a cluster."""


@contextlib.contextmanager
def ray_session(
    *,
    address: str | None = None,
    verbose: bool = False,
    machine: Machine | None = None,
    ahead: Callable[[Machine], Sequence[str]] = lambda machine: (),
) -> Iterator[RaySession]:
    """Connects to the cluster at ``address`` or ``RAY_ADDRESS``, or starts Ray on this machine.

    ``ray job submit`` sets ``RAY_ADDRESS``. Ray is shut down at the end in every case.

    Args:
        address: A cluster; ``local``: this machine, whatever the environment says.
        verbose: Whether Ray prints.
        machine: What a cluster on this machine may use; None: all there is.
        ahead: Modules that each worker on this machine (Ray starts one per CPU) imports at once.

    Raises:
        UnavailableError: The cluster cannot be reached or Ray cannot start.
    """
    _set_environment(verbose)
    import ray

    # After shutdown no late call may start another Ray; the variable for it is read on import.
    assign(AUTO_CONNECT, False)
    cluster = cluster_address(address)
    require_surroundings(address)
    loaded: Sequence[str] = ()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(scratch_folder())
        stack.enter_context(_silence(verbose))
        log = scratch / "ray.log"
        try:
            with contextlib.nullcontext() if verbose else _errors_to(log):
                if cluster is None:
                    machine = machine or this_machine(count_gpus())
                    loaded = ahead(machine)
                    sockets = stack.enter_context(_socket_folder(scratch))
                    stack.enter_context(own_token(sockets))
                    start(machine, sockets, verbose, loaded)
                else:
                    ray.init(
                        address=cluster,
                        log_to_driver=verbose,
                        logging_level=logging.INFO if verbose else logging.ERROR,
                        configure_logging=verbose,
                    )
        except Exception as error:
            _end()
            raise UnavailableError(_why(error, cluster, log)) from error
        try:
            yield RaySession(
                machine=cluster_machine(local=cluster is None),
                local=cluster is None,
                scratch=scratch,
                node_id=ray.get_runtime_context().get_node_id(),
                processes=head_processes() if cluster is None else {},
                ahead=tuple(loaded),
            )
        finally:
            _end()


def _socket_folder(scratch: Path) -> contextlib.AbstractContextManager[Path]:
    """Returns ``scratch``, or another scratch folder where its path is too long for sockets."""
    within = socket_folder()
    return contextlib.nullcontext(scratch) if within == scratch.parent else scratch_folder(within)


def end_at_once() -> None:
    """Kills the Ray that this process has started, and its workers, without asking it.

    Ray itself may be what hangs. Does nothing to a cluster, nor where there is no Ray.
    """
    if "ray" in sys.modules:
        with contextlib.suppress(Exception):
            kill_sessions(process.pid for process in head_processes().values())


def _end() -> None:
    import ray

    with contextlib.suppress(Exception):
        ray.shutdown()
    forget()


def _why(error: Exception, cluster: str | None, log: Path) -> str:
    """Returns Ray's own error message where Ray cannot be had, without a guess of the cause."""
    if isinstance(error, UnavailableError):
        return error.message
    what = one_line(error)
    with contextlib.suppress(OSError):
        if cluster is not None and "Unauthenticated" in log.read_text(errors="replace"):
            return (
                f"Ray at {cluster!r} must take the token that is here, but does not. Put the "
                "cluster's token into ~/.ray/auth_token (mode 0600), and set RAY_AUTH_MODE=token."
            )
    if cluster is not None:
        return (
            f"Ray must be reachable at {cluster!r}, but is not ({what}). "
            "Check `ray status` there, or unset RAY_ADDRESS to run on this machine."
        )
    return (
        f"Ray must start on this machine, but does not ({what}). "
        "See what it prints with `verbose=true`, or run `jamba-ray doctor`."
    )


@contextlib.contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """Redirects stderr to a file, because Ray's compiled code does not use Python's loggers."""
    sys.stderr.flush()
    kept = os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.dup2(file, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(file)


def _set_environment(verbose: bool) -> None:
    for name, value in {**_ALWAYS, **({} if verbose else _QUIET)}.items():
        os.environ.setdefault(name, value)


@contextlib.contextmanager
def _silence(verbose: bool) -> Iterator[None]:
    """Raises the level of Ray's loggers and drops warnings raised inside its modules."""
    if verbose:
        yield
        return
    printed: Any = PRINTED.find()
    loggers = [logging.getLogger(name) for name in _NOISY]
    before, skipped = [logger.level for logger in loggers], getattr(printed, "skip_re", None)
    # The raylet's messages on a dead worker are printed even with `log_to_driver=False`.
    if printed is not None:
        printed.skip_re = re.compile("")
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"ray(\..*)?$")
            warnings.filterwarnings("ignore", category=ResourceWarning)
            yield
    finally:
        if printed is not None:
            printed.skip_re = skipped
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
