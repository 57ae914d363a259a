"""Runners on a real (local) cluster lie where the sweep's resources and labels say.

The GPU is one that Ray is told of: this machine need not have any, and the trials use none.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from jamba_ray.config.sweep_space import parse_space
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.runs.run_folder import RunFolder
from tests.study import trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SEEN = "JAMBA_RAY_TEST_SEEN"


def fit_and_tell(members, data, report, **how):
    """``trials.fit``, and where this runner is: a line of JSON."""
    import ray
    import torch

    context = ray.get_runtime_context()
    told = {
        "node": context.get_node_id(),
        "runner": os.getpid(),
        "has": context.get_assigned_resources(),
        "threads": torch.get_num_threads(),
    }
    with open(os.environ[SEEN], "a") as file:
        file.write(json.dumps(told) + "\n")
    # Long enough for the last runner to start before the others have done all trials.
    return trials.fit(members, data, report, pause_s=0.2, **how)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A head without room, a plain node, and one with a GPU, half an `fpga` more and a label."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    monkeypatch.setenv(SEEN, str(tmp_path / "seen.jsonl"))
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        found.add_node(num_cpus=4)
        special = {"num_gpus": 1, "resources": {"fpga": 1}, "labels": {"zone": "b"}}
        found.add_node(num_cpus=4, **special)
        found.wait_for_nodes()
        yield found
    finally:
        found.shutdown()


def runners(tmp_path: Path):
    """node -> the resources and threads of each of its runners."""
    found: dict[str, dict[int, tuple]] = defaultdict(dict)
    for line in (tmp_path / "seen.jsonl").read_text().splitlines():
        told = json.loads(line)
        found[told["node"]][told["runner"]] = (told["has"], told["threads"])
    return [list(own.values()) for own in found.values()]


def swept(tmp_path, cluster, **settings):
    config = trials.config(n_trials=8, pruner={"name": "none"}, **settings)
    result = run_sweep(
        config,
        parse_space(config),
        trials.data(),
        RunFolder(tmp_path / "run").create(),
        address=cluster.address,
        fit=fit_and_tell,
    )
    assert result.counts == {"complete": 8, "pruned": 0, "failed": 0, "running": 0}
    return result


def test_a_quarter_of_a_gpu_makes_four_runners_share_it(tmp_path, cluster):
    # Left to itself a runner takes its share of all CPUs, of which other nodes have half here.
    result = swept(tmp_path, cluster, gpus_per_trial=0.25, cpus_per_trial=1)
    (own,) = runners(tmp_path)
    assert len(own) == 4
    assert all(has["GPU"] == 0.25 for has, _ in own)
    assert result.runners == 4


def test_custom_resources_and_labels_choose_the_node_and_threads_follow(tmp_path, cluster):
    swept(
        tmp_path,
        cluster,
        gpus_per_trial=0,
        cpus_per_trial=2,
        max_concurrent=3,
        resources={"fpga": 0.5},
        labels={"zone": "b"},
    )
    (own,) = runners(tmp_path)
    assert len(own) == 2, "the third has no place: two halves of an fpga are taken"
    assert all((has["fpga"], has["CPU"], threads) == (0.5, 2, 2) for has, threads in own)
