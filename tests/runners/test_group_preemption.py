"""A machine that will be taken away: what is saved at the notice goes on on another machine."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from jamba_ray.driver.ray_session import ray_session
from jamba_ray.runners import group_faults
from jamba_ray.runners.group import Group
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import fit
from tests.runners.test_group import is_equal, trial
from tests.training.trials import Recorder, make_data

LONG = {"epochs": 400, "report_rows": 50 * 600, "batch_size": 32, "learning_rate": 1e-3}
"""Eight reports, and nine hundred steps between two of them."""


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A head without CPUs, and two machines of two CPUs each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 10**8},
    )
    try:
        for _ in range(2):
            made.add_node(num_cpus=2, object_store_memory=10**8)
        yield made
    finally:
        made.shutdown()


def drain(address: str, node: str, within_s: float) -> None:
    """What a cloud's notice does: ``ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION``."""
    from ray._raylet import GcsClient
    from ray.core.generated.autoscaler_pb2 import DrainNodeReason

    accepted, why = GcsClient(address=address).drain_node(
        node,
        DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION"),
        "spot",
        int((time.time() + within_s) * 1000),
    )
    assert accepted, why


def nodes_of_groups() -> list[str]:
    """Where placement groups are, that are not removed yet."""
    import ray

    tables = ray.util.placement_group_table().values()
    live = [table for table in tables if table["state"] == "CREATED"]
    return sorted({node for table in live for node in table["bundles_to_node_id"].values()})


def is_between_reports(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text())["loss_rows"])
    except (OSError, ValueError):
        return False  # replaced just now


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_notice_saves_at_once_and_is_no_failure(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(group_faults, "MAX_DEATHS", 1)
    data = make_data()
    alone = Recorder()
    (expected,) = fit([trial(0, **LONG)], data, alone)
    folder = RunFolder(tmp_path / "run").create()
    nodes: list[str] = []
    saved = threading.Event()

    def see_what_is_saved():
        while not any(map(is_between_reports, folder.checkpoints.glob("*/*/state.json"))):
            time.sleep(0.01)
        saved.set()

    class TakeTheMachineAway(Recorder):
        def __call__(self, reports):
            if not self.reports:
                nodes.extend(nodes_of_groups())
                drain(cluster.address, nodes[0], within_s=6.0)
                threading.Thread(target=see_what_is_saved, daemon=True).start()
            if nodes_of_groups() != nodes[:1]:
                nodes.extend(nodes_of_groups())
            return super().__call__(reports)

    recorder = TakeTheMachineAway()
    with ray_session(address=cluster.address):
        group = Group(folder, workers=2)
        (outcome,) = group.fit([trial(0, **LONG)], data, recorder)
        group.close()
    assert len(set(nodes)) == 2, "the ranks moved"
    assert saved.is_set(), "without waiting for the next report"
    assert group.starts == 2
    assert is_equal(recorder, outcome, (alone, expected))
