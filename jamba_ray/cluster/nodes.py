"""Finds the resources that a cluster has or may have, and the nodes that have gone."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jamba_ray.cluster.ray_private import DRAINING_NODES
from jamba_ray.cluster.resources import Machine
from jamba_ray.config.yaml_text import YamlTextError, read_yaml

BOOTSTRAP = "ray_bootstrap_config.yaml"
"""The file that `ray up` leaves in the head's home folder."""
MAX_RESOURCES = "JAMBA_RAY_MAX_RESOURCES"
_BLAME_S = 120.0
"""Seconds after a node's death within which a lost runner was on it: Ray declares the node dead and
then each actor on it."""


def cluster_machine(*, local: bool) -> Machine:
    """Returns what the cluster has, or may have where an autoscaler starts workers.

    ``local`` means that this process started it, so it is this machine and no more.
    """
    import ray

    now: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return machine_from(now, {} if local else most_resources(Path.home() / BOOTSTRAP, os.environ))


def most_resources(bootstrap: Path, environment: Mapping[str, str]) -> dict[str, float]:
    """Returns the most that an autoscaler may start; empty where unknown.

    For ``ray up`` this is in the file that it leaves on the head, elsewhere (KubeRay) in
    JAMBA_RAY_MAX_RESOURCES, such as '{"CPU": 32, "GPU": 4}'. Ray itself does not tell a driver: a
    cluster scaled to 0 looks like one without GPUs.
    """
    try:
        if said := environment.get(MAX_RESOURCES):
            return {str(name): float(n) for name, n in json.loads(said).items()}
        kinds = read_yaml(bootstrap)["available_node_types"]
        most: dict[str, float] = {}
        for kind in kinds.values():
            for name, n in kind.get("resources", {}).items():
                most[name] = most.get(name, 0.0) + float(n) * float(kind.get("max_workers", 0))
        return most
    except (OSError, ValueError, TypeError, KeyError, AttributeError, YamlTextError):
        return {}


def machine_from(now: Mapping[str, float], most: Mapping[str, float]) -> Machine:
    """Returns the larger of what there is and what there may be, for CPUs and for GPUs."""

    def count(name: str) -> int:
        return int(max(now.get(name, 0), most.get(name, 0)))

    return Machine(max(1, count("CPU")), count("GPU"))


def places(
    nodes: Iterable[Mapping[str, Any]],
    need: Mapping[str, float],
    labels: Mapping[str, str] | None = None,
) -> int:
    """Counts how many times ``need`` fits the living machines with ``labels``, if they were
    empty."""
    return sum(
        min(math.floor(node["Resources"].get(name, 0.0) / n + 1e-9) for name, n in need.items())
        for node in nodes
        if node["Alive"]
        and all(node.get("Labels", {}).get(k) == v for k, v in (labels or {}).items())
    )


def nodes_alive() -> set[str]:
    """Returns the ids of the nodes that live and are not being drained."""
    import ray

    nodes: Iterable[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {str(node["NodeID"]) for node in nodes if node["Alive"]} - draining_nodes()


def draining_nodes() -> set[str]:
    """Returns the ids of the nodes that Ray is draining; none where this Ray cannot say."""
    ask = DRAINING_NODES.find()
    return set() if ask is None else set(ask())


class NodeWatch:
    """Distinguishes a runner that was lost with its node from one that died alone."""

    def __init__(
        self,
        alive: Callable[[], set[str]] = nodes_alive,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alive, self._clock = alive, clock
        self._known = alive()
        self._died_at = float("-inf")

    def look(self) -> None:
        """Notes which nodes have come and gone since the last look."""
        alive = self._alive()
        if self._known - alive:
            self._died_at = self._clock()
        self._known = alive

    def node_died(self) -> bool:
        """Says whether a node died just now, so that a runner lost now was lost with it."""
        self.look()
        return self._clock() - self._died_at <= _BLAME_S
