"""A head started by the command of ``cluster/*.yaml`` refuses who has no token, or a wrong one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cluster.heads import Head, head, status

GUARDED = ("/api/jobs/", "/api/version", "/nodes?view=summary", "/api/v0/nodes", "/logical/actors")
STRANGERS = {
    "none": {"RAY_AUTH_MODE": "disabled"},
    "wrong": {"RAY_AUTH_TOKEN": "0123456789abcdef" * 4},
}
ASK_GCS = """
import sys
from ray._raylet import GcsClient
print("nodes", len(GcsClient(address=sys.argv[1]).get_all_node_info()))
"""
DRIVE = """
import sys, ray
ray.init(sys.argv[1], logging_level="ERROR")
print("nodes", len(ray.nodes()))
"""


@pytest.fixture(
    scope="module",
    params=["local", *(pytest.param(f, marks=pytest.mark.slow) for f in ("aws", "gcp"))],
)
def running(request, tmp_path_factory) -> Iterator[Head]:
    with head(tmp_path_factory.mktemp("head"), file=request.param) as found:
        yield found


def _statuses(running: Head, address: str, path: str, data: bytes | None = None) -> list[int]:
    tokens = (None, STRANGERS["wrong"]["RAY_AUTH_TOKEN"], running.token)
    return [status(address, token, path, data) for token in tokens]


def _python(code: str, address: str, environment: dict[str, str]):
    return subprocess.run(
        [sys.executable, "-c", code, address],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_dashboard_and_the_job_api_do(running: Head) -> None:
    for path in GUARDED:
        assert _statuses(running, running.address, path) == [401, 403, 200], path
    job = b'{"entrypoint": "true"}'
    assert _statuses(running, running.address, "/api/jobs/", job) == [401, 403, 200]


def test_from_elsewhere_the_dashboard_is_not_even_there(running: Head) -> None:
    from ray.util import get_node_ip_address

    elsewhere = (get_node_ip_address(), int(running.address.rsplit(":", 1)[1]))
    if elsewhere[0].startswith("127."):
        pytest.skip("this machine has no other address")
    with socket.socket() as probe:
        assert probe.connect_ex(elsewhere) != 0


def test_the_gcs_does(running: Head) -> None:
    for what, difference in STRANGERS.items():
        refused = _python(ASK_GCS, running.gcs, running.environment | difference)
        assert refused.returncode != 0, what
        assert "nodes" not in refused.stdout, what
        assert "Unauthenticated" in refused.stderr, refused.stderr
    taken = _python(ASK_GCS, running.gcs, running.environment)
    assert taken.stdout.startswith("nodes "), taken.stderr


@pytest.mark.slow
def test_a_nodes_agent_does(running: Head) -> None:
    """It starts jobs too, and listens on the machine's own address."""
    address = f"http://127.0.0.1:{running.agent}"
    deadline = time.monotonic() + 60
    while True:
        try:
            # 405: it takes the token, and only POST.
            assert _statuses(running, address, "/api/job_agent/jobs/") == [401, 403, 405]
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(1)


@pytest.mark.slow
def test_drivers_are_refused(tmp_path) -> None:
    """`ray.init` by either door; it tries for half a minute, so all of them at once."""
    with head(tmp_path) as running, ThreadPoolExecutor(4) as pool:
        doors = (running.gcs, f"ray://127.0.0.1:{running.client}")
        tries = [(door, STRANGERS[who]) for door in doors for who in STRANGERS]
        ends = pool.map(lambda t: _python(DRIVE, t[0], running.environment | t[1]), tries)
        for what, end in zip(tries, ends, strict=True):
            assert end.returncode != 0, what
            assert "nodes" not in end.stdout, what
        for door in doors:
            taken = _python(DRIVE, door, running.environment)
            assert "nodes 1\n" in taken.stdout, taken.stderr


@pytest.mark.slow
def test_without_token_mode_it_would_not(tmp_path) -> None:
    """The sabotage twin: what the checks above would say of an open head."""
    with head(tmp_path, token=False) as open_to_all:
        for path in GUARDED:
            assert status(open_to_all.address, None, path) == 200
        assert _python(ASK_GCS, open_to_all.gcs, open_to_all.environment).returncode == 0
