"""Runners on two nodes of a real (local) cluster: spread over both, one copy of the rows on
each."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from jamba_ray.config.sweep_space import parse_space
from jamba_ray.data.prepared import PreparedData, Rows
from jamba_ray.driver.sweep import run_sweep
from jamba_ray.runs.run_folder import RunFolder
from tests.study import trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

N_ROWS = 2_000_000
SEEN = "JAMBA_RAY_TEST_SEEN"


def fit_and_tell(members, data, report, **how):
    """``trials.fit``, and where this runner's rows lie: a line of JSON."""
    import ray

    context = ray.get_runtime_context()
    told = {
        "node": context.get_node_id(),
        "runner": os.getpid(),
        "cpus": context.get_assigned_resources(),
        "rows": place_in_memory(data.train.x_num),
        "copied": place_in_memory(np.array(data.train.x_num)),
    }
    with open(os.environ[SEEN], "a") as file:
        file.write(json.dumps(told) + "\n")
    # Long enough for the last runner to start before the others have done all trials.
    return trials.fit(members, data, report, pause_s=0.3, **how)


def place_in_memory(array: np.ndarray) -> list[object] | None:
    """The file that is mapped where ``array`` lies (its inode) and where in it; None: no file."""
    address = array.__array_interface__["data"][0]
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end, offset, inode = re.match(r"(\w+)-(\w+) \S+ (\w+) \S+ (\d+)", line).groups()  # type: ignore[union-attr]
        if int(begin, 16) <= address < int(end, 16):
            where = address - int(begin, 16) + int(offset, 16)
            return [int(inode), where] if int(inode) else None
    raise AssertionError("an array lies nowhere")


def test_runners_are_spread_and_share_their_nodes_one_copy_of_the_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "120")
    monkeypatch.setenv(SEEN, str(tmp_path / "seen.jsonl"))
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, object_store_memory=200_000_000)
        cluster.wait_for_nodes()
        config = trials.config(n_trials=12, max_concurrent=4, pruner={"name": "none"})
        result = run_sweep(
            config,
            parse_space(config),
            _data(),
            RunFolder(tmp_path / "run").create(),
            address=cluster.address,
            fit=fit_and_tell,
        )
    finally:
        cluster.shutdown()
    assert result.counts == {"complete": 12, "pruned": 0, "failed": 0, "running": 0}
    told = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    runners: dict[str, set[int]] = defaultdict(set)
    copies: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for one in told:
        runners[one["node"]].add(one["runner"])
        # The rows lie in the object store; what a runner copies for itself does not.
        assert one["rows"] is not None
        assert one["copied"] is None
        copies[one["node"]].add(tuple(one["rows"]))
    assert [len(pids) for pids in runners.values()] == [2, 2], "two runners on each of two nodes"
    assert [len(places) for places in copies.values()] == [1, 1], (
        "one copy for both runners of a node"
    )
    first, second = (next(iter(places)) for places in copies.values())
    assert first[0] != second[0], "the nodes of this test share an object store: it shows nothing"


def _data() -> PreparedData:
    """16 MB of training rows: far more than Ray sends along with a call."""
    small = trials.data()
    rng = np.random.default_rng(0)
    y = (rng.random(N_ROWS) > 0.5).astype(np.float32)
    x = rng.normal(size=(N_ROWS, 2)).astype(np.float32)
    rows = Rows(x, np.zeros((N_ROWS, 0), np.int64), y)
    return PreparedData(small.schema, {}, rows, small.val, "d" * 16)
