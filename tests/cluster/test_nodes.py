"""What a cluster can have, and whose loss is whose fault."""

from __future__ import annotations

from jamba_ray.cluster.nodes import NodeWatch, machine_from, most_resources
from jamba_ray.cluster.resources import Machine
from tests.cluster import files


def test_an_autoscaled_cluster_counts_what_it_can_have():
    assert machine_from({"CPU": 0.0}, {"CPU": 32, "GPU": 4}) == Machine(32, 4)
    assert machine_from({"CPU": 8.0, "GPU": 1.0}, {}) == Machine(8, 1)
    assert machine_from({}, {}) == Machine(1, 0)


def test_a_runner_lost_with_its_node_is_told_from_one_that_died_alone():
    alive, now = {"head", "a", "b"}, [0.0]
    watch = NodeWatch(lambda: set(alive), lambda: now[0])
    assert not watch.node_died()
    alive.add("c")
    assert not watch.node_died()
    alive.remove("a")
    assert watch.node_died()
    now[0] = 60.0
    assert watch.node_died(), "a second runner of the same node"
    now[0] = 1000.0
    assert not watch.node_died()


def test_what_ray_up_may_start_is_read_from_its_file_on_the_head(tmp_path):
    path = tmp_path / "ray_bootstrap_config.yaml"
    assert most_resources(path, {}) == {}
    path.write_text(files.text("aws"))
    assert machine_from({"CPU": 0.0}, most_resources(path, {})) == Machine(32, 4)
    for broken in ("", "[]", "available_node_types: 3", "a: [", "available_node_types: {a: 1}"):
        path.write_text(broken)
        assert most_resources(path, {}) == {}


def test_in_kubernetes_the_pod_says_it(tmp_path):
    (group,) = files.load("kuberay")["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    environment = {e["name"]: e["value"] for e in container["env"]}
    most = most_resources(tmp_path / "none", environment)
    limits = container["resources"]["limits"]
    n = group["maxReplicas"]
    assert most == {"CPU": n * int(limits["cpu"]), "GPU": n * int(limits["nvidia.com/gpu"])}
    assert most_resources(tmp_path / "none", {"JAMBA_RAY_MAX_RESOURCES": "many"}) == {}
