"""What the operator of a cluster of namespace machines does: `ray up`, tunnels, sweeps."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import files
from tests.cluster.heads import status
from tests.cluster.machines import Machine, Network

BIN = Path(sys.executable).parent
PORT = 18265
"""Where the head's job API is here, through the tunnel."""
SWEEP = [
    *("+sweep=attention_heads", "n_trials=6", "data.n_samples=6000", "training.epochs=30"),
    *("model.hidden_dim=16", "rival=false", "tracking.name=none", "pruner.name=none"),
]
CREDENTIALS = "AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_EC2_METADATA_DISABLED=true"
# Tests cannot wait the minute that a real cluster gives a silent node.
IMPATIENT = (
    "RAY_health_check_initial_delay_ms=1000 RAY_health_check_period_ms=1000 "
    "RAY_health_check_timeout_ms=1000 RAY_health_check_failure_threshold=3"
)
_INSTALLED = f"mkdir -p ~/jamba_ray-env && ln -sfn {Path(sys.prefix)} ~/jamba_ray-env/venv"


def with_this_environment(config: dict[str, Any]) -> None:
    """Nodes use this Python's packages instead of installing the lock file's."""
    token, _, _, path = config["setup_commands"]
    config["setup_commands"] = [token, _INSTALLED, path]


def with_variables(config: dict[str, Any], variables: str) -> None:
    """Ray starts with these variables, on the head and on workers."""
    mark = "RAY_USAGE_STATS_ENABLED=0"
    for kind in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert sum(mark in line for line in config[kind]) == 1
        config[kind] = [line.replace(mark, f"{mark} {variables}") for line in config[kind]]


def shell(home: Path) -> dict[str, str]:
    """An operator's shell: a home of its own, with the token in it."""
    (home / ".ray").mkdir(parents=True, mode=0o700)
    token = home / ".ray" / "auth_token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "AWS_"))}
    return keep | {
        "HOME": str(home),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def ray(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The ``ray`` command."""
    return subprocess.run(
        [str(BIN / "ray"), *arguments],
        cwd=files.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )


def up(config: Path, environment: dict[str, str]) -> None:
    """``ray up``, which must succeed."""
    begun = time.monotonic()
    done = ray("up", "-y", "--no-config-cache", str(config), environment=environment)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    print(f"ray up: {time.monotonic() - begun:.1f} s")


@contextmanager
def dashboard(config: Path, environment: dict[str, str]) -> Iterator[str]:
    """``ray dashboard``: the address of the head's job API here."""
    command = [str(BIN / "ray"), "dashboard", f"--port={PORT}", str(config)]
    with (config.parent / "dashboard.log").open("w") as out:
        process = subprocess.Popen(
            command, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        waited = wait_for("the tunnel", _is_open, 60)
        print(f"ray dashboard: {waited:.1f} s")
        yield f"http://127.0.0.1:{PORT}"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def _is_open() -> bool:
    try:
        status(f"http://127.0.0.1:{PORT}", None)
    except OSError:
        return False
    return True


@contextmanager
def submitted(
    log: Path, *arguments: str, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m jamba_ray.submit`` with its output in ``log``; ended, if it still runs."""
    command = [sys.executable, "-m", "jamba_ray.submit", *arguments]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=files.ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(30)


def doctor(address: str, *arguments: str, environment: dict[str, str]) -> str:
    """``python -m jamba_ray.doctor``, which must find nothing to fix; returns what it says."""
    command = [sys.executable, "-m", "jamba_ray.doctor", f"doctor.address={address}", *arguments]
    done = subprocess.run(
        command, cwd=files.ROOT, env=environment, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def first_trial(submit: subprocess.Popen[bytes], log: Path, timeout_s: float) -> float:
    """Wait until the sweep's first trial is finished; returns how many seconds that took."""

    def is_finished() -> bool:
        if "1/6 " in log.read_text():
            return True
        assert submit.poll() is None, f"the sweep ended by itself:\n{log.read_text()}"
        return False

    return wait_for("a trial to finish", is_finished, timeout_s)


def on_node(network: Network, machine: Machine, script: str) -> str:
    """Run Python on a node, as a driver of its cluster."""
    line = f"RAY_AUTH_MODE=token {BIN}/python -c {json.dumps(script)}"
    return network.ssh(machine, line).stdout


def ray_processes(machine: Machine) -> list[str]:
    """What runs of Ray itself on a machine."""
    return [line for line in machine.processes() if "raylet/raylet" in line or "gcs_server" in line]


def trains(machine: Machine) -> bool:
    """Whether a runner is in the middle of a trial there."""
    return any(".train" in line and "ray::" in line for line in machine.processes())


def wait_for(what: str, holds: Callable[[], object], timeout_s: float = 240.0) -> float:
    """Until it holds; returns how many seconds that took."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < timeout_s, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(1.0)
    return time.monotonic() - begun
