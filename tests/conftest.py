"""Divides the tests between processes: a file is never split, and two of them start Rays."""

from __future__ import annotations

import os
from collections.abc import Iterator

# As many processes as cores or more: a thread pool each would only make them wait for each other.
# Set before torch is imported; the commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Commands take a thread for each core all the same. Where cores are shared, threads that wait in a
# loop cost more than the work: 188 small steps by two threads beside other processes took 26 s and
# 8.6 s of CPU time, with this 1.2 s and 0.4 s (2 cores, 2026-11-28).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from xdist.scheduler import LoadFileScheduling

TOGETHER = (
    (
        "tests/benchmarks/",
        "tests/driver/test_ray_session.py",
        "tests/driver/test_slow_store.py",
        "tests/driver/test_stack_sweep.py",
        "tests/driver/test_sweep.py",
        "tests/faults/test_chaos.py",
        "tests/faults/test_command.py",
        "tests/faults/test_no_pickle.py",
        "tests/reports/test_optuna_dashboard.py",
        "tests/runners/test_group.py",
        "tests/runners/test_group_commands.py",
        "tests/runners/test_group_preemption.py",
    ),
    (
        "tests/cluster/test_drain.py",
        "tests/cluster/test_head_loss.py",
        "tests/cluster/test_ray_up.py",
        "tests/cluster/test_remote_",
        "tests/cluster/test_strangers.py",
        "tests/cluster/test_submit",
        "tests/cluster/test_two_nodes.py",
        "tests/integration/test_large_data.py",
        "tests/integration/test_quality.py",
        "tests/integration/test_readme.py",
        "tests/integration/test_sweep.py",
        "tests/integration/test_terminal.py",
        "tests/tracking/test_secrets.py",
        "tests/tracking/test_sweep_outage.py",
        "tests/tracking/test_wandb.py",
    ),
)
"""Two halves of the files that start a Ray, commands or a clock: where a name begins like one of
these. One after the other in a half, so that no more than two Rays share the machine."""


def _half(nodeid: str) -> int:
    """The index in ``TOGETHER``, or what is beyond it."""
    halves = (i for i, names in enumerate(TOGETHER) if nodeid.startswith(names))
    return next(halves, len(TOGETHER))


class TwoRays(LoadFileScheduling):
    """Gives a file to one process, and all files of a half to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        half = _half(nodeid)
        return str(half) if half < len(TOGETHER) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config, log):
    return TwoRays(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Three processes for a whole run on two cores, since many tests wait; one where files are
    named: others would only import torch and Ray again."""
    return 3 if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two processes begin with a half; the other files go to the one that is free."""
    items.sort(key=lambda item: _half(item.nodeid))


@pytest.fixture(scope="module")
def bucket_server() -> Iterator[tuple]:
    """(endpoint, faults) of an object store for the tests of one file, and its credentials."""
    from tests.checkpoints.s3_server import s3_server

    with pytest.MonkeyPatch.context() as patch, s3_server() as found:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield found


@pytest.fixture
def s3(bucket_server, tmp_path, monkeypatch) -> tuple:
    """``bucket_server`` without faults, in the folder of a machine of its own."""
    monkeypatch.chdir(tmp_path)
    endpoint, faults = bucket_server
    faults.plan = lambda method, path: None
    faults.requests.clear()
    return endpoint, faults
