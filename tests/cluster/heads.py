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
    agent: int
    """Port of the agent that the head has as every node has one."""
    client: int
    """Port of Ray Client."""
    temporary: Path
    """Where Ray keeps its logs, and the list of its nodes for Prometheus."""

    @property
    def token(self) -> str:
        """The right one."""
        return (Path(self.environment["HOME"]) / ".ray" / "auth_token").read_text()


@contextmanager
def head(folder: Path, *, token: bool = True, file: str = "local") -> Iterator[Head]:
    """Start a head with the command of ``cluster/<file>.yaml``, and end its processes alone (``ray
    stop`` would end every Ray of this machine)."""
    shell = _shell(folder / "home", token)
    short = Path(tempfile.mkdtemp(prefix="jrh"))  # sockets: a Unix path has 107 bytes
    gcs, dashboard, agent, client, objects = _ports(5)
    address = f"http://127.0.0.1:{dashboard}"
    line = _elsewhere(
        starts(files.load(file))["head"],
        {"--port": gcs, "--dashboard-port": dashboard, "--object-manager-port": objects},
    )
    log = folder / "head.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [
                *("bash", "-c", line if token else line.replace("MODE=token", "MODE=disabled")),
                *("ray", "--block", "--num-cpus=2", "--object-store-memory=200000000"),
                *(f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"),
                *("--min-worker-port=40000", "--max-worker-port=40999", f"--temp-dir={short}/ray"),
            ],
            env=shell,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    environment = shell | {
        "RAY_AUTH_MODE": "token" if token else "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    try:
        _wait(address, process, log)
        yield Head(address, environment, f"127.0.0.1:{gcs}", agent, client, short / "ray")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
        shutil.rmtree(short, ignore_errors=True)


def _shell(home: Path, token: bool) -> dict[str, str]:
    """As `ray up` finds it on a node, with a home of its own."""
    (home / ".ray").mkdir(parents=True, mode=0o700)
    if token:
        secret = home / ".ray" / "auth_token"
        secret.touch(mode=0o600)
        secret.write_text(secrets.token_hex(32))
    keep = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    path = f"{BIN}:{os.environ['PATH']}"
    return keep | {"HOME": str(home), "PATH": path, "OMP_NUM_THREADS": "1"}


def _elsewhere(line: str, ports: dict[str, int]) -> str:
    """A file's command with other ports and more arguments to come; without an autoscaler, which
    would want a cloud."""
    assert line.count("ray start --head ") == 1
    line = re.sub(r" --autoscaling-config=\S+", "", line.replace("ray start", "exec ray start"))
    for flag, port in ports.items():
        line = re.sub(rf" {flag}=\d+", f" {flag}={port}", line)
    return f'{line.strip()} "$@"'


def status(
    address: str, token: str | None, path: str = "/api/jobs/", data: bytes | None = None
) -> int:
    """The HTTP status of a request with this token; a POST where there are data."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{address}{path}", data, headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _wait(
    address: str, process: subprocess.Popen[bytes], log: Path, timeout_s: float = 120.0
) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            status(address, None)
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"no head: {log.read_text()}") from None
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
