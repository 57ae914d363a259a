"""Divides the tests between two processes: a file is never split, and only one of them runs Ray."""

from __future__ import annotations

import os

# Two processes on two cores: a thread pool each would only make them wait for each other. Set
# before torch is imported; the commands that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

STARTS_RAY = (
    "tests/benchmarks/",
    "tests/cluster/test_drain.py",
    "tests/cluster/test_head_loss.py",
    "tests/cluster/test_ray_up.py",
    "tests/cluster/test_remote_",
    "tests/cluster/test_strangers.py",
    "tests/cluster/test_submit",
    "tests/cluster/test_surroundings.py",
    "tests/cluster/test_two_nodes.py",
    "tests/driver/test_ray_session.py",
    "tests/driver/test_slow_store.py",
    "tests/driver/test_stack_sweep.py",
    "tests/driver/test_sweep.py",
    "tests/faults/test_chaos.py",
    "tests/faults/test_command.py",
    "tests/faults/test_no_pickle.py",
    "tests/integration/",
    "tests/reports/test_optuna_dashboard.py",
    "tests/runners/test_group",
    "tests/tracking/",
)
"""Where a name begins like this, tests start a Ray, commands or a clock: one after the other."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Names each test's group and puts the longest group first."""
    for item in items:
        name = item.nodeid.partition("::")[0]
        group = "ray" if name.startswith(STARTS_RAY) else name
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not item.nodeid.startswith(STARTS_RAY))
