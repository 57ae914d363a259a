"""`ray up` with no cloud: machines made of namespaces, a cable pulled in mid-sweep, `ray down`.

pytest -m cluster tests/cluster/test_ray_up.py
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from jamba_ray.errors import ExitCode
from tests.checkpoints.s3_server import s3_server
from tests.cluster import files
from tests.cluster.machines import GATEWAY, Machine, Network, why_impossible

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_impossible() is not None, reason=why_impossible() or "possible"),
]

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


def derived(network: Network) -> dict[str, Any]:
    """``cluster/local.yaml`` for these machines: addresses, key, and an environment that exists."""
    config = files.load("local")
    head, *workers = network.machines
    config["provider"] |= {"head_ip": head.ip, "worker_ips": [m.ip for m in workers]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.key)}
    token, _, _, path = config["setup_commands"]
    venv = f"mkdir -p ~/jamba_ray-env && ln -sfn {Path(sys.prefix)} ~/jamba_ray-env/venv"
    config["setup_commands"] = [token, venv, path]
    for kind, cpus in {"head_start_ray_commands": 0, "worker_start_ray_commands": 1}.items():
        config[kind] = [
            line.replace(
                "RAY_USAGE_STATS_ENABLED=0", f"RAY_USAGE_STATS_ENABLED=0 {CREDENTIALS} {IMPATIENT}"
            ).replace("ray start", f"ray start --num-cpus={cpus}")
            for line in config[kind]
        ]
    return config


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An operator's shell: a home of its own, with the token in it."""
    home = tmp_path / "home"
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
        "RAY_UP_enable_autoscaler_v2": "0",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def tunnel(network: Network, environment: dict[str, str]) -> Iterator[str]:
    command = network.ssh_command(
        network.machines[0], "-N", "-L", f"127.0.0.1:{PORT}:127.0.0.1:8265"
    )
    ssh = subprocess.Popen(command, env=environment)
    try:
        time.sleep(2)
        yield f"http://127.0.0.1:{PORT}"
    finally:
        ssh.terminate()
        ssh.wait(10)


def on_head(network: Network, script: str) -> str:
    """Run Python on the head, as a driver of its cluster."""
    line = f"RAY_AUTH_MODE=token {BIN}/python -c {json.dumps(script)}"
    return network.ssh(network.machines[0], line).stdout


