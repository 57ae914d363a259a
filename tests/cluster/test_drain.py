"""A node of a real (local) cluster is drained in mid-sweep: its trial goes on elsewhere."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from jamba_ray.config.params import with_params
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.runs.run_folder import RunFolder
from jamba_ray.study.settings import base_config
from jamba_ray.training import Member, fit
from tests.study import trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def one_thread():
    """As a runner of one CPU has: sums, and after thousands of steps scores, depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_drained_nodes_trial_goes_on_elsewhere_uncharged(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        workers = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        config = trials.config(
            n_trials=4,
            max_concurrent=2,
            model={"name": "mlp", "hidden_dim": 8},
            training={"epochs": 500.0, "batch_size": 64, "report_rows": 100_000},
            compile=False,
            pruner={"name": "none"},
            sampler={"name": "random"},
            tracking={"name": "none"},
        )
        drained = _Drain(cluster.address, workers[1].node_id)
        result = run_sweep(
            config,
            parse_space(config),
            trials.data(),
            RunFolder(tmp_path / "run").create(),
            drained.watch,
            address=cluster.address,
        )
    finally:
        cluster.shutdown()
    assert drained.asked, "both runners were never busy"
    assert drained.refused == ""
    assert result.counts == {"complete": 4, "pruned": 0, "failed": 0, "running": 0}
    assert [trial.losses for trial in result.trials] == [0, 0, 0, 0]
    base = base_config(config, 800)
    for trial in result.trials:
        straight = with_params(base, trial.params).model_copy(update={"seed": trial.number})
        (alone,) = fit([Member(trial.number, straight)], trials.data(), _go_on)
        assert trial.value == alone.value, "going on elsewhere changed the result"
    logs = "".join(p.read_text() for p in (tmp_path / "run" / "logs").glob("*.log"))
    assert "begun anew" not in logs


class _Drain:
    """Drains a node, as an autoscaler that was told of a spot machine's end, once two trials have
    each reported."""

    def __init__(self, address: str, node_id: str) -> None:
        self._command = [
            *(str(Path(sys.executable).parent / "ray"), "drain-node", "--address", address),
            *("--node-id", node_id, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
            *("--reason-message", "spot", "--deadline-remaining-seconds", "300"),
        ]
        self.asked = False
        self.refused = ""

    def watch(self, progress) -> None:
        if not self.asked and sum(t.step > 0 for t in progress.running) == 2:
            self.asked = True
            threading.Thread(target=self._drain).start()

    def _drain(self) -> None:
        done = subprocess.run(self._command, capture_output=True, text=True, timeout=120)
        self.refused = done.stdout + done.stderr if done.returncode else ""


def _go_on(reports):
    return ["continue"] * len(reports)
