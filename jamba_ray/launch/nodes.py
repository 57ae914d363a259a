"""The nodes of a cluster: what there can be of them, and which have gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jamba_ray.launch.resources import Machine

_BLAME_S = 120.0
"""Lanes that are lost so soon after a node is noticed dead went with it: Ray declares the node dead
and then each actor on it."""


def cluster_machine() -> Machine:
    """What the cluster has, or can have where an autoscaler starts workers on demand."""
    import ray
    from ray._private.state import state

    now: Mapping[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    try:
        most: Mapping[str, float] = state.get_max_resources_from_cluster_config() or {}
    except Exception:
        # Private to Ray, and only known where an autoscaler runs.
        most = {}
    return machine_from(now, most)


def machine_from(now: Mapping[str, float], most: Mapping[str, float]) -> Machine:
    """The larger of what there is and what there can be; pure."""

    def count(name: str) -> int:
        return int(max(now.get(name, 0), most.get(name, 0)))

    return Machine(max(1, count("CPU")), count("GPU"))


def nodes_alive() -> set[str]:
    """Ids of the nodes that live."""
    import ray

    nodes: Iterable[Mapping[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return {str(node["NodeID"]) for node in nodes if node["Alive"]}


class NodeWatch:
    """Tells a lane that went with its node (a spot machine reclaimed) from one that died alone."""

    def __init__(
        self,
        alive: Callable[[], set[str]] = nodes_alive,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._alive, self._clock = alive, clock
        self._known = alive()
        self._died_at = float("-inf")

    def look(self) -> None:
        """Note which nodes have come and gone since the last look."""
        alive = self._alive()
        if self._known - alive:
            self._died_at = self._clock()
        self._known = alive

    def node_died(self) -> bool:
        """Whether a node died just now, so that a lane lost now went with it."""
        self.look()
        return self._clock() - self._died_at <= _BLAME_S