def wait_for(what: str, holds, timeout_s: float = 240.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(1.0)


def test_a_sweep_survives_a_pulled_cable(tmp_path: Path, environment: dict[str, str]) -> None:
    with Network(tmp_path) as network, s3_server(GATEWAY) as (endpoint, _):
        for name in ("head", "worker1", "worker2"):
            network.boot(name)
        config = tmp_path / "cluster.yaml"
        config.write_text(yaml.safe_dump(derived(network)))
        try:
            _up(config, environment)
            _is_closed_to_strangers(network)
            wait_for("two workers", lambda: _nodes(network) == 3)
            with tunnel(network, environment) as address:
                _a_folder_of_the_heads_own_is_refused(environment, address)
                _sweep_with_a_pulled_cable(network, environment, address, endpoint, tmp_path)
        finally:
            down = _ray("down", "-y", str(config), environment=environment)
        assert down.returncode == 0, down.stdout + down.stderr
        for machine in network.machines:
            try:
                wait_for("Ray to be gone", lambda m=machine: _ray_processes(m) == [], 60)
            except AssertionError:
                pytest.fail(
                    f"{machine.name}: {_ray_processes(machine)}: {down.stdout}{down.stderr}"
                )


def _ray_processes(machine: Machine) -> list[str]:
    return [line for line in machine.processes() if "raylet/raylet" in line or "gcs_server" in line]


def _up(config: Path, environment: dict[str, str]) -> None:
    begun = time.monotonic()
    up = _ray("up", "-y", "--no-config-cache", str(config), environment=environment)
    assert up.returncode == 0, up.stdout[-4000:] + up.stderr[-4000:]
    print(f"ray up: {time.monotonic() - begun:.1f} s")


def _is_closed_to_strangers(network: Network) -> None:
    """From outside the dashboard is not even there; on the head it asks for the token."""
    head = network.machines[0]
    token = network.ssh(head, "cat ~/.ray/auth_token").stdout.strip()
    assert network.ssh(head, "stat -c %a ~/.ray/auth_token").stdout.strip() == "600"
    ask = "curl -s -o /dev/null -w '%{http_code}' "
    url = "http://127.0.0.1:8265/api/jobs/"
    assert network.ssh(head, f"{ask} {url}").stdout == "401"
    assert network.ssh(head, f"{ask} -H 'Authorization: Bearer wrong' {url}").stdout == "403"
    assert network.ssh(head, f"{ask} -H 'Authorization: Bearer {token}' {url}").stdout == "200"
    worker = network.machines[1]
    outside = network.ssh(worker, f"{ask} http://{head.ip}:8265/api/jobs/", ok=False)
    assert outside.stdout == "000"
    for mode, value in {"none": "RAY_AUTH_MODE=disabled", "wrong": "RAY_AUTH_TOKEN=wrong"}.items():
        join = (
            f"{value} RAY_USAGE_STATS_ENABLED=0 timeout 60 {BIN}/python -c "
            f"\"import ray; ray.init('{head.ip}:6379', logging_level='ERROR'); print('in')\""
        )
        refused = network.ssh(worker, f"RAY_AUTH_MODE=token {join}", ok=False)
        assert "in\n" not in refused.stdout, f"the GCS let in a driver with {mode} token"


def _a_folder_of_the_heads_own_is_refused(environment: dict[str, str], address: str) -> None:
    """Without a store lanes on other machines have nowhere to write: said once, not per trial."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "jamba_ray.submit", *SWEEP, "submit.key=no-store"),
            *(f"submit.address={address}", f"submit.results={environment['HOME']}/results"),
        ],
        cwd=files.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == ExitCode.STORAGE, done.stdout + done.stderr
    assert "must be the same on every node" in done.stdout + done.stderr


def _sweep_with_a_pulled_cable(
    network: Network, environment: dict[str, str], address: str, endpoint: str, tmp_path: Path
) -> None:
    log = tmp_path / "submit.log"
    command = [
        *(sys.executable, "-m", "jamba_ray.submit", *SWEEP, "store=s3://bucket/sweeps"),
        *(f"store_endpoint={endpoint}", f"submit.address={address}", "submit.key=cable"),
        f"submit.results={tmp_path / 'results'}",
    ]
    with log.open("w") as out:
        submit = subprocess.Popen(
            command, cwd=files.ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    victim: Machine = network.machines[2]
    try:
        wait_for("a trial to finish", lambda: "1/6 " in log.read_text(), 300)
        for machine in network.machines[1:]:
            found = machine.processes()
            assert any(".train" in line and "ray::" in line for line in found), found
        pulled = time.monotonic()
        victim.pull_cable()
        code = submit.wait(500)
        print(f"sweep ended {time.monotonic() - pulled:.1f} s after the cable was pulled")
    finally:
        if submit.poll() is None:
            submit.send_signal(signal.SIGKILL)
            submit.wait(30)
        victim.plug_in()
    assert code == 0, log.read_text()
    summary = json.loads((tmp_path / "results" / "cable" / "summary.json").read_text())
    assert summary["trials"] == {"complete": 6, "pruned": 0, "failed": 0, "running": 0}
    assert summary["status"] == "ok"
    from jamba_ray.checkpoints import RemoteFolder
    from jamba_ray.config.store_uri import StoreUri

    os.environ.update({k: v for k, v in environment.items() if k.startswith("AWS_")})
    stored = RemoteFolder(StoreUri("s3", "bucket/sweeps/cable"), endpoint).names()
    assert {"study.db", "summary.json", "trials.parquet", "best/manifest.json"} <= set(stored)


def _nodes(network: Network) -> int:
    script = (
        "import ray; ray.init('auto', logging_level='ERROR'); "
        "print('nodes', sum(n['Alive'] for n in ray.nodes()))"
    )
    return int(on_head(network, script).split("nodes")[-1])


def _ray(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "ray"), *arguments],
        cwd=files.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
