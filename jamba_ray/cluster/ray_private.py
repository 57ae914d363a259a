"""Names everything that this package uses of Ray beyond its public API, and says what each buys.

Another version of Ray may lack any of it. Where a name buys speed or silence, a sweep runs without
it; where it keeps strangers or secrets apart, the sweep is refused. ``test_ray_private.py`` fails
for each name that is missing, with its sentence; ``test_private_names.py`` keeps such names in this
file.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from jamba_ray.errors import UnavailableError


@dataclass(frozen=True)
class PrivateName:
    """Describes a name in Ray that no version promises to keep."""

    place: str
    """``module:attribute``; of an option ``module:function(option)``."""
    buys: str
    """What it is used for, as a sentence's end."""
    without: str
    """What holds without it, and how it might be replaced: whole sentences."""

    @property
    def attribute(self) -> str:
        """Returns the last part of the name."""
        return self.place.rpartition(":")[2].rpartition(".")[2]

    def find(self) -> Any:
        """Returns what has this name in the Ray that is installed; None: nothing has."""
        module, _, path = self.place.partition(":")
        path, _, option = path.rstrip(")").partition("(")
        try:
            found: Any = reduce(getattr, path.split("."), importlib.import_module(module))
        except (ImportError, AttributeError):
            return None
        if not option:
            return found
        # It is one of ``**kwargs``, which only the function's code names.
        return option if option in inspect.unwrap(found).__code__.co_consts else None

    def require(self) -> Any:
        """Returns what has this name.

        Raises:
            UnavailableError: Nothing has, and there is no safe way without it.
        """
        found = self.find()
        if found is None:
            raise UnavailableError(self.missing())
        return found

    def missing(self) -> str:
        """Returns the sentences that say what a Ray without it means."""
        import ray

        return (
            f"Ray must have `{self.place}`, with which {self.buys}, but Ray {ray.__version__} has "
            f"none. {self.without}"
        )


_PINNED = "Install the Ray that pyproject.toml names."

# --- Ray on this machine (driver.local_ray, driver.ray_session, driver.own_token) ---------------

TEMPORARY_FOLDER = PrivateName(
    "ray:init(_temp_dir)",
    "Ray's sockets and logs lie in the run's scratch folder and go with it",
    f"Ray would leave them in /tmp/ray. {_PINNED}",
)
OWN_ADDRESS = PrivateName(
    "ray:init(_node_ip_address)",
    "Ray on this machine listens at 127.0.0.1 alone",
    f"Other machines could connect to it. {_PINNED}",
)
LOCAL_ADDRESS = PrivateName(
    "ray._private.services:resolve_ip_for_localhost",
    "Ray takes 127.0.0.1 for this node's address and does not listen to other machines",
    f"Other machines could connect to it. {_PINNED}",
)
SYSTEM_CONFIG = PrivateName(
    "ray:init(_system_config)",
    "workers have imported what runners need before the first one begins, and are kept",
    "The first trial begins a few seconds later.",
)
START_PROCESS = PrivateName(
    "ray._private.services:ConsolePopen",
    "Ray's processes are in sessions of their own (Ctrl-C spares them), are watched, and are ended "
    "at once where Ray hangs",
    "A signal to the process group ends Ray under the sweep; Ray notices the end of its head by "
    "itself, within a minute.",
)
START_MONITOR = PrivateName(
    "ray._private.node:Node.start_monitor",
    "no autoscaler is started where nothing scales",
    "A sweep begins a second later.",
)
START_DASHBOARD = PrivateName(
    "ray._private.node:Node.start_api_server",
    "no dashboard server is started where nobody looks",
    "A sweep begins two seconds later.",
)
START_LOG_MONITOR = PrivateName(
    "ray._private.node:Node.start_log_monitor",
    "no log monitor is started where workers' output is not printed",
    "A sweep begins a second later.",
)
FIND_NODE = PrivateName(
    "ray._private.services:get_node",
    "a raylet on a loaded machine is waited for, and one that has ended is not",
    "Ray itself waits for half a minute, alive or dead.",
)
FIND_PORT = PrivateName(
    "ray._private.node:wait_for_persisted_port",
    "Ray's processes on a loaded machine are waited for, and those that have ended are not",
    "Ray itself waits for half a minute, alive or dead.",
)
AUTO_CONNECT = PrivateName(
    "ray._private.auto_init_hook:enable_auto_connect",
    "no late call after a sweep's end starts another Ray",
    "RAY_ENABLE_AUTO_CONNECT=0 does the same where it is set before Ray is imported.",
)
PRINTED = PrivateName(
    "ray._private.worker:stdout_deduplicator",
    "what the raylet says of a worker that died is not printed into the sweep's display",
    "It is printed; RAY_DEDUP_LOGS_SKIP_REGEX=^ does the same where it is set before Ray is "
    "imported.",
)
COMPILED_CONFIG = PrivateName(
    "ray._raylet:Config.initialize",
    "a second Ray in one process asks for the second run's token",
    f"It would ask for none, or for one of a run that is over. {_PINNED}",
)
COMPILED_TOKEN = PrivateName(
    "ray._raylet:AuthenticationTokenLoader.instance",
    "a second Ray in one process asks for the second run's token",
    f"It would ask for none, or for one of a run that is over. {_PINNED}",
)

# --- Tune (driver.tune_loop) ---------------------------------------------------------------------

