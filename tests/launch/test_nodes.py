"""What a cluster can have, and whose loss is whose fault."""

from __future__ import annotations

from jamba_ray.launch.nodes import NodeWatch, machine_from
from jamba_ray.launch.resources import Machine


def test_an_autoscaled_cluster_counts_what_it_can_have():
    assert machine_from({"CPU": 0.0}, {"CPU": 32, "GPU": 4}) == Machine(32, 4)
    assert machine_from({"CPU": 8.0, "GPU": 1.0}, {}) == Machine(8, 1)
    assert machine_from({}, {}) == Machine(1, 0)


def test_a_lane_lost_with_its_node_is_told_from_one_that_died_alone():
    alive, now = {"head", "a", "b"}, [0.0]
    watch = NodeWatch(lambda: set(alive), lambda: now[0])
    assert not watch.node_died()
    alive.add("c")
    assert not watch.node_died()
    alive.remove("a")
    assert watch.node_died()
    now[0] = 60.0
    assert watch.node_died(), "a second lane of the same node"
    now[0] = 1000.0
    assert not watch.node_died()
