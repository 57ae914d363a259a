"""`ray up` with no cloud: machines made of namespaces, a cable pulled in mid-sweep, `ray down`.

pytest -m cluster tests/cluster/test_ray_up.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from jamba_ray.errors import ExitCode
from tests.checkpoints.s3_server import s3_server
from tests.cluster import files, operating
from tests.cluster.machines import Machine, Network, why_impossible
from tests.cluster.operating import BIN, CREDENTIALS, IMPATIENT, SWEEP, wait_for

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(900),
    pytest.mark.skipif(why_impossible() is not None, reason=why_impossible() or "possible"),
]


def derived(network: Network) -> dict[str, Any]:
    """``cluster/local.yaml`` for these machines: addresses, key, and an environment that exists."""
    config = files.load("local")
    head, *workers = network.machines
    config["provider"] |= {"head_ip": head.ip, "worker_ips": [m.ip for m in workers]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.key)}
    operating.with_this_environment(config)
    operating.with_variables(config, f"{CREDENTIALS} {IMPATIENT}")
    for kind, cpus in {"head_start_ray_commands": 0, "worker_start_ray_commands": 1}.items():
        config[kind] = [
            line.replace("ray start", f"ray start --num-cpus={cpus}") for line in config[kind]
        ]
    return config


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return operating.shell(tmp_path / "home") | {"RAY_UP_enable_autoscaler_v2": "0"}


def test_a_sweep_survives_a_pulled_cable(tmp_path: Path, environment: dict[str, str]) -> None:
    with Network(tmp_path) as network, s3_server(network.gateway) as (endpoint, _):
        for name in ("head", "worker1", "worker2"):
            network.boot(name)
        config = tmp_path / "cluster.yaml"
        config.write_text(yaml.safe_dump(derived(network)))
        try:
            operating.up(config, environment)
            _is_closed_to_strangers(network)
            wait_for("two workers", lambda: _nodes(network) == 3)
            with operating.dashboard(config, environment) as address:
                _the_doctor_finds_all_nodes(environment, address, endpoint)
                _a_folder_of_the_heads_own_is_refused(environment, address)
                _sweep_with_a_pulled_cable(network, environment, address, endpoint, tmp_path)
        finally:
            down = operating.ray("down", "-y", str(config), environment=environment)
        assert down.returncode == 0, down.stdout + down.stderr
        for machine in network.machines:
            try:
                wait_for("Ray to be gone", lambda m=machine: not operating.ray_processes(m), 60)
            except AssertionError:
                found = operating.ray_processes(machine)
                pytest.fail(f"{machine.name}: {found}: {down.stdout}{down.stderr}")


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


def _the_doctor_finds_all_nodes(environment: dict[str, str], address: str, endpoint: str) -> None:
    store = ["store=s3://bucket/sweeps", f"store_endpoint={endpoint}"]
    said = operating.doctor(address, *store, "doctor.nodes=3", environment=environment)
    assert "nodes: 3 of 3 alive" in said
    assert "store: s3://bucket/sweeps is writable (3 asked)" in said


def _a_folder_of_the_heads_own_is_refused(environment: dict[str, str], address: str) -> None:
    """Without a store runners on other machines have nowhere to write: said once, not per trial."""
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
    arguments = [
        *(*SWEEP, "store=s3://bucket/sweeps", f"store_endpoint={endpoint}", "submit.key=cable"),
        *(f"submit.address={address}", f"submit.results={tmp_path / 'results'}"),
    ]
    subject: Machine = network.machines[2]
    with operating.submitted(log, *arguments, environment=environment) as submit:
        try:
            operating.first_trial(submit, log, 300)
            for machine in network.machines[1:]:
                assert operating.trains(machine), machine.processes()
            pulled = time.monotonic()
            subject.pull_cable()
            code = submit.wait(500)
            print(f"sweep ended {time.monotonic() - pulled:.1f} s after the cable was pulled")
        finally:
            subject.plug_in()
    assert code == 0, log.read_text()
    summary = json.loads((tmp_path / "results" / "cable" / "summary.json").read_text())
    assert summary["trials"] == {"complete": 6, "pruned": 0, "failed": 0, "running": 0}
    assert summary["status"] == "ok"
    from jamba_ray.checkpoints import RemoteFolder
    from jamba_ray.config.store_uri import StoreUri

    os.environ.update({k: v for k, v in environment.items() if k.startswith("AWS_")})
    stored = RemoteFolder(StoreUri("s3", "bucket/sweeps/cable"), endpoint).names()
    assert any(name.startswith("study/") for name in stored)
    assert {"summary.json", "trials.parquet", "best/manifest.json"} <= set(stored)


def _nodes(network: Network) -> int:
    script = (
        "import ray; ray.init('auto', logging_level='ERROR'); "
        "print('nodes', sum(n['Alive'] for n in ray.nodes()))"
    )
    return int(operating.on_node(network, network.machines[0], script).split("nodes")[-1])
