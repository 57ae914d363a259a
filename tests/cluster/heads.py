"""A real Ray head on this machine, with a home, ports and a temporary folder of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Head:
    """A running head."""

    address: str
    environment: dict[str, str]
    """A shell's environment that may use it."""
    gcs: str
    """What ``RAY_ADDRESS`` takes."""


@contextmanager
def head(folder: Path, *, token: bool = True) -> Iterator[Head]:
    """Start a head with the flags of ``cluster/local.yaml``, and end its processes alone (``ray
    stop`` would end every Ray of this machine)."""
    home = folder / "home"
    (home / ".ray").mkdir(parents=True, mode=0o700)
    if token:
        secret = home / ".ray" / "auth_token"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32))
    short = Path(tempfile.mkdtemp(prefix="jrh"))  # sockets: a Unix path has 107 bytes
    keep = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment = keep | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token" if token else "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": "60",
        "OMP_NUM_THREADS": "1",
    }
    gcs, dashboard, agent, client = _ports(4)
    address = f"http://127.0.0.1:{dashboard}"
    process = subprocess.Popen(
        [
            *(str(BIN / "ray"), "start", "--head", "--block", f"--port={gcs}", "--num-cpus=2"),
            *("--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
            *("--min-worker-port=40000", "--max-worker-port=40999", f"--temp-dir={short}/ray"),
            "--object-store-memory=200000000",
        ],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(address)
        yield Head(address, environment, f"127.0.0.1:{gcs}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        shutil.rmtree(short, ignore_errors=True)


def status(address: str, token: str | None) -> int:
    """The HTTP status of a request with this token."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{address}/api/jobs/", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _wait(address: str, timeout_s: float = 120.0) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            status(address, None)
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _ports(n: int) -> list[int]:
    """Free ports below those that workers use."""
    found = []
    for port in range(9100 + os.getpid() % 500, 10_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
        if len(found) == n:
            return found
    raise RuntimeError("no free ports")