ACTOR_CLASS = PrivateName(
    "ray.tune.execution.class_cache:_ActorClassCache.get",
    "runners begin in workers that have imported torch already",
    "Each runner starts a process of its own, which costs a second of CPU time.",
)

# --- Clusters (cluster.nodes, cluster.job_client, cluster.upload) --------------------------------

DRAINING_NODES = PrivateName(
    "ray._private.state:state.get_draining_nodes",
    "a runner saves before its node is taken away, and is not counted as failed",
    "A node that is taken away is noticed when it has gone; its trials continue from their newest "
    "checkpoints.",
)
SEND_REQUEST = PrivateName(
    "ray.job_submission:JobSubmissionClient._do_request",
    "a request to a cluster that swallows what is sent ends after 30 s",
    "`submit` waits for as long as the network does.",
)
WALK_UPLOAD = PrivateName(
    "ray._private.runtime_env.packaging:_dir_travel",
    "`submit` lists every file that Ray will upload, and refuses secrets among them",
    f"Files could be uploaded unseen. {_PINNED}",
)
UPLOAD_EXCLUDES = PrivateName(
    "ray._private.runtime_env.packaging:_get_excludes",
    "`submit` lists every file that Ray will upload, and refuses secrets among them",
    f"Files could be uploaded unseen. {_PINNED}",
)

# --- The end of a cluster (cluster.down) -------------------------------------------------------

NODE_PROVIDER = PrivateName(
    "ray.autoscaler._private.providers:_get_node_provider",
    "a head deletes its cluster's machines as the autoscaler does, with the rights that it has",
    "`cluster.down_after` cannot delete them; `ray down` where you are does.",
)

# --- Train (runners.group_trainer, runners.group_rank) -------------------------------------------

TRAIN_CONTEXT = PrivateName(
    "ray.train.v2._internal.execution.context:get_train_context",
    "rank 0 knows of a coming preemption without asking the other ranks, and saves at once",
    "Ranks save as often as ever; `ray.train.get_preemption_info` is collective.",
)
RUN_CONTROLLER = PrivateName(
    "ray.train.torch:TorchTrainer._initialize_and_run_controller",
    "ranks that died are started again by the controller that runs, and nothing stays behind",
    "A new controller is started each time, which costs five seconds.",
)
FAILURE_DECISION = PrivateName(
    "ray.train.v2._internal.execution.failure_handling:FailureDecision",
    "ranks that died are started again by the controller that runs",
    "A new controller is started each time, which costs five seconds.",
)
MAKE_DECISION = PrivateName(
    "ray.train.v2._internal.execution.failure_handling:FailurePolicy.make_decision",
    "ranks that died are started again by the controller that runs",
    "A new controller is started each time, which costs five seconds.",
)
AFTER_START = PrivateName(
    "ray.train.v2._internal.execution.scaling_policy:FixedScalingPolicy.after_controller_start",
    "no actor that divides a cluster between Ray Train and Ray Data is started",
    "It costs seconds, and stays on the cluster.",
)
REQUEST_RESOURCES = PrivateName(
    "ray.train.v2._internal.execution.scaling_policy:"
    "FixedScalingPolicy._maybe_send_resource_request",
    "no actor that divides a cluster between Ray Train and Ray Data is asked",
    "It costs seconds, and stays on the cluster.",
)
GROUP_CLEANER = PrivateName(
    "ray.train.v2._internal.callbacks.placement_group_callback:PlacementGroupCleanerCallback",
    "no cleaner of placement groups is started, which needs the dashboard and finds the wrong "
    "cluster where two share a host",
    "It warns and leaves an actor behind.",
)
START_TIMEOUT = PrivateName(
    "ray.train.v2._internal.exceptions:WorkerGroupStartupTimeoutError",
    "a trial whose ranks found no room says so",
    "The trial's reason is Ray's own.",
)


@contextlib.contextmanager
def replaced(names: Mapping[PrivateName, Any]) -> Iterator[None]:
    """Replaces what has these names for a while; names that this Ray lacks are left out."""
    kept: list[tuple[Any, str, Any]] = []
    for name, value in names.items():
        if (original := name.find()) is not None:
            owner = _owner(name)
            kept.append((owner, name.attribute, original))
            setattr(owner, name.attribute, value)
    try:
        yield
    finally:
        for owner, attribute, original in reversed(kept):
            setattr(owner, attribute, original)


def assign(name: PrivateName, value: Any) -> None:
    """Gives what has this name another value, where this Ray has it."""
    if name.find() is not None:
        setattr(_owner(name), name.attribute, value)


def _owner(name: PrivateName) -> Any:
    module, _, path = name.place.partition(":")
    return reduce(getattr, path.split(".")[:-1], importlib.import_module(module))


def override(instance: Any, name: PrivateName, make: Callable[[Any], Any]) -> None:
    """Replaces a method of this one object by what ``make`` makes of it, where it has one."""
    if (original := getattr(instance, name.attribute, None)) is not None:
        setattr(instance, name.attribute, make(original))


def known_options(options: Mapping[PrivateName, Any]) -> dict[str, Any]:
    """Returns those keyword arguments that this Ray takes."""
    return {name.find(): value for name, value in options.items() if name.find() is not None}


ALL: tuple[PrivateName, ...] = tuple(v for v in globals().values() if isinstance(v, PrivateName))
"""Every name, in the order above."""
