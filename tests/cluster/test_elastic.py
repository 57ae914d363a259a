"""A group with [least, most] workers takes what the cluster has, also after a loss."""

from __future__ import annotations

import pytest

from jamba_ray.runners.group import Group
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.training import fit
from tests.runners.test_group import is_equal, trial
from tests.training.trials import Recorder, make_data

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


@pytest.fixture
def cluster(monkeypatch):
    """A head with one CPU, which notices the end of a node within seconds."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    for name, value in (
        *(("initial_delay_ms", "1000"), ("period_ms", "1000")),
        *(("timeout_ms", "2000"), ("failure_threshold", "3")),
    ):
        monkeypatch.setenv(f"RAY_health_check_{name}", value)
    import ray
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        ray.init(address=found.address, log_to_driver=False)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def test_a_group_grows_with_the_cluster_and_shrinks_with_it(cluster, tmp_path):
    data = make_data()
    alone = Recorder()
    (outcome,) = fit([trial()], data, alone)
    expected = (alone, outcome)
    group = Group(RunFolder(tmp_path / "run").create(), workers=1, most=2)
    try:
        told = Recorder()
        (found,) = group.fit([trial()], data, told)
        assert group.size == 1
        assert is_equal(told, found, expected)

        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        told = Recorder()
        (found,) = group.fit([trial()], data, told)
        assert group.size == 2, "there was room when the trial began"
        assert is_equal(told, found, expected)

        def lose(report):
            if report.step == 3 and node in cluster.worker_nodes:
                cluster.remove_node(node, allow_graceful=False)
            return "continue"

        told = Recorder(lose)
        (found,) = group.fit([trial()], data, told)
        assert group.size == 1, "what is left goes on"
        assert is_equal(told, found, expected)
    finally:
        group.close()
