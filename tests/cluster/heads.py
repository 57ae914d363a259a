"""A real Ray head on this machine, with a home, ports and a temporary folder of its own."""

from __future__ import annotations

import os
import re
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

from tests.cluster import files
from tests.cluster.rules import starts

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
def head(folder: Path, *, token: bool = True, file: str = "local") -> Iterator[Head]:
    """Start a head with the command of ``cluster/<file>.yaml``, and end its processes alone (``ray
    stop`` would end every Ray of this machine)."""
    home = folder / "home"
    (home / ".ray").mkdir(parents=True, mode=0o700)
    if token:
        secret = home / ".ray" / "auth_token"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32))
    short = Path(tempfile.mkdtemp(prefix="jrh"))  # sockets: a Unix path has 107 bytes
    keep = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    shell = keep | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    gcs, dashboard, agent, client = _ports(4)
    address = f"http://127.0.0.1:{dashboard}"
    line = _elsewhere(
        starts(files.load(file))["head"],
        {"--port": gcs, "--dashboard-port": dashboard, "--object-manager-port": 0},
    )
    process = subprocess.Popen(
        [
            *("bash", "-c", line if token else line.replace("MODE=token", "MODE=disabled")),
            *("ray", "--block", "--num-cpus=2", "--object-store-memory=200000000"),
            *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
            *("--min-worker-port=40000", "--max-worker-port=40999", f"--temp-dir={short}/ray"),
        ],
        env=shell,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    environment = shell | {
        "RAY_AUTH_MODE": "token" if token else "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
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


def _elsewhere(line: str, ports: dict[str, int]) -> str:
    """A file's command with other ports and more arguments to come; without an autoscaler, which
    would want a cloud."""
    assert line.count("ray start --head ") == 1
    line = re.sub(r" --autoscaling-config=\S+", "", line.replace("ray start", "exec ray start"))
    for flag, port in ports.items():
        line = re.sub(rf" {flag}=\d+", f" {flag}={port}", line)
    return f'{line.strip()} "$@"'


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
