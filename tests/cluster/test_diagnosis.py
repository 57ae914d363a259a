from __future__ import annotations

from jamba_ray.cluster import diagnosis
from jamba_ray.cluster.node_facts import Facts, facts


def _node(host="a", **changes) -> Facts:
    versions = {"python": "3.11.7", "ray": "2.60.0", "torch": "2.13.0+cpu"}
    whole = Facts(
        host=host,
        versions=versions,
        cpus=4,
        gpus=[{"name": "L4", "memory_gb": 24.0}],
        torch_gpus=1,
        gpu_mistake=None,
        free_gb=50.0,
        clock_s=0.0,
        store_mistake=None,
        sees_marker=None,
        data_mistake=None,
    )
    return Facts(**{**whole, **changes})


def _levels(lines):
    return [line.level for line in lines]


def test_the_same_versions_are_ok_whatever_the_build():
    node = _node(versions={"python": "3.11.14", "ray": "2.60.0", "torch": "2.13.0"})
    node["versions"]["python"] = "3.11.7"
    assert _levels(diagnosis.versions(_node(), [node])) == ["ok"]


def test_another_ray_or_python_is_to_be_fixed_and_another_torch_is_a_warning():
    for name, version, level in [
        ("ray", "2.59.0", "fix"),
        ("python", "3.12.1", "fix"),
        ("python", "3.11.9", "warn"),
        ("torch", "2.12.0", "warn"),
    ]:
        node = _node()
        node["versions"] = {**node["versions"], name: version}
        (line,) = diagnosis.versions(_node(), [node])
        assert line.level == level, name
        assert version in line.text


def test_missing_nodes_are_noticed():
    assert _levels(diagnosis.count([_node()], 3)) == ["fix"]
    assert _levels(diagnosis.count([_node()], 1)) == ["ok"]
    assert _levels(diagnosis.count([_node()], None)) == ["ok"]


def test_clocks():
    nodes = [_node("a"), _node("b"), _node("c")]
    lines = diagnosis.clocks(nodes, {"a": 0.5, "b": 10.0, "c": -3600.0})
    assert _levels(lines) == ["warn", "fix"]
    assert "behind" in lines[1].text


def test_disk_store_and_data():
    assert _levels(diagnosis.disks([_node(free_gb=1.0), _node("b")], 5.0)) == ["fix"]
    assert _levels(diagnosis.store([_node(sees_marker=True)], "/nfs")) == ["ok"]
    (line,) = diagnosis.store([_node(), _node("b", sees_marker=False)], "runs")
    assert (line.level, line.what) == ("fix", "b store")
    assert "s3://" in line.text
    assert _levels(diagnosis.store([_node(store_mistake="no")], "s3://b")) == ["fix"]
    assert _levels(diagnosis.data([_node(data_mistake="gone")], ["x.csv"])) == ["fix"]
    assert diagnosis.failed([diagnosis.Line("warn", "a", "b")]) is False
    assert diagnosis.failed([diagnosis.Line("fix", "a", "b")]) is True


def test_this_machine_says_what_it_is(tmp_path):
    here = facts(str(tmp_path / "runs"), None, [str(tmp_path)], None)
    assert here["cpus"] >= 1
    assert here["store_mistake"] is None
    assert here["data_mistake"] is None
    assert here["versions"]["ray"] != "none"
    assert list((tmp_path / "runs").glob("*")) == []
    gone = facts("/proc/none/runs", None, [str(tmp_path / "*.csv")], None)
    assert gone["store_mistake"] is not None
    assert gone["data_mistake"] is not None


def test_a_gpu_that_torch_cannot_use_is_a_warning():
    node = _node(torch_gpus=0, gpu_mistake="torch 2.13.0+cpu is built without CUDA")
    (line,) = diagnosis.hardware([node])
    assert line.level == "warn"
    assert "can use 0 of 1 GPUs (torch 2.13.0+cpu is built without CUDA)" in line.text
    assert _levels(diagnosis.hardware([_node()])) == ["ok"]
