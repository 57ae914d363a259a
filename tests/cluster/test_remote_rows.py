"""Runners on nodes with disks of their own, one of which is pulled: the driver has all rows and
logs.

The nodes are Ray nodes of this machine, each in a mount namespace where ``runs`` is an empty disk.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jamba_ray.checkpoints import RemoteFolder
from jamba_ray.config.store_uri import StoreUri
from jamba_ray.config.sweep_space import parse_space
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.runs.bucket_replica import BucketReplica
from jamba_ray.runs.row_log import read_rows, row_files
from jamba_ray.runs.run_folder import RunFolder
from tests.checkpoints.s3_server import s3_server
from tests.study import trials

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        os.geteuid() != 0
        or shutil.which("unshare") is None
        or subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"]).returncode != 0,
        reason="needs root and mount namespaces",
    ),
]


MET = "JAMBA_RAY_TEST_MET"


def fit(*args, **kwargs):
    _meet()
    return trials.fit(*args, pause_s=0.4, fault=_fault, **kwargs)


def _meet() -> None:
    """Waits until the runners of both nodes have begun: one may need seconds more for its start."""
    import ray

    met = Path(os.environ[MET])
    (met / ray.get_runtime_context().get_node_id()).touch()
    deadline = time.monotonic() + 120
    while len(list(met.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)


def _fault(member, step):
    if member.trial == 1 and step == 4:
        raise ValueError("bad batch on another machine")


class _Node:
    """A Ray node with one CPU whose ``runs`` is a disk of its own."""

    def __init__(self, address: str, runs: Path) -> None:
        start = f"{Path(sys.executable).parent / 'ray'} start --address={address} --num-cpus=1"
        script = f"mount -t tmpfs tmpfs {runs} && exec {start} --block --disable-usage-stats"
        self._process = subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", script),
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def pull(self) -> None:
        """The power goes: every process of the node at once."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)


class _Pull:
    """Pulls a node once two trials have each reported three times."""

    def __init__(self, node: _Node) -> None:
        self._node, self.done = node, False

    def watch(self, progress) -> None:
        if not self.done and sum(t.step >= 3 for t in progress.running) == 2:
            self.done = True
            self._node.pull()


def test_the_driver_has_the_rows_and_logs_of_all_nodes(tmp_path, monkeypatch):
    for name in [n for n in os.environ if n.startswith(("RAY_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name, value in {
        "RAY_AUTH_MODE": "disabled",
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "2000",
        "RAY_health_check_failure_threshold": "5",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    runs = tmp_path / "runs"
    runs.mkdir()
    (tmp_path / "met").mkdir()
    monkeypatch.setenv(MET, str(tmp_path / "met"))
    uri = StoreUri("s3", "bucket/sweeps/night")
    with s3_server() as (endpoint, _):
        folder = RunFolder(runs / "night", uri, endpoint).create()
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes: list[_Node] = []
        try:
            for n in (2, 3):  # at the same moment they would take the same names for their sockets
                nodes.append(_Node(cluster.address, runs))
                _wait_for(cluster, n)
            pull = _Pull(nodes[1])
            config = trials.config(
                n_trials=5,
                max_concurrent=2,
                pruner={"name": "none"},
                sampler={"name": "random"},
                tracking={"name": "local"},
                trials_per_runner=1,
            )
            result = run_sweep(
                config,
                parse_space(config),
                trials.data(),
                folder,
                pull.watch,
                address=cluster.address,
                fit=fit,
            )
        finally:
            for node in nodes:
                node.pull()
            cluster.shutdown()
        BucketReplica(folder, uri).push_results()
        assert RemoteFolder(uri, endpoint).read("rows.jsonl.gz", 10**7)
    assert pull.done, "two runners were never busy at a time"
    assert result.counts == {"complete": 4, "pruned": 0, "failed": 1, "running": 0}
    rows = {(row["trial"], row["step"]) for row in read_rows(folder.path)}
    reported = {(t.number, step) for t in result.trials for step, _ in t.curve}
    assert rows == reported
    assert len(reported) == 4 * trials.N_REPORTS + 3
    lines = [line for f in row_files(folder.path) for line in f.read_text().splitlines()]
    # Also of the trial that went on elsewhere, from its checkpoint.
    assert len(lines) == len(rows), "a row is there twice"
    logs = "".join(log.read_text() for log in folder.logs.glob("runner-*.log"))
    assert "ValueError: bad batch on another machine" in logs


def _wait_for(cluster, n: int) -> None:
    from ray._private.state import GlobalState
    from ray._raylet import GcsClientOptions

    state = GlobalState()
    state._initialize_global_state(GcsClientOptions.create(cluster.address, None, True, False))
    deadline = time.monotonic() + 90
    while sum(node["Alive"] for node in state.node_table()) < n:
        assert time.monotonic() < deadline, "the nodes do not come up"
        time.sleep(0.5)
